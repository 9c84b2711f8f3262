"""Forgetting against what is kept: UA on one axis; RA, TA or MIA-Efficacy on the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from neglora.objectives import METRICS
from neglora.record import Record
from study.aggregate import Base, shown
from study.plots.panels import NAMES
from study.plots.style import BASE_MARK, RETRAIN_MARK, layout, method_mark, plain, setting
from study.recommend import candidates, front_rows
from study.references import base_name
from study.stages import one_per_trial

#: What UA is shown against, one figure each.
AGAINST = ("ra", "ta", "mia")
ON_SUBSETS = "on subsets only"


@dataclass(frozen=True)
class Point:
    """One trial at the values that are shown (report half), fractions; errors are standard deviations or None."""

    trial: str
    x: float
    y: float
    x_error: float | None
    y_error: float | None
    on_front: bool
    params: dict[str, Any]
    replicates: int


@dataclass(frozen=True)
class Reference:
    """A model that is no trial: Retrain, or a base."""

    name: str
    x: float
    y: float


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
    """

    metric: str
    methods: dict[str, list[Point]]
    references: list[Reference]
    recommended: str | None
    unmeasured: int
    unconfirmed: dict[str, list[Point]] = field(default_factory=dict)


def tradeoff_info(
    table: pd.DataFrame,
    records: Sequence[Record],
    metric: str,
    *,
    retrain: Record | None = None,
    bases: Sequence[Base] = (),
    recommended: str | None = None,
) -> Tradeoff:
    """Gather the points of one dataset x model.

    A method's front is that of UA and `metric` on the selection half, where trials were chosen; positions are those of
    the report half, or of the selection half where that was not measured.

    Args:
        table: rows of `trials_table` of this dataset and model.
        records: where the configurations and values come from.
        metric: a metric's name, such as "ra".
        retrain: the group's oracle.
        bases: models before unlearning.
        recommended: the trial to ring.
    """
    by_line: dict[tuple[str, str], Record] = {(record.trial, record.fidelity): record for record in records}
    methods: dict[str, list[Point]] = {}
    unmeasured = 0
    for method, group in candidates(table).groupby("method", sort=False):
        on_front = set(front_rows(group, ("ua", metric))["trial"])
        points = _points(group, by_line, metric, on_front)
        methods[str(method)] = points
        unmeasured += len(group) - len(points)
    left = one_per_trial(table)
    left = left[(left["status"] == "ok") & (left["fidelity"] == "search")]
    unconfirmed = {
        str(method): _points(group, by_line, metric, ()) for method, group in left.groupby("method", sort=False)
    }
    found: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = []
    if retrain is not None:
        found.append(("Retrain", retrain.metrics, retrain.report))
    found += [(base_name(base.sparsity), base.metrics, base.report) for base in bases]
    references = []
    for name, metrics, report in found:
        x, y = (shown(metrics, report, axis) for axis in ("ua", metric))
        if x is not None and y is not None:
            references.append(Reference(name, x, y))
    return Tradeoff(metric, methods, references, recommended, unmeasured, unconfirmed)


def _points(
    rows: pd.DataFrame, by_line: Mapping[tuple[str, str], Record], metric: str, on_front: Collection[str]
) -> list[Point]:
    """The rows that have a value on both axes."""
    points = []
    for row in rows[["trial", "fidelity", "spread_ua", f"spread_{metric}"]].to_dict("records"):
        record = by_line[row["trial"], row["fidelity"]]
        x, y = (shown(record.metrics, record.report, name) for name in ("ua", metric))
        if x is None or y is None:
            continue
        points.append(
            Point(
                record.trial,
                x,
                y,
                _measured(row["spread_ua"]),
                _measured(row[f"spread_{metric}"]),
                record.trial in on_front,
                record.params,
                len(record.replicates),
            )
        )
    return points


