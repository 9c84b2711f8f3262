"""How far retraction carries: the share of random configurations that end within 2 points of Retrain, with and without.

    python benchmarks/retract.py                      # all, in pieces that resume
    python benchmarks/retract.py --part 1/2 &         # the same, shared by two processes in some two hours:
    python benchmarks/retract.py --part 2/2           #   each makes its own pieces, and prints what both have made
    python benchmarks/retract.py --configurations 5   # the first five of the twenty
    python benchmarks/retract.py --print              # only the tables, of what there is

A cell is a model, a base (dense or 90% sparse) and a method with its targets. Each has the same random configurations:
learning rate 3e-3 to 2e-2 (even in the logarithm), 1 to 4 epochs, rank 4 or 16. NegGrad and Partial NegGrad, whose own
rates are lower, have a second row with rates of 1/30 and 1/5 of these. Each configuration is tried on five classes of
the digits with two seeds, with the whole ascent and retracted to a UA of 0.99, and measured on the whole test set.

A run is within 2 points where UA, RA, TA and MIA all differ from Retrain's by at most 0.02. MIA is noise where the
attack has no signal, so that the share without it stands beside. What `neglora unlearn` does unless told otherwise is
measured on the same pairs. Intervals are percentiles of a bootstrap that draws
(class, seed) pairs, all configurations of a pair together. The ceiling is Retrain with the other seed.

Runs are kept in `benchmarks/retract.jsonl`, a line each, and what is printed in `benchmarks/retract.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from neglora.data import parse_forget
from neglora.methods import METHODS
from neglora.models import family_of, model_shape
from neglora.objectives import GAP_METRICS
from neglora.parameters import WORKING
from neglora.prerequisites import base_of, ensure, retrain_of
from neglora.replicate import measure_base, reference, run_replicate
from neglora.session import Session
from neglora.setting import Setting

ROOT = Path(__file__).resolve().parent.parent
CLASSES = (3, 8, 1, 5, 9)
SEEDS = (0, 1)
#: `resnet_nano` does not recover from pruning 90 percent within its recipe: its sparse base is at chance, and there is
#: nothing to unlearn.
SPARSITIES = {"tinyvit_nano": (0.0, 0.9), "resnet_nano": (0.0,)}
CONFIGURATIONS = 20
KEPT = 0.99
WITHIN = 0.02
DRAWS = 2000
AUDITS = ("relearn", "probe")
#: Model, method, targets, and what the configurations' learning rate is multiplied by.
ROWS = (
    ("tinyvit_nano", "neglora", "last.ffn", 1.0),
    ("tinyvit_nano", "neglora", "ffn", 1.0),
    ("tinyvit_nano", "neglora", "attn", 1.0),
    ("tinyvit_nano", "partial_neggrad", None, 1.0),
    ("tinyvit_nano", "partial_neggrad", None, 1 / 5),
    ("tinyvit_nano", "neggrad", None, 1.0),
    ("tinyvit_nano", "neggrad", None, 1 / 30),
    ("resnet_nano", "neglora", "last.conv", 1.0),
    ("resnet_nano", "neglora", "conv", 1.0),
    ("resnet_nano", "partial_neggrad", None, 1.0),
    ("resnet_nano", "partial_neggrad", None, 1 / 5),
    ("resnet_nano", "neggrad", None, 1.0),
    ("resnet_nano", "neggrad", None, 1 / 30),
    ("resnet_nano", "neglora", "head", 1.0),
    ("resnet_nano", "partial_neggrad", "head", 1.0),
)
Pair = tuple[int, int]
PAIRS: tuple[Pair, ...] = tuple((forget, seed) for forget in CLASSES for seed in SEEDS)


@dataclass(frozen=True)
class Piece:
    """One configuration of one row on one pair, with every base and both ways."""

    row: int
    configuration: int
    forget: int
    seed: int


def pieces(configurations: int) -> list[Piece]:
    """Configurations change slowest, so that what is cut off is cut off evenly."""
    return [
        Piece(row, configuration, forget, seed)
        for configuration in range(configurations)
        for forget, seed in PAIRS
        for row in range(len(ROWS))
    ]


def configuration(number: int) -> dict[str, Any]:
    """The same for all rows, whatever of it they take."""
    generator = random.Random(f"retract {number}")
    low, high = math.log(3e-3), math.log(2e-2)
    return {
        "lr": math.exp(generator.uniform(low, high)),
        "epochs": generator.randint(1, 4),
        "rank": generator.choice([4, 16]),
    }


def params_of(row: int, number: int, sparsity: float, retract: float | None) -> dict[str, Any]:
    _, method, targets, factor = ROWS[row]
    known = {parameter.name for parameter in METHODS[method].parameters}
    given = configuration(number) | {"sparsity": sparsity, "retract": retract}
    given["lr"] *= factor
    if targets is not None:
        given["targets"] = targets
    return METHODS[method].resolve({name: value for name, value in given.items() if name in known})


def setting_of(model: str) -> Setting:
    return Setting(dataset="digits", model=model)


def prepare(session: Session, console: Console, part: int, parts: int) -> None:
    """Bases, sparse bases and Retrain of both seeds; each process makes its share, the store keeps them apart."""
    wanted = []
    for model in dict.fromkeys(row[0] for row in ROWS):
        setting = setting_of(model)
        info = session.dataset(setting).info
        wanted += [base_of(setting, seed, level) for seed in SEEDS for level in SPARSITIES[model]]
        wanted += [retrain_of(setting, seed, parse_forget(info, forget)) for forget, seed in PAIRS]
    missing = [one for one in wanted if not session.find(one)]
    for place, one in enumerate([*missing[part::parts], *missing]):
        if not session.find(one):
            started = time.perf_counter()
            ensure(one, session.store, session.dataset(one.setting))
            console.print(f"{place + 1} of {len(missing)}: {one.title}, {time.perf_counter() - started:.0f} s")


def run_piece(session: Session, piece: Piece) -> Iterator[dict[str, Any]]:
    """The runs of a piece, as they are kept."""
    model, method, _, _ = ROWS[piece.row]
    for sparsity in SPARSITIES[model]:
        for retract in (None, KEPT):
            params = params_of(piece.row, piece.configuration, sparsity, retract)
            made, _ = run_replicate(session, setting_of(model), method, params, piece.forget, piece.seed)
            names = (*GAP_METRICS, "gap", "ua_test", "runner_up", "mia_has_signal")
            yield asdict(piece) | {
                "sparsity": sparsity,
                "retract": retract,
                "status": made["status"],
                "metrics": {name: made["report"].get(name) for name in names},
                "retraction": (made.get("details") or {}).get("retraction"),
                "steps": (made.get("details") or {}).get("steps"),
                "seconds": made["cost"].get("unlearn_seconds"),
            }


def read(file: Path) -> list[dict[str, Any]]:
    """What was run; a line that a kill left half is left out."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def key(run: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(run[name] for name in ("row", "configuration", "forget", "seed", "sparsity", "retract"))


