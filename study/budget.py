"""What a search had found by then, and what that had cost: methods are compared after equal spending only."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neglora.objectives import METRICS, Direction
from study.pareto import hypervolume, reference_point
from study.recommend import Constraints, recommend
from study.stages import searched_rows

#: The first number of trials after which methods are compared; then twice as many, and so on.
FIRST_BUDGET = 8
#: At most so many budgets are compared: the largest.
MOST_BUDGETS = 5
#: Shares of the seconds that the cheapest method spent.
SHARES = (0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Curve:
    """What was found after each trial of a cell, or of all cells of a method.

    Attributes:
        cell: the cell's id; of a method, its name.
        method: its name.
        axes: the cell's levels; empty for a whole method.
        ids: the trials in order, whatever became of them.
        trials: 1, 2, ..., len(ids).
        seconds: what so many trials had cost: unlearning and measuring on a worker, in seconds.
        hypervolumes: what the front of so many trials covers of the objectives (selection half).
        untimed: how many trials have no time, being lost before they were measured: they count as 0 seconds.
    """

    cell: str
    method: str
    axes: dict[str, Any]
    ids: list[str]
    trials: list[int]
    seconds: list[float]
    hypervolumes: list[float]
    untimed: int = 0

    @property
    def name(self) -> str:
        """What people call it: "neglora, sparsity 0.9"."""
        return ", ".join([self.method, *(f"{name} {value}" for name, value in self.axes.items())])

    def within(self, seconds: float) -> int:
        """How many trials had ended when so many seconds were spent."""
        return bisect_right(self.seconds, seconds)


def cell_curves(table: pd.DataFrame, objectives: Sequence[str]) -> list[Curve]:
    """One curve for each searched cell of one dataset x model, trials by number.

    Where trials were measured in stages, volumes are those of what the search was told, on subsets: few were then
    measured in full.

    Args:
        table: rows of `trials_table`, all fidelities.
        objectives: the study's, over which the volume is taken from `reference_point`.
    """
    spent = trial_seconds(table)
    curves = []
    for cell, rows in searched_rows(table[table["method"] != "retrain"]).groupby("cell", sort=False):
        first = rows.iloc[0]
        axes = json.loads(first["axes"])
        curves.append(_curve(str(cell), str(first["method"]), axes, rows.sort_values("number"), objectives, spent))
    return curves


def method_curves(table: pd.DataFrame, objectives: Sequence[str]) -> list[Curve]:
    """One curve for each method: of several cells, the first trial of each, then the second of each, and so on.

    So a method that was searched at more levels of an axis has spent no more by its n-th trial than one with a single
    cell.
    """
    spent = trial_seconds(table)
    return [
        _curve(str(method), str(method), {}, rows.sort_values(["number", "cell"]), objectives, spent)
        for method, rows in searched_rows(table[table["method"] != "retrain"]).groupby("method", sort=False)
    ]


def trial_seconds(table: pd.DataFrame) -> dict[str, float]:
    """Worker seconds of each trial: unlearning and measuring, over its lines of search and in full; NaN if unknown.

    Confirmations are left out, since they come after the choice; so are Retrain and the bases, which all methods share.
    """
    lines = table[table["fidelity"] != "confirm"]
    seconds = lines["unlearn_seconds"] + lines["evaluate_seconds"]
    total = seconds.groupby(lines["trial"], sort=False).sum(min_count=1)
    return {str(trial): float(value) for trial, value in total.items()}


def clocks(table: pd.DataFrame) -> list[str]:
    """On what the timed trials ran: "cpu, 1 thread", or a GPU's name. Seconds of different ones are not comparable."""
    timed = table[table["unlearn_seconds"].notna() & (table["fidelity"] != "confirm") & (table["method"] != "retrain")]
    found = set()
    for device, threads in timed[["device", "threads"]].drop_duplicates().itertuples(index=False):
        if device == "cpu" and not pd.isna(threads):
            found.add(f"cpu, {threads} thread{'' if threads == 1 else 's'}")
        else:
            found.add("an unknown device" if pd.isna(device) else str(device))
    return sorted(found)


def clock_unit(found: Sequence[str]) -> str | None:
    """ "CPU-seconds" or "GPU-seconds"; None where there is no one device that all trials ran on."""
    if len(found) != 1:
        return None
    if found[0] == "an unknown device":
        return "worker seconds"
    return "CPU-seconds" if found[0].startswith("cpu") else "GPU-seconds"


@dataclass(frozen=True)
class Bought:
    """What a method had reached at a budget.

    Attributes:
        method: its name.
        trials: how many it had tried.
        seconds: what they had cost.
        trial: what would have been recommended by then, or None.
        gap: that one's mean distance to Retrain as it is shown (report half); None if not measured.
        hypervolume: of the front by then (selection half).
        reason: why that trial, or why none.
    """

    method: str
    trials: int
    seconds: float
    trial: str | None
    gap: float | None
    hypervolume: float
    reason: str


