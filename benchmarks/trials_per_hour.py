"""Trials per hour, side by side: a Ray Tune script as one writes it oneself today, and `neglora run`.

    python benchmarks/trials_per_hour.py                                          48 configurations, two at a time
    python benchmarks/trials_per_hour.py --trials 6 --repeats 1 --sides user,prefix                    a quick try
    python benchmarks/trials_per_hour.py --sides user,reuse,prefix       the script with Tune's processes kept, too

Both try the same configurations, drawn from the quickstart's ranges, on the same base models, from the same seeds, and
both find UA, RA, TA and the confidence attack on the selection half, and the same with all five attacks on the report
half (`neglora run` finds some more, measures Retrain, and writes ledger, tables and report). They take turns within one
run, each with a Ray of its own; base models and Retrain are there before. The sides:

- `user`: `as_a_user_would.py`, as Ray's guide shows it. `reuse` is the same with `TuneConfig(reuse_actors=True)`.
- `prefix`: `neglora run` as it is.
- `plain`: `neglora run` with `evaluation: {prefix_gib: 0}`, which computes every model from its first layer.

A wall is the time from the command's start to its end. Its start-up ends when the first trial begins. CPU seconds are
those of all its processes, Ray's too: they tell the same where other work shares the machine (Linux). Then come the
largest differences between the script's numbers and ours, in images. Numbers also go to
`benchmarks/trials_per_hour.json`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
QUICKSTART = ROOT / "search_spaces" / "quickstart.yaml"
SCRIPT = Path(__file__).resolve().with_name("as_a_user_would.py")
#: What Tune's script is called with, on the sides that it runs on; the others are ours.
SCRIPTS: dict[str, list[str]] = {"user": [], "reuse": ["--reuse-actors"]}
#: What the space of ours says beside the quickstart's.
OURS: dict[str, dict[str, Any]] = {"prefix": {}, "plain": {"evaluation": {"prefix_gib": 0}}}
SIDES = (*SCRIPTS, *OURS)
#: Metrics of both halves that both sides find, and of how many images each is a share.
ACCURACIES = {"ua": "forget", "ra": "retain", "ta": "test"}
ATTACKS = ("mia", "mia_correctness", "mia_entropy", "mia_modified_entropy", "mia_full")


@dataclass
class Turn:
    """What one side did in one turn.

    Attributes:
        side: which.
        wall, startup: seconds; of the whole command, and until its first trial began.
        cpu: CPU seconds of all its processes; None where the system does not tell.
        load: load average of the machine when it began.
        trials: what each trial measured, by configuration.
        seconds: what the trials took, by part, on average.
    """

    side: str
    wall: float
    startup: float
    cpu: float | None
    load: float
    trials: dict[str, dict[str, Any]] = field(repr=False)
    seconds: dict[str, float]

    @property
    def work(self) -> float:
        """The wall without its start-up."""
        return self.wall - self.startup


def drawn_space(trials: int, seed: int = 0) -> dict[str, Any]:
    """The quickstart with explicit configurations in place of its ranges, the same number for every method.

    Every choice of every parameter comes up as often as every other, up to one; learning rates are drawn evenly in
    the logarithm.
    """
    space: dict[str, Any] = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    each, generator = math.ceil(trials / len(space["methods"])), random.Random(seed)
    for method, settings in space["methods"].items():
        columns = {name: _column(setting, each, generator) for name, setting in settings.items()}
        points = [{name: column[place] for name, column in columns.items()} for place in range(each)]
        space["methods"][method] = {"configurations": points}
    space["search"] |= {"trials": each}
    return space | {"study": "trials-per-hour"}


def _column(setting: Any, count: int, generator: random.Random) -> list[Any]:
    """A parameter's values in all configurations."""
    if isinstance(setting, list):
        values = [setting[place % len(setting)] for place in range(count)]
        generator.shuffle(values)
        return values
    if isinstance(setting, dict):
        low, high = (math.log(float(bound)) for bound in setting["log"])
        return [float(f"{math.exp(generator.uniform(low, high)):.4g}") for _ in range(count)]
    return [setting] * count


def name_of(method: str, params: Mapping[str, Any]) -> str:
    """A configuration as both sides know it."""
    return json.dumps([method, params], sort_keys=True)


