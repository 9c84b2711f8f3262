"""What the search gained: the share of the objectives' space that a front covers, against trials or seconds spent.

Where trials were measured in stages, it is that of what the search was told, on subsets: few were then measured in
full.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go

from neglora.objectives import METRICS
from study.budget import Curve, cell_curves
from study.plots.style import RETRAIN_MARK, layout, method_mark, plain

Against = Literal["trials", "seconds"]

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def progress_info(table: pd.DataFrame, objectives: Sequence[str]) -> list[Curve]:
    """The curves of the searched cells of one dataset x model, over the study's objectives on the selection half."""
    return cell_curves(table, objectives)


def progress_figure(
    curves: Sequence[Curve],
    against: Against = "trials",
    *,
    x_title: str = "trials of the cell",
    percent: bool = False,
    retrain: float | None = None,
) -> go.Figure:
    """Draw the curves as steps: colour by method, dashes by the values of the axes.

    Args:
        curves: one for each cell.
        against: what is on the x axis.
        x_title: what that is called.
        percent: whether volumes are shares of a space that ends at 1.
        retrain: what Retrain alone covers, which gets a line.
    """
    figure = go.Figure(layout=volume_layout(x_title, percent=percent))
    methods = list(dict.fromkeys(curve.method for curve in curves))
    variants = list(dict.fromkeys(json.dumps(curve.axes) for curve in curves))
    for curve in curves:
        mark = method_mark(curve.method, methods)
        spent = getattr(curve, against)
        kept = steps(curve.hypervolumes)
        xs, volumes = [round(spent[index], 3) for index in kept], [curve.hypervolumes[index] for index in kept]
        figure.add_scatter(
            x=xs,
            y=[volume_on_axis(volume, percent) for volume in volumes],
            mode="lines+markers",
            line={
                "color": mark.color,
                "shape": "hv",
                "dash": _DASHES[variants.index(json.dumps(curve.axes)) % len(_DASHES)],
                "width": 2,
            },
            marker={"symbol": mark.symbol, "size": 6, "color": mark.color},
            name=plain(curve.name),
            # What raised the volume is a trial; the end of the curve need not be one that did.
            meta="trials",
            customdata=[curve.ids[index] if raised(curve.hypervolumes, index) else None for index in kept],
            hoverinfo="text",
            hovertext=[
                f"{plain(curve.name)}<br>after {_spent(x, against)}: {volume_text(volume, percent)}"
                for x, volume in zip(xs, volumes, strict=True)
            ],
        )
    if retrain is not None and figure.data:
        add_retrain(figure, retrain, [0, max(getattr(curve, against)[-1] for curve in curves)], percent)
    return figure


def add_retrain(figure: go.Figure, retrain: float, ends: Sequence[float], percent: bool) -> None:
    """A line at what Retrain alone covers."""
    figure.add_scatter(
        x=list(ends),
        y=[volume_on_axis(retrain, percent)] * 2,
        mode="lines+markers",
        line={"color": RETRAIN_MARK.color, "dash": "dot", "width": 2},
        marker={"symbol": RETRAIN_MARK.symbol, "color": RETRAIN_MARK.color, "size": 9},
        name="Retrain",
        hoverinfo="text",
        hovertext=[f"Retrain alone: {volume_text(retrain, percent)}"] * 2,
    )


def volume_layout(x_title: str, *, percent: bool) -> dict[str, Any]:
    """The layout of figures with a volume on the y axis."""
    drawn = layout(x_title, "share covered (hypervolume)" if percent else "hypervolume", percent=percent)
    drawn["xaxis"]["ticksuffix"] = ""
    drawn["xaxis"]["rangemode"] = "tozero"
    return drawn


def volume_on_axis(volume: float, percent: bool) -> float:
    """A volume as the y axis has it; six digits are far more than can be seen, and keep files small."""
    return round(100 * volume if percent else volume, 6)


def volume_text(volume: float, percent: bool) -> str:
    """A volume for people."""
    return f"{100 * volume:.2f}%" if percent else f"{volume:.4f}"


def is_share(objectives: Sequence[str]) -> bool:
    """Whether the volume over these objectives is a share: each of them lies between 0 and 1."""
    return all(METRICS[name].unit == "fraction" for name in objectives)


def steps(volumes: Sequence[float]) -> list[int]:
    """The places where a curve of steps begins, changes and ends: the same line with fewer points."""
    ends = (0, len(volumes) - 1)
    return [index for index in range(len(volumes)) if index in ends or raised(volumes, index)]


def raised(volumes: Sequence[float], index: int) -> bool:
    """Whether the trial at this place enlarged what was covered."""
    return volumes[index] > (volumes[index - 1] if index else 0.0)


def _spent(x: float, against: Against) -> str:
    return f"{x:g} trials" if against == "trials" else f"{x:,.1f} s"
