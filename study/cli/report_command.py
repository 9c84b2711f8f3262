"""`neglora report`: the report of one or several studies, made again from their ledgers."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from neglora.storage import StorageError
from study.cli.common import fetch_study, place_of, user_errors
from study.cli.terminal import Terminal
from study.place import LEDGER, Place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study_dirs", metavar="STUDY_DIR", nargs="+", help="studies' folders or URIs")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.html", help="where to write it")


def main(arguments: argparse.Namespace) -> int:
    from study.aggregate import write_tables
    from study.ledger import LedgerError, read_ledger
    from study.papertable import write_paper_tables
    from study.report import write_report

    console = Terminal()
    places = [place_of(text) for text in arguments.study_dirs]
    with user_errors(LedgerError, StorageError, OSError):
        made: dict[Place, list[Path]] = {}
        for place in places:
            study, records = fetch_study(place, LEDGER), read_ledger(place.folder)
            made[place] = write_tables(place.folder, records, study)
            made[place] += write_paper_tables(place.folder, records, study)
        alone = places[0] if len(places) == 1 else None
        # Of a URI's study nobody wants the report in the working copy.
        is_own = alone is not None and not alone.is_remote
        beside = Path("reports") / f"{'+'.join(place.name for place in places)}.html"
        default = places[0].folder / "report.html" if is_own else beside
        out = arguments.output or default
        out.parent.mkdir(parents=True, exist_ok=True)
        write_report([place.folder for place in places], out)
        if alone is not None and alone.is_remote:
            made[alone].append(write_report([alone.folder], alone.folder / "report.html"))
    for place, files in made.items():
        _publish(place, files, console)
    console.print(f"Report: {out}", highlight=False, soft_wrap=True)
    return 0


def _publish(place: Place, files: list[Path], console: Console) -> None:
    """Take what was made to the storage; whoever may only read there has the report all the same."""
    try:
        place.publish([file.relative_to(place.folder).as_posix() for file in files])
    except StorageError as error:
        console.print(f"tables and report were not written to the storage: {error}", style="yellow", markup=False)
