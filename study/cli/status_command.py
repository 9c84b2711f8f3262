"""`neglora status`: how far a study is."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from study.cli.common import UserError, read_study, user_errors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study_dir", metavar="STUDY_DIR", type=Path, help="a study's folder, such as runs/quickstart")


def main(arguments: argparse.Namespace) -> int:
    from study.asked import asked_trials
    from study.ledger import LOCK, LedgerError, read_ledger
    from study.lock import holder
    from study.progress import cells_table, summarize

    study = read_study(arguments.study_dir)
    with user_errors(LedgerError):
        records = read_ledger(arguments.study_dir)
    try:
        totals = asked_trials(study)
    except (KeyError, TypeError) as error:
        raise UserError(f"{arguments.study_dir / 'study.yaml'} is not a study's space: {error!r}") from error
    console = Console()
    running = holder(arguments.study_dir / LOCK)
    console.print(
        f"Study {study.get('study')}: " + (f"written by {running}" if running else "not running"), markup=False
    )
    state = summarize(records, totals)
    console.print(cells_table(state, console.width))
    if not running and any(cell.done < cell.total for cell in state.cells):
        console.print("The same `neglora run` command goes on with it.", markup=False)
    return 0
