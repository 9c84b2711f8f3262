"""`neglora run`: a study from its space to its report, or the rest of it."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console

from neglora.synced import replace_synced
from study.cli.common import (
    UserError,
    add_storage_arguments,
    data_errors,
    data_of,
    read_study,
    storage_folder,
    user_errors,
)

if TYPE_CHECKING:
    from study.ledger import Ledger
    from study.space import Space

EPILOG = """\
The same command again goes on where it stopped, after Ctrl-C, a crash or a power cut; trials that are in the ledger
are not run again. `search.trials` and `resources` may be changed in between.

examples:
  neglora run search_spaces/quickstart.yaml
  neglora run my.yaml --storage /shared/runs --address auto
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("space", metavar="SPACE.yaml", type=Path, help="what to study")
    parser.add_argument("--address", help="a running Ray cluster, such as 'auto'; without it Ray is started here")
    parser.add_argument("--workers", type=_positive, metavar="N", help="at most N trials at once (default: what fits)")
    parser.add_argument("--fresh", action="store_true", help="set an earlier study of this name aside and start anew")
    parser.add_argument("--retry-failed", action="store_true", help="run trials that failed once more")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what Ray and the workers print")
    add_storage_arguments(parser)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("should be at least 1")
    return value


def main(arguments: argparse.Namespace) -> int:
    from study.ledger import Ledger, LedgerError, LedgerLocked
    from study.space import SpaceError, load_space

    console = Console()
    with console.status("reading the space") if console.is_terminal else nullcontext():
        with user_errors(SpaceError):
            space = load_space(arguments.space, data=data_of(arguments))
        # Imports torch and Ray, which takes seconds.
        from study.cluster.execution import RunOptions, run_study
        from study.cluster.failures import ClusterError, PreparationError
        from study.keeping import Tidying
    storage = storage_folder(arguments.storage)
    study_dir = storage / space.study
    if arguments.fresh:
        _set_aside(study_dir, console)
    with user_errors(OSError):
        study_dir.mkdir(exist_ok=True)
    from study.progress import choose_progress

    with user_errors(LedgerLocked, LedgerError, ClusterError, *data_errors()), Ledger.open(study_dir) as ledger:
        _agree(study_dir, space)
        if arguments.retry_failed:
            failed = ledger.set_failed_aside()
            console.print(f"{len(failed)} failed trials will run again")
        console.print(_headline(space), highlight=False)
        progress = choose_progress(console)
        options = RunOptions(str(storage), arguments.address, arguments.workers, arguments.verbose)
        try:
            run_study(space, ledger, options, progress, Tidying(study_dir, space.resolved()))
        except KeyboardInterrupt:
            progress.close()
            console.print(
                f"\nStopped: {len(ledger.records)} finished trials are in\n  {study_dir / 'ledger.jsonl'}\n"
                f"and the same command goes on from there:\n  neglora {shlex.join(sys.argv[1:])}",
                highlight=False,
                soft_wrap=True,
            )
            raise
        except PreparationError as error:
            progress.close()
            console.print(f"preparation failed: {error}", style="red", highlight=False, markup=False)
            return 1
        finally:
            progress.close()
        finish(study_dir, console, ledger)
    return 0


def finish(study_dir: Path, console: Console, ledger: Ledger) -> None:
    """Write tables and report, and say how the study ended."""
    from study.aggregate import write_tables
    from study.keeping import remove_unfinished, tidy
    from study.papertable import write_paper_tables
    from study.report import write_report

    records, space = list(ledger.records), read_study(study_dir)
    write_tables(study_dir, records, space)
    write_paper_tables(study_dir, records, space)
    tidy(study_dir, records, space)
    remove_unfinished(study_dir)
    report = write_report([study_dir], study_dir / "report.html")
    shown = Path("reports") / f"{study_dir.name}.html"
    try:
        shown.parent.mkdir(exist_ok=True)
        shown.write_bytes(report.read_bytes())
    except OSError as error:
        console.print(f"the report could not be copied to {shown}: {error.strerror}", style="yellow")
        shown = report
    counts = {status: sum(record.status == status for record in records) for status in ("ok", "diverged", "failed")}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    console.print(f"{len(records)} trials: {told or 'none'}", highlight=False)
    if counts["failed"]:
        console.print("failed trials run again with --retry-failed", highlight=False)
    console.print(f"Report: {shown}", highlight=False, soft_wrap=True)


def _set_aside(study_dir: Path, console: Console) -> None:
    from study.ledger import Ledger, LedgerError, LedgerLocked

    if not study_dir.exists():
        return
    # Whoever runs this study now holds the lock: it is not moved from under them.
    with user_errors(LedgerLocked, LedgerError), Ledger.open(study_dir):
        place = study_dir.with_name(f"{study_dir.name}.{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
        study_dir.rename(place)
    console.print(f"the earlier study is now {place}", highlight=False, soft_wrap=True)


def _agree(study_dir: Path, space: Space) -> None:
    """Keep the space beside its ledger, and refuse to mix trials of two different spaces.

    Raises:
        UserError: the folder holds trials of another space; the message lists what differs.
    """
    from study.space import differences

    path = study_dir / "study.yaml"
    resolved = space.resolved()
    if path.exists():
        changed = differences(read_study(study_dir), resolved)
        if changed:
            listing = "\n".join(f"  {line}" for line in changed)
            raise UserError(
                f"{study_dir} holds a study of another space. What differs:\n{listing}\n"
                f"Give the study another name, or set the old one aside with --fresh"
            )
    replace_synced(path, yaml.safe_dump(resolved, sort_keys=False).encode())


def _headline(space: Space) -> str:
    cells = space.cells()
    trials = sum(cell.trials for cell in cells)
    pairs = len(space.replicates.forget) * len(space.replicates.seeds)
    each = f" x {pairs} replicates" if pairs > 1 else ""
    return f"Study {space.study}: {len(cells)} cells, {trials} trials{each}"
