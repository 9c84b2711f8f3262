"""Hypervolume over repetitions of a study: each method's median, and a band around it."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from study.budget import Curve
from study.plots.progress import Against, volume_layout, volume_on_axis, volume_text
from study.plots.style import method_mark, plain
from study.repetitions import Band, band


def repeated_info(runs: Sequence[Sequence[Curve]], against: Against) -> list[Band]:
    """A band for each method that every repetition tried, in the order of the first.

    Args:
        runs: the methods' curves (`method_curves`) of each repetition.
        against: what spending is counted in.
    """
    by_method = [{curve.method: curve for curve in curves if curve.ids} for curves in runs]
    common = [method for method in (by_method[0] if by_method else {}) if all(method in own for own in by_method)]
    return [band([own[method] for own in by_method], against) for method in common]


def repeated_figure(bands: Sequence[Band], *, x_title: str, percent: bool) -> go.Figure:
    """Draw medians as steps, each within its band."""
    figure = go.Figure(layout=volume_layout(x_title, percent=percent))
    methods = [own.method for own in bands]
    for own in bands:
        mark = method_mark(own.method, methods)
        line = {"color": mark.color, "shape": "hv", "width": 0}
        for place, end in enumerate((own.low, own.high)):
            figure.add_scatter(
                x=[round(x, 3) for x in own.x],
                y=[volume_on_axis(volume, percent) for volume in end],
                mode="lines",
                line=line,
                fill="tonexty" if place else None,
                fillcolor=_faint(mark.color) if place else None,
                legendgroup=plain(own.method),
                showlegend=False,
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=[round(x, 3) for x in own.x],
            y=[volume_on_axis(volume, percent) for volume in own.middle],
            mode="lines",
            line=line | {"width": 2.5},
            name=plain(own.method),
            legendgroup=plain(own.method),
            showlegend=False,
            hoverinfo="text",
            hovertext=[_hover(own, index, percent) for index in range(len(own.x))],
        )
        # The end carries the method's shape, so that colour is never alone.
        figure.add_scatter(
            x=[round(own.x[-1], 3)],
            y=[volume_on_axis(own.middle[-1], percent)],
            mode="lines+markers",
            line=line | {"width": 2.5},
            marker={"color": mark.color, "symbol": mark.symbol, "size": 9},
            name=plain(own.method),
            legendgroup=plain(own.method),
            hoverinfo="skip",
        )
    return figure


def _hover(own: Band, index: int, percent: bool) -> str:
    low, middle, high = (volume_text(end[index], percent) for end in (own.low, own.middle, own.high))
    return f"{plain(own.method)} at {own.x[index]:,.6g}<br>median {middle}, {low} to {high}"


def _faint(color: str) -> str:
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.2)"
