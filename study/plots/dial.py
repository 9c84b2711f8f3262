"""The dial of a trial: what its model is at every scale of its update, from the base to the full ascent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import plotly.graph_objects as go

from neglora.dial import Dial
from neglora.objectives import GAP_METRICS
from neglora.record import forget_title
from study.plots.panels import NAMES, PANELS, axes_of, panels, span
from study.plots.style import RETRAIN_MARK, layout, method_mark
from study.shown import shown

#: The colour of what moves with the dial.
HAND = "#E69F00"


@dataclass(frozen=True)
class DialInfo:
    """What is shown of a dial: values as people are shown them (report half), fractions; None where not measured.

    Attributes:
        identifier: of the dial among those of a page, for the scripts.
        trial, method, pair: of the record; the pair in words.
        scales: ascending, from 0 to 1.
        values: of UA, RA, TA, MIA and gap at each scale.
        retrain: Retrain's; empty without one.
        recorded: the index of the scale that the record is of.
        nearest: the index of the scale that is nearest to Retrain on the selection half; None without a Retrain.
    """

    identifier: str
    trial: str
    method: str
    pair: str
    scales: tuple[float, ...]
    values: dict[str, tuple[float | None, ...]]
    retrain: dict[str, float | None]
    recorded: int
    nearest: int | None


def dial_info(dial: Dial, identifier: str) -> DialInfo:
    """Gather what a dial's figure, table and slider show."""
    scales = tuple(point.scale for point in dial.points)
    nearest = dial.nearest
    return DialInfo(
        identifier,
        dial.trial,
        dial.method,
        f"{forget_title(dial.forget)} with seed {dial.seed}",
        scales,
        {
            name: tuple(shown(point.metrics, point.report, name) for point in dial.points)
            for name in (*GAP_METRICS, "gap")
        },
        {}
        if dial.retrain is None
        else {name: shown(dial.retrain["metrics"], dial.retrain["report"], name) for name in GAP_METRICS},
        scales.index(dial.recorded),
        None if nearest is None else scales.index(nearest.scale),
    )


def dial_figure(info: DialInfo) -> go.Figure:
    """Draw each metric along the scale, with Retrain's as a dashed line and a mark that the page's slider moves."""
    figure = go.Figure(layout=layout("", "", percent=True))
    shared = {"range": [-0.03, 1.03], "tickvals": [0, 0.25, 0.5, 0.75, 1]}
    ends = [
        span(value for value in (*info.values[metric], info.retrain.get(metric)) if value is not None)
        for metric in PANELS
    ]
    figure.update_layout(height=520, showlegend=False, **panels(shared, "share of the update", ends))
    mark = method_mark(info.method, [info.method])
    for index, metric in enumerate(PANELS):
        y = [_percent(value) for value in info.values[metric]]
        aim = info.retrain.get(metric)
        if aim is not None:
            figure.add_scatter(
                x=[0, 1],
                y=[_percent(aim)] * 2,
                mode="lines",
                line={"color": RETRAIN_MARK.color, "width": 2, "dash": "dash"},
                name="Retrain",
                hoverinfo="name+y",
                **axes_of(index),
            )
        figure.add_scatter(
            x=list(info.scales),
            y=y,
            mode="lines+markers",
            line={"color": mark.color, "width": 2},
            marker={"color": mark.color, "symbol": mark.symbol, "size": 5},
            name=NAMES[metric],
            hoverinfo="x+y",
            **axes_of(index),
        )
        _hand(figure, info, list(info.scales), y, axes_of(index))
    return figure


def add_path(figure: go.Figure, info: DialInfo, metric: str) -> None:
    """Draw a dial over a trade-off: UA against a metric, from the base to the full ascent, with the slider's mark."""
    x, y = ([_percent(value) for value in info.values[name]] for name in ("ua", metric))
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines+markers",
        line={"color": "#808080", "width": 2, "dash": "dot"},
        marker={"color": "#808080", "symbol": "circle", "size": 4},
        name="dial",
        legendgroup="dial",
        showlegend=False,
        hoverinfo="text",
        hovertext=[f"dial of {info.trial}<br>{scale:.3g} of its update" for scale in info.scales],
    )
    _hand(figure, info, x, y, {})


def _hand(
    figure: go.Figure, info: DialInfo, x: list[float | None], y: list[float | None], axes: dict[str, str]
) -> None:
    """Where the slider stands; the page moves it to the others of `customdata`."""
    figure.add_scatter(
        x=[x[info.recorded]],
        y=[y[info.recorded]],
        mode="markers",
        marker={"color": HAND, "symbol": "x", "size": 12, "line": {"width": 1, "color": "#ffffff"}},
        meta=f"dial {info.identifier}",
        customdata=[list(pair) for pair in zip(x, y, strict=True)],
        name="dial",
        legendgroup="dial",
        showlegend=False,
        hoverinfo="skip",
        cliponaxis=False,
        **axes,
    )


def finding(info: DialInfo) -> str:
    """How little of the update is enough, and what that spares: a sentence."""
    found = next((index for index, value in enumerate(info.values["ua"]) if value is not None and value >= 0.99), None)
    if found is None:
        most = max(_known(info.values["ua"]), default=None)
        return "UA was not measured." if most is None else f"At no scale is 99% forgotten: the most is UA {most:.2%}."
    here, full = (_values(info, index) for index in (found, len(info.scales) - 1))
    return f"{info.scales[found]:.3g} of the update forgets 99%: {here}; all of it: {full}."


def _values(info: DialInfo, index: int) -> str:
    told = [f"{NAMES[name]} {value:.1%}" for name in ("ra", "ta") if (value := info.values[name][index]) is not None]
    return ", ".join(told) or "nothing else was measured"


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 4)