def prepare(space_file: Path, storage: Path) -> dict[str, Any]:
    """Make what all trials start from, if it is missing, and lay out the script's plan."""
    from neglora.artifacts import WEIGHTS, ArtifactStore
    from neglora.data import parse_forget
    from neglora.prerequisites import base_of, ensure, needed
    from study.space import load_space
    from study.surroundings import setting_of

    space = load_space(space_file)
    cells = [cell for cell in space.cells() if cell.method != "retrain"]
    dataset_name, model = cells[0].dataset, cells[0].model
    forget, seed = space.replicates.forget[0], space.replicates.seeds[0]
    setting, levels = setting_of(space.resolved(), dataset_name, model), space.sparsities(dataset_name, model)
    dataset, store = setting.load_dataset(), ArtifactStore(storage / "artifacts")
    for wanted in needed(setting, forgets=[parse_forget(dataset.info, forget)], seeds=[seed], sparsities=levels):
        ensure(wanted, store, dataset)
    bases = {level: ensure(base_of(setting, seed, level), store, dataset).key for level in levels}
    return {
        "dataset": dataset_name,
        "model": model,
        "forget": forget,
        "seed": seed,
        "holdout": setting.holdout,
        "split_seed": setting.split_seed,
        "batch_size": setting.batch_size,
        "bases": {str(level): str((store.root / key / WEIGHTS).resolve()) for level, key in bases.items()},
        "configurations": [
            {"method": cell.method, "params": params} for cell in cells for params in cell.configurations
        ],
    }


def run_script(side: str, plan: Path, folder: Path, workers: int) -> Turn:
    """One turn of Tune's script."""
    results = folder / "results.json"
    command = [sys.executable, str(SCRIPT), str(plan), "--to", str(results), "--at-once", str(workers)]
    load, (began, ended, cpu) = os.getloadavg()[0], _timed([*command, *SCRIPTS[side]], folder)
    trials = json.loads(results.read_text(encoding="utf-8"))
    failed = [trial["error"] for trial in trials if trial["error"]]
    if failed:
        raise SystemExit(f"{len(failed)} trials of the script failed; the first: {failed[0]}")
    measured = {name_of(**trial["configuration"]): trial for trial in trials}
    seconds = {part: statistics.mean(trial["seconds"][part] for trial in trials) for part in trials[0]["seconds"]}
    startup = min(trial["began"] for trial in trials) - began
    return Turn(side, ended - began, startup, cpu, load, measured, seconds)


def run_ours(side: str, space: Path, artifacts: Path, folder: Path, workers: int) -> Turn:
    """One turn of `neglora run`, in a storage of its own with the same artifacts."""
    storage = folder / "runs"
    shutil.copytree(artifacts, storage / "artifacts")
    ledger = storage / "trials-per-hour" / "ledger.jsonl"
    command = [sys.executable, "-m", "study.cli", "run", str(space), "--storage", str(storage)]
    load, arrivals = os.getloadavg()[0], []

    def look() -> None:
        lines = ledger.read_bytes().count(b"\n") if ledger.exists() else 0
        arrivals.extend([time.time()] * (lines - len(arrivals)))

    began, ended, cpu = _timed([*command, "--workers", str(workers)], folder, look)
    records = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    failed = [record["reason"] for record in records if record["status"] == "failed"]
    if failed:
        raise SystemExit(f"{len(failed)} trials failed; the first: {failed[0]}")
    first = min(arrival - _working(record) for arrival, record in zip(arrivals, records, strict=False))
    tried = [record for record in records if record["cell"]["method"] != "retrain"]
    measured = {
        name_of(record["cell"]["method"], record["params"]): {
            "selection": record["metrics"],
            "report": record["report"],
            "counts": record["replicates"][0]["details"].get("counts"),
        }
        for record in tried
    }
    parts = ("unlearn_seconds", "evaluate_seconds", "attack_seconds")
    seconds = {
        part.removesuffix("_seconds"): statistics.mean(record["cost"].get(part) or 0.0 for record in tried)
        for part in parts
        if any(part in record["cost"] for record in tried)
    }
    return Turn(side, ended - began, first - began, cpu, load, measured, seconds)


def _working(record: Mapping[str, Any]) -> float:
    """The seconds that a record's trial took; Retrain was trained before."""
    cost, retrain = record["cost"], record["cell"]["method"] == "retrain"
    return (0.0 if retrain else cost["unlearn_seconds"]) + (cost["evaluate_seconds"] or 0.0)


