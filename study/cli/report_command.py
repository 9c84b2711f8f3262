"""`neglora report`: the report of one or several studies, made again from their ledgers."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from study.cli.common import read_study, user_errors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study_dirs", metavar="STUDY_DIR", type=Path, nargs="+", help="studies' folders")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.html", help="where to write it")


def main(arguments: argparse.Namespace) -> int:
    from study.aggregate import write_tables
    from study.ledger import LedgerError, read_ledger
    from study.papertable import write_paper_tables
    from study.report import write_report

    folders = [folder.resolve() for folder in arguments.study_dirs]
    with user_errors(LedgerError, OSError):
        for folder in folders:
            records, space = read_ledger(folder), read_study(folder)
            write_tables(folder, records, space)
            write_paper_tables(folder, records, space)
        default = folders[0] / "report.html" if len(folders) == 1 else Path("reports") / f"{_joined(folders)}.html"
        out = arguments.output or default
        out.parent.mkdir(parents=True, exist_ok=True)
        write_report(folders, out)
    Console().print(f"Report: {out}", highlight=False, soft_wrap=True)
    return 0


def _joined(folders: list[Path]) -> str:
    return "+".join(folder.name for folder in folders)
