"""Forgetting against what is kept: UA on one axis; RA, TA or MIA-Efficacy on the other. What is shown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from neglora.record import Record
from study.aggregate import Base, shown
from study.attainment import Surfaces, surfaces
from study.recommend import FORGOTTEN, candidates, front_rows
from study.references import base_name
from study.stages import one_per_trial

#: What UA is shown against, one figure each.
AGAINST = ("ra", "ta", "mia")


@dataclass(frozen=True)
class Point:
    """One trial at the values that are shown (report half), fractions; errors are standard deviations or None."""

    trial: str
    x: float
    y: float
    x_error: float | None
    y_error: float | None
    on_front: bool


@dataclass(frozen=True)
class Reference:
    """A model that is no trial: Retrain, or a base."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Reached:
    """The best that a method keeps while it forgets at least 95% on the selection half, where it was chosen.

    Attributes:
        best: that configuration at its shown values; None where none forgets so much.
        most: the highest UA that any of its configurations has on the selection half.
    """

    best: Point | None
    most: float


@dataclass(frozen=True)
class Tradeoff:
    """What one figure shows.

    Attributes:
        metric: what UA is shown against.
        methods: per method its points, in the study's order.
        references: Retrain first (if it was made), then the bases by sparsity.
        recommended: the id of the trial that gets a ring, or None.
        unmeasured: how many trials with status ok have no value on one of the two axes.
        unconfirmed: per method the trials that were measured on subsets only, at those values: on no front.
        attainment: per method how far its front reaches in each replicate, where it has several.
        reached: per method the best it keeps while it forgets.
        thinned: how many trials are not among the points because there are too many of them.
    """

    metric: str
    methods: dict[str, list[Point]]
    references: list[Reference]
    recommended: str | None
    unmeasured: int
    unconfirmed: dict[str, list[Point]] = field(default_factory=dict)
    attainment: dict[str, Surfaces] = field(default_factory=dict)
    reached: dict[str, Reached] = field(default_factory=dict)
    thinned: int = 0

    @property
    def retrain(self) -> Reference | None:
        return next((one for one in self.references if one.name == "Retrain"), None)


def tradeoff_info(
    table: pd.DataFrame,
    records: Sequence[Record],
    metric: str,
    *,
    retrain: Record | None = None,
    bases: Sequence[Base] = (),
    recommended: str | None = None,
    drawn: Collection[str] | None = None,
) -> Tradeoff:
    """Gather the points of one dataset x model.

    A method's front is that of UA and `metric` on the selection half, where trials were chosen; positions are those of
    the report half, or of the selection half where that was not measured.

    Args:
        table: rows of `trials_table` of this dataset and model.
        records: where the values come from.
        metric: a metric's name, such as "ra".
        retrain: the group's oracle.
        bases: models before unlearning.
        recommended: the trial to ring.
        drawn: the trials that get a point; all where None.
    """
    by_line: dict[tuple[str, str], Record] = {(record.trial, record.fidelity): record for record in records}
    methods: dict[str, list[Point]] = {}
    attainment: dict[str, Surfaces] = {}
    reached: dict[str, Reached] = {}
    unmeasured = thinned = 0
    for method, group in candidates(table).groupby("method", sort=False):
        name, on_front = str(method), list(front_rows(group, ("ua", metric))["trial"])
        points = _points(group, by_line, metric, set(on_front))
        unmeasured += len(group) - len(points)
        reached[name] = _reached(group, points, metric)
        varying = surfaces(_runs([by_line[trial, "full"] for trial in on_front], metric))
        if varying is not None:
            attainment[name] = varying
        methods[name] = _kept(points, drawn)
        thinned += len(points) - len(methods[name])
    left = one_per_trial(table)
    left = left[(left["status"] == "ok") & (left["fidelity"] == "search")]
    unconfirmed = {
        str(method): _kept(_points(group, by_line, metric, ()), drawn)
        for method, group in left.groupby("method", sort=False)
    }
    references = _references(retrain, bases, metric)
    return Tradeoff(
        metric, methods, references, recommended, unmeasured, unconfirmed, attainment, reached, thinned
    )  # fmt: skip


def _kept(points: list[Point], drawn: Collection[str] | None) -> list[Point]:
    return points if drawn is None else [point for point in points if point.trial in drawn]


def _points(
    rows: pd.DataFrame, by_line: Mapping[tuple[str, str], Record], metric: str, on_front: Collection[str]
) -> list[Point]:
    """The rows that have a value on both axes."""
    points = []
    for row in rows[["trial", "fidelity", "spread_ua", f"spread_{metric}"]].to_dict("records"):
        record = by_line[row["trial"], row["fidelity"]]
        x, y = (shown(record.metrics, record.report, name) for name in ("ua", metric))
        if x is not None and y is not None:
            errors = (_measured(row["spread_ua"]), _measured(row[f"spread_{metric}"]))
            points.append(Point(record.trial, x, y, *errors, record.trial in on_front))
    return points


def _measured(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def _references(retrain: Record | None, bases: Iterable[Base], metric: str) -> list[Reference]:
    found: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = []
    if retrain is not None:
        found.append(("Retrain", retrain.metrics, retrain.report))
    found += [(base_name(base.sparsity), base.metrics, base.report) for base in bases]
    references = []
    for name, metrics, report in found:
        x, y = (shown(metrics, report, axis) for axis in ("ua", metric))
        if x is not None and y is not None:
            references.append(Reference(name, x, y))
    return references


def _reached(rows: pd.DataFrame, points: Sequence[Point], metric: str) -> Reached:
    """Chosen by the selection half, shown at the report half's values: so that the best is no lucky draw of those."""
    by_trial = {point.trial: point for point in points}
    measured = rows[rows["trial"].isin(by_trial) & rows[metric].notna()]
    forgetful = measured[measured["ua"] >= FORGOTTEN].sort_values([metric, "number"], ascending=[False, True])
    best = None if forgetful.empty else by_trial[str(forgetful.iloc[0]["trial"])]
    return Reached(best, float(rows["ua"].max()))


def _runs(on_front: Sequence[Record], metric: str) -> list[list[tuple[float, float]]]:
    """The front's configurations in each replicate that all of them have: a list for each."""
    by_replicate = [{(repr(one["forget"]), one["seed"]): one for one in record.replicates} for record in on_front]
    if not by_replicate:
        return []
    common = [key for key in by_replicate[0] if all(key in others for others in by_replicate)]
    runs = []
    for key in common:
        values = [
            [shown(own[key].get("metrics") or {}, own[key].get("report") or {}, axis) for axis in ("ua", metric)]
            for own in by_replicate
        ]
        runs.append([(x, y) for x, y in values if x is not None and y is not None])
    return runs
