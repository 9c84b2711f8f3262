"""`neglora run`: a study from its space to its report, or the rest of it."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console

from neglora.storage import CACHE, StorageError
from neglora.synced import replace_synced
from study.cli.common import (
    UserError,
    add_storage_arguments,
    data_errors,
    data_of,
    fetch_study,
    read_study,
    storage_of,
    user_errors,
)
from study.cli.publishing import Publishing
from study.cli.room import Disk, check_room, ray_disk
from study.cli.terminal import Terminal
from study.place import LEDGER, SPACE, Place

if TYPE_CHECKING:
    from study.ledger import LedgerWriter
    from study.space import Space

EPILOG = """\
The same command again goes on where it stopped, after Ctrl-C, a crash or a power cut; trials that are in the ledger
are not run again. `search.trials`, `resources` and `confirm` may be changed in between.

examples:
  neglora run search_spaces/quickstart.yaml
  neglora run my.yaml --storage /shared/runs --address auto
  neglora run my.yaml --storage s3://my-bucket/runs --address auto
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("space", metavar="SPACE.yaml", type=Path, help="what to study")
    parser.add_argument("--address", help="a running Ray cluster, such as 'auto'; without it Ray is started here")
    add_study_arguments(parser)
    add_storage_arguments(parser)


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """How a study is run, here or on a cluster that it is sent to."""
    parser.add_argument("--workers", type=_positive, metavar="N", help="at most N trials at once (default: what fits)")
    parser.add_argument("--fresh", action="store_true", help="set an earlier study of this name aside and start anew")
    parser.add_argument("--retry-failed", action="store_true", help="run trials that failed once more")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what Ray and the workers print")


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None
    if value < 1:
        raise argparse.ArgumentTypeError("should be at least 1")
    return value


def main(arguments: argparse.Namespace) -> int:
    from study.ledger import LedgerError, LedgerLocked
    from study.space import SpaceError, load_space

    console = Terminal()
    with console.status("reading the space") if console.is_terminal else nullcontext():
        with user_errors(SpaceError):
            space = load_space(arguments.space, data=data_of(arguments))
        # Imports torch and Ray, which takes seconds.
        from study.cluster.execution import RunOptions, run_study
        from study.cluster.failures import ClusterError, PreparationError
        from study.keeping import Tidying
    storage = storage_of(arguments.storage)
    place = Place(storage, space.study)
    _check_room(place, arguments.address, console)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    if arguments.fresh:
        with user_errors(LedgerLocked, LedgerError, StorageError, OSError):
            earlier = place.set_aside(say)
        if earlier:
            say(f"the earlier study is now {earlier.title}")
    from study.progress import choose_progress

    errors: list[type[Exception]] = [LedgerLocked, LedgerError, ClusterError, StorageError, *data_errors()]
    with user_errors(*errors), place.open_ledger(say) as ledger:
        _agree(place, space)
        if arguments.retry_failed:
            failed = {record.trial for record in ledger.set_failed_aside()}
            console.print(f"{len(failed)} failed trials will run again")
        console.print(_headline(space), highlight=False)
        progress = choose_progress(console)
        options = RunOptions(storage, arguments.address, arguments.workers, arguments.verbose)
        publishing = Publishing(place, space.resolved(), Tidying(place.folder, space.resolved()))
        try:
            run_study(space, ledger, options, progress, publishing)
        except KeyboardInterrupt:
            progress.close()
            count = len({record.trial for record in ledger.records})
            say(
                f"\nStopped: {count} finished trials are in\n  {place.title}/{LEDGER}\n"
                f"and the same command goes on from there:\n  neglora {shlex.join(sys.argv[1:])}"
            )
            publishing.try_now(ledger.records)
            raise
        except PreparationError as error:
            progress.close()
            console.print(f"preparation failed: {error}", style="red", highlight=False, markup=False)
            return 1
        finally:
            progress.close()
        finish(place, console, ledger, publishing)
    return 0


def finish(place: Place, console: Console, ledger: LedgerWriter, publishing: Publishing) -> None:
    """Write tables and report, and say how the study ended."""
    from study.again import outstanding
    from study.aggregate import write_tables
    from study.cluster.bundle import SUBMITTED
    from study.keeping import remove_unfinished, tidy
    from study.papertable import write_paper_tables
    from study.progress import summarize
    from study.report import write_report

    # The ledger as one file, which on a URI is made from its objects: what is written below quotes its checksum.
    folder, records, space = place.folder, list(ledger.records), fetch_study(place, LEDGER)
    made = [*write_tables(folder, records, space), *write_paper_tables(folder, records, space)]
    tidy(folder, records, space)
    remove_unfinished(folder)
    report = write_report([folder], folder / "report.html")
    place.publish([LEDGER, *(file.relative_to(folder).as_posix() for file in (*made, report))])
    publishing.now(records)
    shown = f"{place.title}/{report.name}" if SUBMITTED in os.environ else str(_copied(report, place.name, console))
    cells = summarize(records, {}).cells
    counts = {name: sum(getattr(cell, name) for cell in cells) for name in ("done", "diverged", "failed")}
    counts["ok"] = counts["done"] - counts["diverged"] - counts["failed"]
    told = ", ".join(f"{counts[name]} {name}" for name in ("ok", "diverged", "failed") if counts[name])
    again = "".join(f", {one}" for one in outstanding(records, space))
    console.print(f"{counts['done']} trials: {told or 'none'}{again}", highlight=False)
    if any(record.status == "failed" for record in records):
        console.print("failed trials run again with --retry-failed", highlight=False)
    console.print(f"Report: {shown}", highlight=False, soft_wrap=True)


def _copied(report: Path, name: str, console: Console) -> Path:
    """Where the report can be read: beside others in the current folder, if it can be written."""
    shown = Path("reports") / f"{name}.html"
    try:
        shown.parent.mkdir(exist_ok=True)
        shown.write_bytes(report.read_bytes())
    except OSError as error:
        console.print(f"the report could not be copied to {shown}: {error.strerror}", style="yellow")
        return report
    return shown


def _check_room(place: Place, address: str | None, console: Console) -> None:
    other = f"name another folder in {CACHE}" if place.is_remote else "give another folder with --storage"
    disks = [Disk("the study", place.folder, f"free space there, or {other}")]
    if address is None:
        disks.append(ray_disk())
    for warning in check_room(*disks):
        console.print(warning, style="yellow", highlight=False, markup=False, soft_wrap=True)


def _agree(place: Place, space: Space) -> None:
    """Keep the space beside its ledger, and refuse to mix trials of two different spaces.

    Raises:
        UserError: the place holds trials of another space; the message lists what differs.
        StorageError: the storage cannot be read or written.
    """
    from study.space import differences

    # What another machine has changed since this one last ran the study, its adapters too, must not come back.
    place.clear()
    place.fetch([SPACE])
    path = place.folder / SPACE
    resolved = space.resolved()
    if path.exists():
        changed = differences(read_study(place.folder, place.title), resolved)
        if changed:
            listing = "\n".join(f"  {line}" for line in changed)
            raise UserError(
                f"{place.title} holds a study of another space. What differs:\n{listing}\n"
                f"Give the study another name, or set the old one aside with --fresh"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_synced(path, yaml.safe_dump(resolved, sort_keys=False).encode())
    place.publish([SPACE])


def _headline(space: Space) -> str:
    cells = space.cells()
    trials = sum(cell.trials for cell in cells)
    pairs = len(space.replicates.forget) * len(space.replicates.seeds)
    each = f" x {pairs} replicates" if pairs > 1 else ""
    return f"Study {space.study}: {len(cells)} cells, {trials} trials{each}"