def _timed(command: Sequence[str], folder: Path, look: Any = None) -> tuple[float, float, float | None]:
    """Run a command to its end, looking at what it has done every 20 ms.

    Returns:
        When it was started, when it ended, and the CPU seconds of its processes.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    spent: dict[int, float] = {}
    with (folder / "output.txt").open("wb") as output:
        began = time.time()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            for turn in itertools.count():
                if process.poll() is not None:
                    break
                if look:
                    look()
                if turn % 12 == 0:
                    # Of a process that ends, what it had spent when it was last seen.
                    spent |= cpu_seconds(process.pid)
                time.sleep(0.02)
        finally:
            process.terminate()
        ended = time.time()
    if process.returncode:
        said = (folder / "output.txt").read_text(encoding="utf-8", errors="replace")
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{said[-3000:]}")
    return began, ended, sum(spent.values()) or None


def cpu_seconds(session: int) -> dict[int, float]:
    """CPU seconds of every living process of a session, by its number; none where there is no `/proc`."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            # What stands before the last bracket is the command's name, which may hold anything.
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            found[int(file.parent.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def differences(user: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The largest difference of each metric over all configurations, by half and name.

    Args:
        user, ours: what each trial measured, by configuration.

    Returns:
        By `half name`: how many trials were measured on both sides, and if any were the range of their values, the
        largest difference as a share and in images, and how many differ at all.
    """
    found: dict[str, dict[str, Any]] = {}
    for half in ("selection", "report"):
        for name in (*ACCURACIES, *(ATTACKS if half == "report" else ATTACKS[:1])):
            pairs = [
                (trial[half][name], ours[key][half][name], ours[key]["counts"])
                for key, trial in user.items()
                if trial[half].get(name) is not None and ours[key][half].get(name) is not None
            ]
            if not pairs:
                found[f"{half} {name}"] = {"trials": 0}
                continue
            part = ACCURACIES.get(name, "forget")
            part = "test_report" if part == "test" and half == "report" else part
            found[f"{half} {name}"] = {
                "trials": len(pairs),
                "from": min(own for own, _, _ in pairs),
                "to": max(own for own, _, _ in pairs),
                "share": max(abs(own - other) for own, other, _ in pairs),
                "images": round(max(abs(own - other) * counts[part] for own, other, counts in pairs), 3),
                "differ": sum(abs(own - other) > 1e-12 for own, other, _ in pairs),
            }
    return found


def signals(ours: Mapping[str, Any]) -> tuple[int, int]:
    """In how many trials the confidence attack has signal, on the selection half and on the report half."""
    return tuple(
        sum(trial[half].get("mia_has_signal") is True for trial in ours.values()) for half in ("selection", "report")
    )


def ratios(turns: Sequence[Turn], one: str, other: str) -> dict[str, list[float]]:
    """How many times what the one side took goes into what the other took, turn by turn: the wall, the wall without
    start-up, and CPU seconds where they are known."""
    pairs = list(zip(_of(turns, other), _of(turns, one), strict=True))
    return {
        "wall": [theirs.wall / own.wall for theirs, own in pairs],
        "without start-up": [theirs.work / own.work for theirs, own in pairs],
        "CPU seconds": [theirs.cpu / own.cpu for theirs, own in pairs if theirs.cpu and own.cpu],
    }


def _of(turns: Sequence[Turn], side: str) -> list[Turn]:
    return [turn for turn in turns if turn.side == side]


def main() -> None:
    arguments, console = _arguments(), Console(width=130, highlight=False)
    with tempfile.TemporaryDirectory(prefix="trials-per-hour-") as name:
        folder = Path(name)
        spaces = {}
        for side in OURS:
            spaces[side] = folder / f"{side}.yaml"
            spaces[side].write_text(yaml.safe_dump(drawn_space(arguments.trials) | OURS[side], sort_keys=False))
        console.print("base models and Retrain: made now where they are missing, and not counted")
        plan = prepare(spaces["prefix"], arguments.storage)
        plan_file = folder / "plan.json"
        plan_file.write_text(json.dumps(plan), encoding="utf-8")
        count, turns = len(plan["configurations"]), []
        for repeat in range(arguments.repeats):
            for side in arguments.sides:
                place = folder / f"{repeat}-{side}"
                place.mkdir()
                if side in SCRIPTS:
                    turn = run_script(side, plan_file, place, arguments.workers)
                else:
                    turn = run_ours(side, spaces[side], arguments.storage / "artifacts", place, arguments.workers)
                turns.append(turn)
                console.print(
                    f"turn {repeat + 1}, {side}: {count} trials in {turn.wall:.1f} s, of which start-up "
                    f"{turn.startup:.1f} s; {turn.cpu or 0:.0f} CPU s; load average before {turn.load:.1f}"
                )
                shutil.rmtree(place)
    summary = summarize(arguments, count, turns)
    _show(console, summary)
    arguments.out.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    console.print(f"written to {arguments.out}")


def summarize(arguments: argparse.Namespace, count: int, turns: Sequence[Turn]) -> dict[str, Any]:
    """Everything that is shown and written, as plain data."""
    script = next((side for side in arguments.sides if side in SCRIPTS), None)
    ours = [side for side in arguments.sides if side in OURS]
    compared = {}
    for side in ours if script else ():
        # What is measured does not depend on the turn; the last one's is compared.
        user, own = _of(turns, script)[-1].trials, _of(turns, side)[-1].trials
        compared[side] = {"differences": differences(user, own), "signals": signals(own)}
    return {
        "trials": count,
        "at_once": arguments.workers,
        "processors": os.cpu_count(),
        "turns": [{name: value for name, value in asdict(turn).items() if name != "trials"} for turn in turns],
        "ratios": {
            f"{other} / {one}": ratios(turns, one, other)
            for one in ours
            for other in arguments.sides
            if other in SCRIPTS
        },
        "compared": compared,
    }


def _show(console: Console, summary: Mapping[str, Any]) -> None:
    count, turns = summary["trials"], summary["turns"]
    table = Table(title=f"{count} trials, {summary['at_once']} at a time, on {summary['processors']} cores")
    for heading in (
        "side",
        "walls, s",
        "start-up, s",
        "CPU s",
        "trials per hour",
        "without start-up",
        "seconds of a trial",
    ):
        table.add_column(heading, justify="left" if heading == "side" else "right")
    for side in dict.fromkeys(turn["side"] for turn in turns):
        own = [turn for turn in turns if turn["side"] == side]
        wall, startup = (statistics.median(turn[name] for turn in own) for name in ("wall", "startup"))
        parts = {part: statistics.median(turn["seconds"][part] for turn in own) for part in own[0]["seconds"]}
        table.add_row(
            side,
            ", ".join(f"{turn['wall']:.1f}" for turn in own),
            ", ".join(f"{turn['startup']:.1f}" for turn in own),
            ", ".join("" if turn["cpu"] is None else f"{turn['cpu']:.0f}" for turn in own),
            f"{count / wall * 3600:,.0f}",
            f"{count / (wall - startup) * 3600:,.0f}",
            ", ".join(f"{part} {value:.3f}" for part, value in parts.items()),
        )
    console.print(table)
    for pair, found in summary["ratios"].items():
        told = (f"{name} {', '.join(f'{ratio:.2f}' for ratio in values)}" for name, values in found.items())
        console.print(f"{pair}: {'; '.join(told)}")
    for side, found in summary["compared"].items():
        table = Table(title=f"largest differences between the script and {side}")
        for heading in ("metric", "from", "to", "difference", "in images", "trials that differ"):
            table.add_column(heading, justify="left" if heading == "metric" else "right")
        for name, one in found["differences"].items():
            if one["trials"]:
                shares = (f"{one[key]:.5f}" for key in ("from", "to", "share"))
                table.add_row(name, *shares, f"{one['images']:g}", f"{one['differ']} of {one['trials']}")
        console.print(table)
        selection, report = found["signals"]
        console.print(
            f"the confidence attack has signal in {selection} trials on the selection half, {report} on the report half"
        )


def _sides(text: str) -> list[str]:
    sides = text.split(",")
    unknown = [side for side in sides if side not in SIDES]
    if unknown:
        raise argparse.ArgumentTypeError(f"expected sides out of {', '.join(SIDES)}; got {', '.join(unknown)}")
    return sides


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="a Ray Tune script and `neglora run`, side by side")
    parser.add_argument("--trials", type=int, default=48, help="configurations, over all methods")
    parser.add_argument("--repeats", type=int, default=2, help="turns of each side")
    parser.add_argument("--workers", type=int, default=2, help="trials at once, one CPU each")
    parser.add_argument(
        "--sides", type=_sides, default=["user", "prefix", "plain"], help=f"which take turns, out of {','.join(SIDES)}"
    )
    parser.add_argument(
        "--storage", type=Path, default=ROOT / "runs", help="where base models are looked for, and made"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