def references(session: Session) -> dict[tuple[str, int, int], dict[str, Any]]:
    """Retrain's values by model, class and seed."""
    found = {}
    for model in dict.fromkeys(row[0] for row in ROWS):
        for forget, seed in PAIRS:
            setting = setting_of(model)
            made = reference(session, setting, parse_forget(session.dataset(setting).info, forget), seed)
            if made is None:
                raise LookupError(f"Retrain of {model} without {forget}, seed {seed}, is missing")
            found[model, forget, seed] = dict(made[0].report)
    return found


def distances(own: Mapping[str, Any], aim: Mapping[str, Any], names: Sequence[str]) -> list[float] | None:
    """Absolute differences; None for a run that diverged or lacks a value."""
    if any(own.get(name) is None or aim.get(name) is None for name in names):
        return None
    return [abs(own[name] - aim[name]) for name in names]


@dataclass(frozen=True)
class Line:
    """A row of the table: shares and gaps over all runs of a cell.

    Attributes:
        within, within_interval: share of runs within 2 points in all four metrics, and its 95% interval.
        without_mia: the same share over UA, RA and TA alone.
        median_gap, median_interval, worst_gap: of the mean distance over the four.
        reached: share of retracted runs that reached their target; None without retraction.
        scale: median scale; None without retraction.
        evaluations: median passes over D_f, forwards alone, that the retraction took.
        epochs: median passes of the ascent, forwards and backwards.
        longer: median of the retraction's seconds over the ascent's.
        seconds: median of the retraction's.
        where_reached: the share within 2 points among runs that reached their target; None where none did.
        at_lower, at_highest: the share within 2 points at the lower rates, and in the quarter of the configurations
            with the highest ones.
        losses: median distances in RA and TA.
        best: the configuration with the smallest mean gap over pairs, and that gap.
    """

    name: str
    runs: int
    within: float
    within_interval: tuple[float, float]
    without_mia: float
    median_gap: float
    median_interval: tuple[float, float]
    worst_gap: float
    reached: float | None = None
    scale: float | None = None
    evaluations: float | None = None
    epochs: float | None = None
    longer: float | None = None
    seconds: float | None = None
    where_reached: float | None = None
    at_lower: float | None = None
    at_highest: float | None = None
    losses: tuple[float, float] | None = None
    best: tuple[int, float] | None = None


