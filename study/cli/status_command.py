"""`neglora status`: how far a study is, and what it has found, as its report says it."""

from __future__ import annotations

import argparse

from study.cli.common import UserError, fetch_study, place_of, user_errors
from study.cli.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study_dir", metavar="STUDY_DIR", help="a study's folder or URI, such as runs/quickstart")


def main(arguments: argparse.Namespace) -> int:
    from neglora.storage import StorageError
    from study.again import outstanding
    from study.asked import asked_trials
    from study.cli.statustable import status_rows, status_table
    from study.ledger import LedgerError
    from study.progress import summarize

    place = place_of(arguments.study_dir)
    study = fetch_study(place)
    with user_errors(LedgerError, StorageError, OSError):
        records = place.read_ledger()
        running = place.holder()
    try:
        state = summarize(records, asked_trials(study), outstanding(records, study))
        rows = status_rows(state, records, study)
    except (KeyError, TypeError) as error:
        raise UserError(f"{place.title}/study.yaml is not a study's space: {error!r}") from error
    console = Terminal()
    console.print(
        f"Study {study.get('study')}: " + (f"written by {running}" if running else "not running"), markup=False
    )
    console.print(status_table(state, rows, console.width, console.encoding))
    if not running and state.left > 0:
        console.print("The same `neglora run` command goes on with it.", markup=False)
    return 0