def bought(table: pd.DataFrame, curve: Curve, trials: int, constraints: Constraints | None = None) -> Bought:
    """What the first `trials` of a curve bought: chosen by the selection half, shown by the report half.

    Args:
        table: rows of `trials_table` of the curve's dataset x model.
        curve: of a method or a cell.
        trials: how many of its trials, 0 to all.
        constraints: the study's.
    """
    rows = table[table["trial"].isin(curve.ids[:trials])]
    choice = recommend(rows, constraints)
    gap = None
    if choice.trial is not None:
        gap = shown_gap(rows, choice.trial)
    return Bought(
        curve.method,
        trials,
        curve.seconds[trials - 1] if trials else 0.0,
        choice.trial,
        gap,
        curve.hypervolumes[trials - 1] if trials else 0.0,
        choice.reason,
    )


def shown_gap(table: pd.DataFrame, trial: str) -> float | None:
    """A trial's distance to Retrain as people are shown it: the report half's, or else the selection half's."""
    line = table[(table["trial"] == trial) & (table["fidelity"] == "full")].iloc[0]
    value = line["gap"] if pd.isna(line["report_gap"]) else line["report_gap"]
    return None if pd.isna(value) else float(value)


def trial_budgets(curves: Sequence[Curve]) -> list[int]:
    """8, 16, 32, ... trials as far as every curve goes, and as many as the shortest has; at most `MOST_BUDGETS`."""
    shortest = min((len(curve.ids) for curve in curves), default=0)
    budgets = [FIRST_BUDGET << power for power in range(32) if FIRST_BUDGET << power < shortest]
    return [*budgets, shortest][-MOST_BUDGETS:] if shortest else []


def second_budgets(curves: Sequence[Curve]) -> list[float]:
    """Shares of the seconds that the cheapest curve took, in `SHARES`; none where one took no time."""
    cheapest = min((curve.seconds[-1] for curve in curves if curve.seconds), default=0.0)
    return [share * cheapest for share in SHARES] if cheapest > 0 else []


def volume_of(point: Sequence[float | None], objectives: Sequence[str]) -> float | None:
    """The volume that a single model covers, such as Retrain; None where an objective was not measured."""
    values = [float("nan") if value is None else float(value) for value in point]
    if any(value != value for value in values):
        return None
    return hypervolume([values], reference_point(objectives), [METRICS[name].direction for name in objectives])


def _curve(
    cell: str,
    method: str,
    axes: dict[str, Any],
    rows: pd.DataFrame,
    objectives: Sequence[str],
    spent: dict[str, float],
) -> Curve:
    ids = list(rows["trial"])
    usable = set(rows["trial"][rows["status"] == "ok"])
    points = rows[list(objectives)].to_numpy(dtype=float).tolist()
    seconds, total, untimed = [], 0.0, 0
    for trial in ids:
        own = spent[trial]
        untimed += own != own
        total += 0.0 if own != own else own
        seconds.append(total)
    volumes = _volumes(
        [point if trial in usable else None for trial, point in zip(ids, points, strict=True)], objectives
    )
    return Curve(cell, method, axes, ids, list(range(1, len(ids) + 1)), seconds, volumes, untimed)


def _volumes(points: Sequence[list[float] | None], objectives: Sequence[str]) -> list[float]:
    """The volume after each point; None is a trial that has none.

    What a point adds is its own box without what the others cover of it, which takes far less than the whole again.

    Source: While, Bradstreet and Barone 2012, "A fast way of calculating exact hypervolumes": exclusive hypervolume.
    """
    signs = np.array([1.0 if METRICS[name].direction == "maximize" else -1.0 for name in objectives])
    corner = signs * np.array(reference_point(objectives))
    origin = [0.0] * len(objectives)
    directions: list[Direction] = ["maximize"] * len(objectives)
    # Sizes of boxes from the reference point: bigger is better; what is not positive or not measured covers nothing.
    kept = np.empty((0, len(objectives)))
    volume = 0.0
    volumes = []
    for point in points:
        size = np.full(len(objectives), np.nan) if point is None else signs * np.array(point, dtype=float) - corner
        if (size > 0).all() and not (kept >= size).all(axis=1).any():
            if np.isinf(size).any():
                volume = math.inf
            elif volume < math.inf:
                shared = hypervolume(np.minimum(kept, size), origin, directions)
                volume += max(0.0, float(size.prod()) - shared)
            kept = np.vstack([kept[~(kept <= size).all(axis=1)], size])
        volumes.append(volume)
    return volumes
