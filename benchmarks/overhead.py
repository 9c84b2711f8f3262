"""What a trial costs beside its work: scheduling, memory, samplers, and the shares of a real study's wall.

    python benchmarks/overhead.py                    about ten minutes on two cores
    python benchmarks/overhead.py --quick            two, with fewer trials
    python benchmarks/overhead.py --only samplers    one part: no-op, samplers or study

- `no-op`: trials that do no work, by `neglora run` and by stock Tune (`no_op.py`): milliseconds a trial, seconds of the
  driver's CPU, and how much memory the driver takes for one more trial, during the run and with tables and report.
- `samplers`: a sampler's own time for one suggestion, after so many trials of four objectives.
- `study`: the shares of the quickstart's wall, and what a warm trial costs beside unlearning, evaluation and attack
  (`timeline.py`).

Each study runs in a process of its own, with a Ray of its own. Numbers also go to `benchmarks/overhead.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.no_op import SELECTION, space_of  # noqa: E402

PARTS = ("no-op", "samplers", "study")
#: Suggestions of one sampler at one size, of which the median counts.
ASKS = 5


def in_process(script: str, *words: str) -> dict[str, Any]:
    """What a script of this folder prints on its last line."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name(script)), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def no_op(console: Console, sizes: Sequence[int]) -> dict[str, Any]:
    """Trials without work, by size and side."""
    found = [in_process("no_op.py", side, str(trials)) for trials in sizes for side in ("neglora", "tune")]
    table = Table(title="trials without work, two workers")
    for heading in ("side", "trials", "ms a trial", "driver's CPU, ms", "KB a trial", "ledger, ms", "end, s", "load"):
        table.add_column(heading, justify="left" if heading == "side" else "right")
    for one in found:
        table.add_row(
            one["side"],
            str(one["trials"]),
            *(f"{one[name]:.1f}" for name in ("ms", "cpu_ms", "kb")),
            f"{one['storing_ms']:.1f}" if one["storing_ms"] else "-",
            f"{one['end']['seconds']:.1f}",
            f"{one['load']:.1f}",
        )
    console.print(table)
    grown = {}
    for side in ("neglora", "tune"):
        few, many = (next(one for one in found if one["side"] == side and one["trials"] >= size) for size in sizes)
        more = many["trials"] - few["trials"]
        grown[side] = 1e3 * (many["end"]["resident_mb"] - few["end"]["resident_mb"]) / more
        console.print(
            f"{side}: {grown[side]:.1f} KB of the driver for one more trial, from {few['trials']} to {many['trials']}, "
            "tables and report included"
        )
    return {"runs": found, "kb_for_one_more_trial": grown}