def _measured(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def tradeoff_figure(info: Tradeoff) -> go.Figure:
    """Draw it, in percent: a marker per trial (faint behind the front), steps along each front, references, a ring."""
    figure = go.Figure(layout=layout(f"UA: {METRICS['ua'].label}", _axis(info.metric), percent=True))
    names = list(info.methods | info.unconfirmed)
    for method, points in info.methods.items():
        mark = method_mark(method, names)
        # From low UA to high, and where UA is equal from the better value to the worse.
        line = sorted((point for point in points if point.on_front), key=lambda point: (point.x, -point.y))
        rest = [point for point in points if not point.on_front]
        for part, opacity in ((rest, 0.4), (line, 1.0)):
            figure.add_scatter(
                x=[100 * point.x for point in part],
                y=[100 * point.y for point in part],
                error_x=_errors([point.x_error for point in part], mark.color),
                error_y=_errors([point.y_error for point in part], mark.color),
                mode="lines+markers" if part is line else "markers",
                # Between two points of a front only the worse of each value is reached: steps, not slopes.
                line={"color": mark.color, "width": 1.5, "shape": "vh"},
                marker={"color": mark.color, "symbol": mark.symbol, "size": 9},
                opacity=opacity,
                name=plain(method),
                legendgroup=plain(method),
                showlegend=part is line,
                hoverinfo="text",
                hovertext=[_hover(method, point, info) for point in part],
            )
    for place, (method, points) in enumerate(item for item in info.unconfirmed.items() if item[1]):
        mark = method_mark(method, names)
        # Measured on other images than the rest of the figure: there for whoever asks for them.
        figure.add_scatter(
            x=[100 * point.x for point in points],
            y=[100 * point.y for point in points],
            mode="markers",
            marker={"color": mark.color, "symbol": f"{mark.symbol}-open", "size": 7},
            opacity=0.5,
            name=ON_SUBSETS,
            legendgroup=ON_SUBSETS,
            showlegend=place == 0,
            visible="legendonly",
            hoverinfo="text",
            hovertext=[f"{_hover(method, point, info)}<br><i>{ON_SUBSETS}</i>" for point in points],
        )
    for reference in info.references:
        mark = RETRAIN_MARK if reference.name == "Retrain" else BASE_MARK
        sparse = reference.name not in ("Retrain", "Base")
        figure.add_scatter(
            x=[100 * reference.x],
            y=[100 * reference.y],
            mode="markers",
            marker={
                "color": mark.color,
                "symbol": f"{mark.symbol}-open" if sparse else mark.symbol,
                "size": 15,
                "line": {"width": 1.5, "color": mark.color if sparse else "#ffffff"},
            },
            name=plain(reference.name),
            hoverinfo="text",
            hovertext=[f"<b>{plain(reference.name)}</b><br>{_values(reference.x, reference.y, info.metric)}"],
        )
    ring = [point for points in info.methods.values() for point in points if point.trial == info.recommended]
    if ring:
        figure.add_scatter(
            x=[100 * point.x for point in ring],
            y=[100 * point.y for point in ring],
            mode="markers",
            marker={"symbol": "circle-open", "size": 20, "color": "#E69F00", "line": {"width": 2.5}},
            name="recommended",
            hoverinfo="skip",
        )
    return figure


def _axis(metric: str) -> str:
    short, label = NAMES.get(metric, metric.upper()), METRICS[metric].label
    return label if short == label else f"{short}: {label}"


def _errors(values: list[float | None], color: str) -> dict[str, Any] | None:
    if all(value is None for value in values):
        return None
    array = [None if value is None else 100 * value for value in values]
    return {"type": "data", "array": array, "color": color, "thickness": 1, "width": 3}


def _hover(method: str, point: Point, info: Tradeoff) -> str:
    lines = [f"<b>{plain(method)}</b>  {plain(point.trial)}", _values(point.x, point.y, info.metric)]
    if point.x_error is not None and point.y_error is not None:
        lines.append(f"± {100 * point.x_error:.2f}, ± {100 * point.y_error:.2f} over {point.replicates} replicates")
    lines += [f"{plain(name)}: {plain(setting(value))}" for name, value in point.params.items()]
    return "<br>".join(lines)


def _values(x: float, y: float, metric: str) -> str:
    return f"UA {100 * x:.2f}%, {NAMES.get(metric, metric)} {100 * y:.2f}%"