def line_of(name: str, runs: Sequence[tuple[Pair, list[float] | None]]) -> Line:
    """Shares and gaps of runs, each with its pair and its four distances; what diverged is not within."""
    by_pair: dict[Pair, list[list[float] | None]] = {}
    for pair, distance in runs:
        by_pair.setdefault(pair, []).append(distance)
    pairs = list(by_pair)
    ones = [[_is_within(one) for one in by_pair[pair]] for pair in pairs]
    gaps = [[_gap(one) for one in by_pair[pair]] for pair in pairs]
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(pairs), size=(DRAWS, len(pairs)))
    shares = [statistics.fmean(value for index in draw for value in ones[index]) for draw in drawn]
    medians = [statistics.median(value for index in draw for value in gaps[index]) for draw in drawn]
    every = [gap for own in gaps for gap in own]
    return Line(
        name=name,
        runs=len(runs),
        within=statistics.fmean(value for own in ones for value in own),
        within_interval=_percentiles(shares),
        without_mia=statistics.fmean(one is not None and max(one[:3]) <= WITHIN + 1e-12 for _, one in runs),
        median_gap=statistics.median(every),
        median_interval=_percentiles(medians),
        worst_gap=max(every),
    )


def _is_within(distance: list[float] | None) -> bool:
    return distance is not None and max(distance) <= WITHIN + 1e-12


def _gap(distance: list[float] | None) -> float:
    """A model that diverged is as far as can be."""
    return 1.0 if distance is None else statistics.fmean(distance)


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def row_name(row: int, sparsity: float, retract: float | None) -> str:
    model, method, targets, factor = ROWS[row]
    parts = [model, "90% sparse" if sparsity else "dense", " ".join([method, *([targets] if targets else [])])]
    if factor != 1:
        parts.append(f"lr/{1 / factor:.0f}")
    return ", ".join([*parts, "whole ascent" if retract is None else "retracted"])


def lines(runs: Iterable[Mapping[str, Any]], aims: Mapping[tuple[str, int, int], Mapping[str, Any]]) -> list[Line]:
    """The ceiling of each model, then every row that has runs."""
    found = []
    for model in dict.fromkeys(row[0] for row in ROWS):
        other = [
            ((forget, seed), distances(aims[model, forget, 1 - seed], aims[model, forget, seed], GAP_METRICS))
            for forget, seed in PAIRS
        ]
        found.append(line_of(f"{model}, Retrain with the other seed", other))
    by_row: dict[tuple[int, float, float | None], list[Mapping[str, Any]]] = {}
    for run in runs:
        by_row.setdefault((run["row"], run["sparsity"], run["retract"]), []).append(run)
    for row in range(len(ROWS)):
        for sparsity in SPARSITIES[ROWS[row][0]]:
            for retract in (None, KEPT):
                own = by_row.get((row, sparsity, retract))
                if own:
                    found.append(_line(row, sparsity, retract, own, aims))
    return found


