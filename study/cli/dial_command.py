"""`neglora dial`: a trial's metrics along its update, from the base to all of the ascent, kept beside the ledger."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from study.cli.common import (
    UserError,
    add_storage_arguments,
    data_errors,
    fetch_study,
    place_of,
    storage_of,
    user_errors,
)
from study.cli.recorded import (
    PLAIN,
    adapter_for,
    comparable,
    lines_of,
    making,
    params_of,
    replicate_for,
    setting_for,
    verdict,
)
from study.cli.terminal import Terminal
from study.place import Place

if TYPE_CHECKING:
    from neglora.dial import Dial, Point
    from neglora.line import Line
    from neglora.record import Record
    from neglora.reproduce import Difference
    from neglora.session import Session

EPILOG = """\
An ascent moves the base by an update; a part of it, from 0 (the base) to 1 (the full ascent), is another model. This
measures those models from one ascent, most closely where UA, RA, TA or MIA change, and compares the recorded one with
its record as neglora export does. Adapters that were kept need no ascent. The table shows the report half; 'nearest'
is chosen on the selection half, with Retrain, and so with more than D_f.

examples:
  neglora dial runs/quickstart                  the recommended trial
  neglora dial runs/quickstart --trial digits-tinyvit_nano-neglora-0007 --forget 3 --seed 0
  neglora export runs/quickstart --trial ID --scale 0.25 --to unlearned/