def samplers(console: Console, names: Sequence[str], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Seconds of one suggestion, by sampler and number of trials."""
    found = [{"sampler": name, "trials": size, **suggestion(name, size)} for name in names for size in sizes]
    table = Table(title="a sampler's own time for one suggestion, ms: the wall, and of the CPU")
    table.add_column("sampler")
    for size in sizes:
        table.add_column(f"after {size:,}", justify="right")
    for name in names:
        own = [one for one in found if one["sampler"] == name]
        table.add_row(name, *(f"{one['ms']:.1f} ({one['cpu_ms']:.1f})" for one in own))
    console.print(table)
    return found


def suggestion(sampler: str, trials: int) -> dict[str, float]:
    """The median of a few suggestions of the cell of `no_op.py` after so many trials with values drawn at random."""
    import random

    from neglora.record import Record, trial_id
    from study.search import CellSearch
    from study.space import Space
    from study.suggestions import Suggestion

    space = Space(**space_of(trials + 2 * ASKS, sampler))
    cell = next(cell for cell in space.cells() if cell.method != "retrain")
    search = CellSearch(
        cell, sampler=sampler, objectives=space.objectives, constraints={}, seed=0, batch=ASKS, budget=trials + 2 * ASKS
    )
    plain = CellSearch(cell, sampler="random", objectives=space.objectives, constraints={}, seed=1, batch=1)
    generator, records = random.Random(0), []
    for number in range(trials):
        drawn = plain.suggest()
        if not isinstance(drawn, Suggestion):
            raise SystemExit(f"the space ended: {drawn}")
        metrics = {name: generator.random() for name in SELECTION}
        records.append(Record(trial_id(cell.identity, number), cell.identity, drawn.params, "ok", metrics=metrics))
    search.restore(records)
    search.suggest()
    walls, seconds = [], []
    for _ in range(ASKS - 1):
        wall, cpu = time.perf_counter(), time.process_time()
        if not isinstance(search.suggest(), Suggestion):
            raise SystemExit(f"{sampler} gives no suggestion after {trials} trials")
        walls.append(1e3 * (time.perf_counter() - wall))
        seconds.append(1e3 * (time.process_time() - cpu))
    return {"ms": statistics.median(walls), "cpu_ms": statistics.median(seconds)}


def study(console: Console, storage: Path) -> dict[str, Any]:
    """The quickstart's wall by what it went to."""
    found = in_process("timeline.py", "--storage", str(storage))
    wall, slots = found["wall"], found["workers"] * found["running"]
    attack = found["work"]["attack"]
    working = found["work"]["unlearn"] + found["work"]["evaluate"]
    console.print(
        f"the quickstart: {found['trials']} trials in {wall:.1f} s, of which start-up {found['startup']:.1f} s, "
        f"tables and report {found['ending']:.1f} s; load {found['load']:.1f}"
    )
    table = Table(title=f"between the first trial and the last result: {found['running']:.1f} s x {found['workers']}")
    for heading in ("what", "seconds", "share"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    rows = {
        "unlearning": found["work"]["unlearn"],
        "evaluation without the attack": found["work"]["evaluate"] - attack,
        "attack": attack,
        "everything else of the workers": slots - working,
    }
    for what, seconds in rows.items():
        table.add_row(what, f"{seconds:.2f}", f"{seconds / slots:.1%}")
    console.print(table)
    table = Table(title="of the driver, seconds in the same time")
    for heading in ("what", "seconds", "share"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for what, seconds in found["driver"].items():
        table.add_row(what, f"{seconds:.2f}", f"{seconds / found['running']:.1%}")
    console.print(table)
    asked, waits = found["suggestions_ms"], found["waits_for_suggestions_ms"]
    console.print(
        f"{len(asked)} suggestions of {statistics.median(asked):.1f} ms (median; {max(asked):.1f} the longest); while "
        f"one was derived, a worker without a trial waited {len(waits)} times, {sum(waits):.1f} ms in all"
    )
    table = Table(title="a warm trial, ms")
    for heading in ("what", "median", "mean", "9 of 10", "most"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    words = {
        "work": "unlearning, evaluation, attack",
        "beside": "beside its work",
        "waited": "  of it, its worker waits for the driver",
        "in_worker": "  of it, within the worker",
        "on_the_way": "  of it, on the way there and back",
    }
    for name, what in words.items():
        one = found["ms_a_trial"][name]
        table.add_row(what, *(f"{one[column]:.1f}" for column in ("median", "mean", "p90", "max")))
    console.print(table)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="what a trial costs beside its work")
    parser.add_argument("--quick", action="store_true", help="fewer trials")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may be given several times")
    parser.add_argument("--gp", action="store_true", help="time gp as well, which takes minutes")
    parser.add_argument(
        "--storage", type=Path, default=ROOT / "runs", help="where base models are looked for, and made"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    console, chosen = Console(width=120, highlight=False), arguments.only or PARTS
    found: dict[str, Any] = {"processors": os.cpu_count()}
    if "no-op" in chosen:
        found["no-op"] = no_op(console, (100, 300) if arguments.quick else (500, 2000))
    if "samplers" in chosen:
        names = ["random", "tpe", "nsga2", "nsga3", *(["gp"] if arguments.gp else [])]
        found["samplers"] = samplers(console, names, (100, 500) if arguments.quick else (100, 500, 2000))
    if "study" in chosen:
        found["study"] = study(console, arguments.storage.resolve())
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    console.print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
