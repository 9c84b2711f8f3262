"""What is recommended on pairs of forget set and seed that the search saw, and on those that it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from study.carried import Carried, Pair, mean
from study.plots.panels import NAMES, PANELS, axes_of, panels, span
from study.plots.style import RETRAIN_MARK, Mark, layout, method_mark, plain

SIDES = ("seen", "unseen")
#: Of the room between two sides, what the marks of one side take.
_ROOM = 0.84


@dataclass(frozen=True)
class Compared:
    """One configuration, or Retrain, on both kinds of pairs: what is shown, fractions (report half).

    Attributes:
        name: for the legend; of a method with one configuration the method's.
        method: None for Retrain.
        trial: its id; None for Retrain.
        sides: the pairs of the search, then the unseen ones.
    """

    name: str
    method: str | None
    trial: str | None
    sides: tuple[tuple[Pair, ...], tuple[Pair, ...]]


def carried_info(found: Sequence[Carried], retrain: tuple[tuple[Pair, ...], tuple[Pair, ...]]) -> list[Compared]:
    """The configurations in their order, then Retrain, if it was measured on any pair."""
    names = [one.name for one in found]
    compared = [
        Compared(
            one.name if names.count(one.name) == 1 else f"{one.name} ({one.trial})",
            str(one.cell["method"]),
            one.trial,
            (one.searched, one.unseen),
        )
        for one in found
    ]
    return compared + ([Compared("Retrain", None, None, retrain)] if any(retrain) else [])


def carried_figure(info: Sequence[Compared]) -> go.Figure:
    """Draw it in percent: a dot for each pair, and a line from the mean of one side to that of the other."""
    figure = go.Figure(layout=layout("", "", percent=True))
    values = [
        [value for one in info for side in one.sides for pair in side if (value := pair.values.get(metric)) is not None]
        for metric in PANELS
    ]
    sides = {"tickvals": [0, 1], "ticktext": list(SIDES), "range": [-0.5, 1.5], "tickangle": 0}
    figure.update_layout(height=560, legend={"y": -0.1}, **panels(sides, "", map(span, values)))
    methods = [one.method for one in info if one.method is not None]
    for index, metric in enumerate(PANELS):
        for number, one in enumerate(info):
            mark = RETRAIN_MARK if one.method is None else method_mark(one.method, methods)
            middle = _ROOM * ((number + 0.5) / len(info) - 0.5)
            figure.add_trace(
                _dots(one, metric, mark, middle, _ROOM / len(info)).update(**axes_of(index), showlegend=not index)
            )
            figure.add_trace(_means(one, metric, mark, middle).update(**axes_of(index)))
    return figure


def _dots(one: Compared, metric: str, mark: Mark, middle: float, room: float) -> go.Scatter:
    """The pairs of a side stand beside one another, since many have the same value."""
    x, y, texts = [], [], []
    for at, side in enumerate(one.sides):
        for number, pair in enumerate(side):
            value = pair.values.get(metric)
            if value is not None:
                x.append(at + middle + 0.7 * room * ((number + 0.5) / len(side) - 0.5))
                y.append(100 * value)
                texts.append(f"<b>{plain(one.name)}</b><br>{plain(pair.title)}<br>{NAMES[metric]} {100 * value:.2f}%")
    return go.Scatter(
        x=x,
        y=y,
        mode="markers",
        marker={"color": mark.color, "symbol": mark.symbol, "size": 7, "opacity": 0.8},
        name=plain(one.name),
        legendgroup=plain(one.name),
        hoverinfo="text",
        hovertext=texts,
    )


def _means(one: Compared, metric: str, mark: Mark, middle: float) -> go.Scatter:
    means = [mean(side, metric) for side in one.sides]
    return go.Scatter(
        x=[middle, 1 + middle],
        y=[None if value is None else 100 * value for value in means],
        mode="lines",
        line={"color": mark.color, "width": 1.5, "dash": "dash" if one.method is None else "solid"},
        legendgroup=plain(one.name),
        showlegend=False,
        hoverinfo="skip",
    )
