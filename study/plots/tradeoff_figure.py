"""The trade-off, drawn: a mark per trial, each method's front and what it covers, references, a ring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from neglora.objectives import METRICS
from study.plots.panels import NAMES
from study.plots.staircase import Outline, between, corners, covered, steps
from study.plots.style import BASE_MARK, RETRAIN_MARK, Mark, layout, method_mark, plain
from study.plots.tradeoff import Point, Reference, Tradeoff

ON_SUBSETS = "on subsets only"
RECOMMENDED = "recommended"
RING = Mark("#E69F00", "circle-open")

#: So many marks of a method are drawn smaller and fainter.
_MANY = 200
#: How dense the colour of an area is: of what a method covers in every replicate, and in some of them.
_ALWAYS, _SOMETIMES = 0.05, 0.22
#: Names beside marks that are nearer to one another than this share of the plot would cover one another.
_APART = 0.08


def tradeoff_figure(info: Tradeoff) -> go.Figure:
    """Draw it, in percent. Traces with `meta="trials"` hold trial ids, from which the page makes their texts."""
    figure = go.Figure(layout=layout(f"UA: {METRICS['ua'].label}", _axis(info.metric), percent=True))
    names = list(info.methods | info.unconfirmed)
    low = _lower_left(info)
    for method in info.methods:
        _areas(figure, info, method, method_mark(method, names), low)
    for method, points in info.methods.items():
        mark = method_mark(method, names)
        # From low UA to high, and where UA is equal from the better value to the worse.
        line = sorted((point for point in points if point.on_front), key=lambda point: (point.x, -point.y))
        rest = [point for point in points if not point.on_front]
        if rest:
            faint = {"size": 7, "opacity": 0.4} if len(rest) < _MANY else {"size": 5, "opacity": 0.25}
            _trials(figure, method, rest, {"color": mark.color, "symbol": mark.symbol, **faint})
        _trials(
            figure,
            method,
            line,
            {"color": mark.color, "symbol": mark.symbol, "size": 10},
            mode="lines+markers",
            # Between two points of a front only the worse of each value is reached: steps, not slopes.
            line={"color": mark.color, "width": 1.5, "shape": "vh"},
            error_x=_errors([point.x_error for point in line], mark.color),
            error_y=_errors([point.y_error for point in line], mark.color),
            showlegend=True,
        )
    for place, (method, points) in enumerate(item for item in info.unconfirmed.items() if item[1]):
        mark = method_mark(method, names)
        # Measured on other images than the rest of the figure: there for whoever asks for them.
        _trials(
            figure,
            ON_SUBSETS,
            points,
            {"color": mark.color, "symbol": f"{mark.symbol}-open", "size": 7, "opacity": 0.6},
            showlegend=place == 0,
            visible="legendonly",
        )
    _named_references(figure, info)
    ring = [point for points in info.methods.values() for point in points if point.trial == info.recommended]
    if ring:
        figure.add_scatter(
            x=[_percent(point.x) for point in ring],
            y=[_percent(point.y) for point in ring],
            mode="markers",
            marker={"symbol": RING.symbol, "size": 20, "color": RING.color, "line": {"width": 2.5}},
            name=RECOMMENDED,
            legendgroup=RECOMMENDED,
            hoverinfo="skip",
            cliponaxis=False,
        )
    return figure


def reference_mark(name: str) -> Mark:
    """The mark of Retrain, of the dense base, or, hollow, of a sparse one."""
    if name == "Retrain":
        return RETRAIN_MARK
    return BASE_MARK if name == "Base" else Mark(BASE_MARK.color, f"{BASE_MARK.symbol}-open")


def _trials(
    figure: go.Figure,
    legend: str,
    points: Sequence[Point],
    marker: dict[str, Any],
    *,
    mode: str = "markers",
    **more: Any,
) -> None:
    figure.add_scatter(
        x=[_percent(point.x) for point in points],
        y=[_percent(point.y) for point in points],
        mode=mode,
        marker=marker,
        name=plain(legend),
        legendgroup=plain(legend),
        meta="trials",
        customdata=[point.trial for point in points],
        **({"showlegend": False} | more),
    )


def _areas(figure: go.Figure, info: Tradeoff, method: str, mark: Mark, low: tuple[float, float]) -> None:
    """What a method's front covers, lightly; where there are replicates, what only some of them cover more densely."""
    varying = info.attainment.get(method)
    if varying is None:
        front = corners([(_percent(one.x), _percent(one.y)) for one in info.methods[method] if one.on_front])
        if front:
            _filled(figure, method, covered(front, low), mark, _ALWAYS)
        return
    best, median, worst = (
        [(_percent(x), _percent(y)) for x, y in surface] for surface in (varying.best, varying.median, varying.worst)
    )
    if not worst:
        return
    _filled(figure, method, covered(worst, low), mark, _ALWAYS)
    _filled(figure, method, between(best, worst, low), mark, _SOMETIMES)
    xs, ys = steps(median, low)
    figure.add_scatter(
        x=xs, y=ys, mode="lines", line={"color": mark.color, "width": 1, "dash": "dot"}, **_beside(method)
    )  # fmt: skip