"""

SHOWN = ("ua", "ra", "ta", "mia")
#: Eighths, from 0 to 100 percent.
BLOCKS = "▁▂▃▄▅▆▇█"
#: The run did what it should, and the outcome is not what the record says.
DISAGREES = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study_dir", metavar="STUDY_DIR", help="the study's folder or URI")
    parser.add_argument("--trial", metavar="ID", help="of the ledger (default: the recommended one)")
    parser.add_argument("--forget", metavar="CLASS", help="the replicate's forget set (default: the first replicate's)")
    parser.add_argument("--seed", type=int, metavar="S", help="the replicate's seed (default: the first that fits)")
    parser.add_argument("--points", type=int, default=33, metavar="N", help="models to measure at most (default: 33)")
    parser.add_argument(
        "--force", action="store_true", help="keep the dial even if the recorded model is not as its record says"
    )
    add_storage_arguments(parser, storage=None, said="the folder that holds STUDY_DIR")


def main(arguments: argparse.Namespace) -> int:
    from neglora.ascend import Diverged
    from neglora.line import ScaleError
    from neglora.storage import StorageError
    from neglora.sweep import FEWEST
    from study.ledger import LedgerError

    if arguments.points < FEWEST:
        raise UserError(f"--points {arguments.points}: a dial has at least {FEWEST}, both ends and the recorded one")
    place = place_of(arguments.study_dir)
    study = fetch_study(place)
    with user_errors(LedgerError, StorageError):
        records = place.read_ledger()
    trial = _recommended(records, study, place) if arguments.trial is None else arguments.trial
    lines = lines_of(records, trial, place)
    if lines[0].cell["method"] == "retrain":
        raise UserError(f"{trial} is Retrain, which is trained without D_f: it has no update to scale")
    with user_errors(*data_errors(), StorageError, Diverged, ScaleError):
        return _dial(arguments, place, study, lines)


def _recommended(records: list[Record], study: Mapping[str, Any], place: Place) -> str:
    """The trial that the study recommends.

    Raises:
        UserError: there is none, or one for each of several datasets and models.
    """
    from study.aggregate import trials_table
    from study.recommend import recommend

    table = trials_table(records)
    rows = table[table["method"] != "retrain"] if records else table
    if rows.empty:
        raise UserError(f"{place.title} has no trials yet: there is no ledger in it, or an empty one")
    found = {
        f"{dataset} {model}": recommend(group, study.get("constraints") or {})
        for (dataset, model), group in rows.groupby(["dataset", "model"], sort=False)
    }
    trials = {name: chosen.trial for name, chosen in found.items() if chosen.trial is not None}
    if not trials:
        reasons = "; ".join(f"{name}: {chosen.reason}" for name, chosen in found.items())
        raise UserError(f"{place.title} recommends no trial ({reasons}): say --trial ID")
    if len(found) > 1:
        choices = "\n".join(f"  --trial {trial}   {name}" for name, trial in trials.items())
        raise UserError(f"{place.title} recommends a trial for each dataset and model: say which\n{choices}")
    return next(iter(trials.values()))


def _dial(arguments: argparse.Namespace, place: Place, study: Mapping[str, Any], lines: list[Record]) -> int:
    from neglora.line import line_of
    from neglora.reproduce import changed_surroundings
    from neglora.session import Session
    from study.dialed import write_dial
    from study.recommend import reproduce_command

    console = Terminal()
    storage = storage_of(arguments.storage, writes=False) if arguments.storage else place.storage
    setting = setting_for(arguments, study, lines[0])
    record, number = replicate_for(arguments, setting, lines)
    replicate = record.replicates[number]
    session = Session(storage, commits=False)
    adapter = adapter_for(place, record.trial, replicate)
    try:
        line = line_of(session, setting, record.cell["method"], params_of(record), replicate, adapter)
    except LookupError as error:
        command = reproduce_command(record, study, number)
        raise UserError(f"{error.args[0]}. This makes it again:\n  {making(command, place, storage)}") from error
    if not line.from_kept:
        console.print(f"{record.trial} has no kept adapter that is all of it: its ascent ran again", **PLAIN)
    dial = _measured(session, line, record, replicate, arguments.points, console)
    _print(console, dial)
    changed = changed_surroundings(record, replicate, session, setting)
    unasked = study.get("audits") or ()
    found = _differences(dial, line, record, replicate, unasked=unasked, exact=not changed)
    for difference in found:
        print(f"neglora: {difference}", file=sys.stderr)
    words = f"At the recorded scale of {dial.recorded:g}: {verdict(found, changed)}"
    if any(not difference.tolerated for difference in found) and not arguments.force:
        print(f"neglora: {words}. Nothing was written; --force keeps the dial as it is now", file=sys.stderr)
        return DISAGREES
    console.print(f"{words}.", **PLAIN)
    try:
        name = write_dial(place, dial)
    except OSError as error:
        raise UserError(f"the dial cannot be written to {place.title}: {error.strerror or error}") from error
    console.print(f"It is kept in {place.title}/{name}; the next `neglora report` shows it.", **PLAIN)
    return 0


def _measured(
    session: Session, line: Line, record: Record, replicate: Mapping[str, Any], points: int, console: Console
) -> Dial:
    from neglora.sweep import sweep

    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed} models of at most {task.total}"),
        console=console,
        transient=True,
    )
    with bars:
        bar = bars.add_task("measuring", total=points)

        def on_point(point: Point) -> None:
            bars.advance(bar)

        return sweep(session, line, replicate, trial=record.trial, points=points, on_point=on_point)


def _differences(
    dial: Dial,
    line: Line,
    record: Record,
    replicate: Mapping[str, Any],
    *,
    unasked: Collection[str],
    exact: bool,
) -> list[Difference]:
    """What the recorded model measures now and did not then; `unasked` are names that the dial does not measure."""
    from neglora.reproduce import Reproduced, differences

    point = dial.at(dial.recorded)
    again = Reproduced(line.model, line.adapter, point.metrics, point.report, dial.counts, dial.from_kept)
    compared = comparable(replicate, sampled=record.fidelity == "search", without=unasked)
    on_cpu = dial.provenance["device"] == "cpu"
    return differences(compared, again, exact=exact and (dial.from_kept or on_cpu))


def _print(console: Console, dial: Dial) -> None:
    nearest = dial.nearest
    table = Table(box=None, padding=(0, 1))
    for title in ("scale", *(name.upper() for name in SHOWN), "gap"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("%", no_wrap=True)
    for point in dial.points:
        marks = {
            "base": point.scale == 0,
            "recorded": point.scale == dial.recorded,
            "nearest": point is nearest,
            "full ascent": point.scale == 1,
        }
        said = ", ".join(mark for mark, holds in marks.items() if holds)
        table.add_row(f"{point.scale:.4f}", *(_percent(point.report.get(name)) for name in (*SHOWN, "gap")), said)
    if dial.retrain:
        values = [_percent(dial.retrain["report"].get(name)) for name in SHOWN]
        table.add_row("Retrain", *values, _percent(0.0), "")
    console.print(table)
    for line in sparklines(dial) if console.encoding.startswith("utf") else []:
        console.print(line, **PLAIN)
    for point in dial.points:
        if point.reason:
            console.print(f"At scale {point.scale:g}: {point.reason}", **PLAIN)
    if nearest is None:
        console.print("No Retrain to compare with: no gap, and no scale is nearest to it.", **PLAIN)
    else:
        console.print(f"Nearest to Retrain on the selection half is scale {nearest.scale:g}.", **PLAIN)
    if dial.unsettled:
        console.print(
            f"{dial.unsettled} intervals still change by more than 2 points: more --points look closer.", **PLAIN
        )
    console.print(f"{dial.evaluations} models in {dial.seconds:.1f} s.", **PLAIN)


def sparklines(dial: Dial) -> list[str]:
    """A line for each metric, one block for each point, from 0 to 100 percent; a blank where it was not measured."""
    lines = []
    for name in SHOWN:
        values = [point.report.get(name) for point in dial.points]
        blocks = "".join(" " if value is None else BLOCKS[min(7, int(8 * float(value)))] for value in values)
        lines.append(f" {name.upper():>3} {blocks}")
    return [*lines, f"     {'base':<{max(5, len(dial.points) - 11)}}full ascent, point by point"]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