def _line(
    row: int,
    sparsity: float,
    retract: float | None,
    own: Sequence[Mapping[str, Any]],
    aims: Mapping[tuple[str, int, int], Mapping[str, Any]],
) -> Line:
    model = ROWS[row][0]
    measured = [(run, distances(run["metrics"], aims[model, run["forget"], run["seed"]], GAP_METRICS)) for run in own]
    line = line_of(row_name(row, sparsity, retract), [((run["forget"], run["seed"]), far) for run, far in measured])
    by_configuration: dict[int, list[float]] = {}
    for run, far in measured:
        by_configuration.setdefault(run["configuration"], []).append(_gap(far))
    # Only what was tried on every pair can be the best over them.
    whole = {number: statistics.fmean(gaps) for number, gaps in by_configuration.items() if len(gaps) == len(PAIRS)}
    best = min(whole.items(), key=lambda item: item[1], default=None)
    line = replace(line, best=best)
    retracted = [(run, run["retraction"], far) for run, far in measured if run["retraction"]]
    if not retracted:
        return line
    reached = [_is_within(far) for _, one, far in retracted if one["reached"]]
    numbers = sorted({run["configuration"] for run in own}, key=lambda number: configuration(number)["lr"])
    highest = numbers[-max(1, len(numbers) // 4) :]
    at_highest, at_lower = (
        [_is_within(far) for run, far in measured if (run["configuration"] in highest) == wanted]
        for wanted in (True, False)
    )
    known = [far for _, far in measured if far is not None]
    return replace(
        line,
        reached=statistics.fmean(one["reached"] for _, one, _ in retracted),
        scale=statistics.median(one["scale"] for _, one, _ in retracted),
        evaluations=statistics.median(one["evaluations"] for _, one, _ in retracted),
        epochs=statistics.median(configuration(run["configuration"])["epochs"] for run, _, _ in retracted),
        longer=statistics.median(one["seconds"] / (run["seconds"] - one["seconds"]) for run, one, _ in retracted),
        seconds=statistics.median(one["seconds"] for _, one, _ in retracted),
        where_reached=statistics.fmean(reached) if reached else None,
        at_lower=statistics.fmean(at_lower) if at_lower else None,
        at_highest=statistics.fmean(at_highest),
        losses=(statistics.median(far[1] for far in known), statistics.median(far[2] for far in known))
        if known
        else None,
    )


def table_of(found: Sequence[Line], what: str) -> Table:
    table = Table(title=f"{what} within 2 points of Retrain in UA, RA, TA and MIA", title_justify="left")
    for name in ("row", "runs", "within", "95%", "no MIA", "median gap", "95%", "worst", "reached", "scale"):
        table.add_column(name, justify="left" if name == "row" else "right")
    for one in found:
        table.add_row(
            one.name,
            str(one.runs),
            f"{one.within:.2f}",
            "{:.2f}-{:.2f}".format(*one.within_interval),
            f"{one.without_mia:.2f}",
            f"{one.median_gap:.4f}",
            "{:.4f}-{:.4f}".format(*one.median_interval),
            f"{one.worst_gap:.3f}",
            "" if one.reached is None else f"{one.reached:.2f}",
            "" if one.scale is None else f"{one.scale:.3f}",
        )
    return table


def retraction_table(found: Sequence[Line]) -> Table:
    table = Table(title="What retraction costs beside the ascent, and where it works", title_justify="left")
    names = ("passes", "epochs", "seconds", "/ ascent", "if reached", "lower lr", "highest lr", "RA off", "TA off")
    for name in ("row", *names):
        table.add_column(name, justify="left" if name == "row" else "right")
    for one in found:
        if one.evaluations is not None:
            shares = (one.where_reached, one.at_lower, one.at_highest, *(one.losses or (None, None)))
            costs = (f"{one.evaluations:g}", f"{one.epochs:g}", f"{one.seconds:.2f}", f"{one.longer:.2f}")
            table.add_row(one.name, *costs, *("" if share is None else f"{share:.3f}" for share in shares))
    return table


def defaults(session: Session, aims: Mapping[tuple[str, int, int], Mapping[str, Any]]) -> list[Line]:
    """What `neglora unlearn` does unless told otherwise, on every pair; for ResNets on their last stage as well."""
    tried = [(model, method, None) for model in SPARSITIES for method in WORKING]
    found = []
    for model, method, targets in [*tried, ("resnet_nano", "neglora", "last.conv")]:
        params = WORKING[method] | {"sparsity": 0.0}
        if method == "neglora":
            family = family_of(model_shape(model, num_classes=10, image_size=32, channels=3))
            params["targets"] = targets or family.working_targets or family.default_targets
        resolved, runs = METHODS[method].resolve(params), []
        for pair in PAIRS:
            made, _ = run_replicate(session, setting_of(model), method, resolved, *pair)
            runs.append((pair, distances(made["metrics"], aims[(model, *pair)], GAP_METRICS)))
        words = " ".join([method, *([params["targets"]] if "targets" in params else [])])
        found.append(line_of(f"{model}, dense, {words}, {'as default' if targets is None else 'in its place'}", runs))
    return found


def audit_best(session: Session, found: Sequence[Line], console: Console, known: dict[str, Any]) -> dict[str, Any]:
    """The audits of every row's best configuration, of Retrain and base: means over pairs. Resumes in `known`."""
    names = {
        row_name(row, sparsity, retract): (row, sparsity, retract)
        for row in range(len(ROWS))
        for sparsity in SPARSITIES[ROWS[row][0]]
        for retract in (None, KEPT)
    }
    for model in dict.fromkeys(row[0] for row in ROWS):
        setting = replace(setting_of(model), audits=AUDITS)
        for name in (f"{model}, Retrain", f"{model}, base"):
            if name not in known:
                known[name] = _mean_audits(_reference_audits(session, setting, name.endswith("base")))
    for line in found:
        if line.name not in names or line.best is None or known.get(line.name, {}).get("best") == line.best[0]:
            continue
        row, sparsity, retract = names[line.name]
        setting = replace(setting_of(ROWS[row][0]), audits=AUDITS)
        params = params_of(row, line.best[0], sparsity, retract)
        made = [run_replicate(session, setting, ROWS[row][1], params, *pair)[0] for pair in PAIRS]
        known[line.name] = {"best": line.best[0], "gap": line.best[1]} | _mean_audits(made)
        console.print(f"audited: {line.name}")
    return known


def _reference_audits(session: Session, setting: Setting, base: bool) -> Iterator[Mapping[str, Any]]:
    for forget, seed in PAIRS:
        wanted = parse_forget(session.dataset(setting).info, forget)
        if base:
            yield measure_base(session, setting, wanted, seed, 0.0)[0]
        else:
            made = reference(session, setting, wanted, seed)
            if made is not None:
                yield {"report": made[0].report, "details": made[0].details}


def _mean_audits(made: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over pairs that have a value, with how many; `relearn` by the number of images as well."""
    values: dict[str, list[float]] = {}
    for one in made:
        for name in (*AUDITS, "ua_test", "runner_up"):
            if (one.get("report") or {}).get(name) is not None:
                values.setdefault(name, []).append(float(one["report"][name]))
    return {name: statistics.fmean(own) for name, own in values.items()} | {
        "pairs": {name: len(own) for name, own in values.items()}
    }


def audit_table(known: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(
        title="The audits of the best of each row: lower is better, Retrain is the mark", title_justify="left"
    )
    for name in ("row", "gap", "relearn", "probe", "ua_test", "runner_up"):
        table.add_column(name, justify="left" if name == "row" else "right")
    for name, own in known.items():
        cells = [own.get(key) for key in ("gap", "relearn", "probe", "ua_test", "runner_up")]
        table.add_row(name, *("" if value is None else f"{value:.3f}" for value in cells))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configurations", type=int, default=CONFIGURATIONS, metavar="N", help="of the twenty")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="share of the pieces that this process makes")
    parser.add_argument("--storage", type=Path, default=ROOT / "runs", help="where base models and Retrain are kept")
    parser.add_argument("--runs", type=Path, default=Path(__file__).with_suffix(".jsonl"), help="file of the runs")
    parser.add_argument("--minutes", type=float, help="stop after so many, and print what there is")
    parser.add_argument("--print", action="store_true", help="run nothing")
    arguments, console = parser.parse_args(), Console(width=150, highlight=False)
    torch.set_num_threads(1)
    part, parts = (int(text) for text in arguments.part.split("/"))
    session, started = Session(arguments.storage), time.perf_counter()
    prepare(session, console, part - 1, parts)
    done = {key(run) for run in read(arguments.runs)}
    mine = [] if arguments.print else pieces(arguments.configurations)[part - 1 :: parts]
    ran, spent = 0, time.perf_counter()
    for place, piece in enumerate(mine):
        levels = SPARSITIES[ROWS[piece.row][0]]
        wanted = [(*asdict(piece).values(), sparsity, retract) for sparsity in levels for retract in (None, KEPT)]
        if all(one in done for one in wanted):
            continue
        if arguments.minutes and time.perf_counter() - started > 60 * arguments.minutes:
            console.print(f"stopped: {place} of {len(mine)} pieces are there")
            break
        with arguments.runs.open("a", encoding="utf-8") as file:
            for run in run_piece(session, piece):
                file.write(json.dumps(run) + "\n")
        ran += 1
        if ran % 50 == 0:
            each = (time.perf_counter() - spent) / ran
            console.print(f"{place + 1} of {len(mine)} pieces, {each * (len(mine) - place - 1) / 60:.0f} min left")
    aims = references(session)
    found = lines({key(run): run for run in read(arguments.runs)}.values(), aims)
    console.print(table_of(found, "Random configurations"))
    console.print(retraction_table(found))
    told = Path(__file__).with_suffix(".json")
    known = json.loads(told.read_text(encoding="utf-8")).get("audits", {}) if told.exists() else {}
    if part == parts:
        usual = defaults(session, aims)
        console.print(table_of(usual, "What `neglora unlearn` does by default"))
        known = audit_best(session, found, console, known)
        console.print(audit_table(known))
        written = {"lines": [asdict(one) for one in found], "defaults": [asdict(one) for one in usual], "audits": known}
        told.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