def _filled(figure: go.Figure, method: str, outline: Outline, mark: Mark, density: float) -> None:
    red, green, blue = (int(mark.color[place : place + 2], 16) for place in (1, 3, 5))
    figure.add_scatter(
        x=outline[0],
        y=outline[1],
        mode="lines",
        line={"width": 0, "color": mark.color},
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},{density})",
        **_beside(method),
    )


def _beside(method: str) -> dict[str, Any]:
    """What belongs to a method, but is no trial."""
    return {"name": plain(method), "legendgroup": plain(method), "showlegend": False, "hoverinfo": "skip"}


def _named_references(figure: go.Figure, info: Tradeoff) -> None:
    """References with their names beside them, as far as these do not cover one another."""
    marks = [(point.x, point.y) for points in info.methods.values() for point in points]
    marks += [(one.x, one.y) for one in info.references]
    spans = [max(values) - min(values) or 1.0 for values in zip(*marks, strict=True)] if marks else [1.0, 1.0]
    named: list[Reference] = []
    for reference in info.references:
        near = [
            other
            for other in named
            if abs(other.x - reference.x) < _APART * spans[0] and abs(other.y - reference.y) < _APART * spans[1]
        ]
        if not near:
            named.append(reference)
        mark = reference_mark(reference.name)
        hollow = mark.symbol.endswith("-open")
        figure.add_scatter(
            x=[_percent(reference.x)],
            y=[_percent(reference.y)],
            mode="markers" if near else "markers+text",
            text=None if near else [f"<b>{plain(reference.name)}</b>"],
            textposition=_aside(reference, marks),
            marker={
                "color": mark.color,
                "symbol": mark.symbol,
                "size": 15,
                "line": {"width": 1.5, "color": mark.color if hollow else "#ffffff"},
            },
            name=plain(reference.name),
            legendgroup=plain(reference.name),
            cliponaxis=False,
            hoverinfo="text",
            hovertext=[f"<b>{plain(reference.name)}</b><br>{_values(reference.x, reference.y, info.metric)}"],
        )


def _aside(reference: Reference, marks: Sequence[tuple[float, float]]) -> str:
    """Above the fronts, and towards the middle of the plot, where a name has room."""
    xs = [x for x, _ in marks]
    return f"top {'left' if reference.x >= (min(xs) + max(xs)) / 2 else 'right'}"


def _lower_left(info: Tradeoff) -> tuple[float, float]:
    """Where areas end: a little below and left of everything that is drawn, never far below 0."""
    marks = [(point.x, point.y) for points in info.methods.values() for point in points]
    marks += [(one.x, one.y) for one in info.references]
    marks += [corner for varying in info.attainment.values() for corner in varying.worst]
    if not marks:
        return 0.0, 0.0
    ends = [(min(values), max(values)) for values in zip(*marks, strict=True)]
    x, y = (_percent(least - 0.03 * max(most - least, 0.01)) for least, most in ends)
    return x, y


def _percent(value: float) -> float:
    """Fewer digits than a float has: no pixel shows them, and the page is smaller."""
    return round(100 * value, 4)


def _axis(metric: str) -> str:
    short, label = NAMES.get(metric, metric.upper()), METRICS[metric].label
    return label if short == label else f"{short}: {label}"


def _errors(values: list[float | None], color: str) -> dict[str, Any] | None:
    if all(value is None for value in values):
        return None
    array = [None if value is None else _percent(value) for value in values]
    return {"type": "data", "array": array, "color": color, "thickness": 1, "width": 3}


def _values(x: float, y: float, metric: str) -> str:
    return f"UA {100 * x:.2f}%, {NAMES.get(metric, metric)} {100 * y:.2f}%"
