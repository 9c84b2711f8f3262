"""What the search gained with every trial: hypervolume of each cell against the number of trials.

Where trials were measured in stages, it is that of what the search was told, on subsets: few were then measured in
full.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from neglora.objectives import METRICS
from study.pareto import front, hypervolume, reference_point
from study.plots.style import layout, method_mark, plain
from study.stages import searched_rows

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


@dataclass(frozen=True)
class Progress:
    """One cell's curve: after `trials[i]` trials of any status the front covers `hypervolumes[i]`."""

    cell: str
    method: str
    axes: dict[str, Any]
    trials: list[int]
    hypervolumes: list[float]


def progress_info(table: pd.DataFrame, objectives: Sequence[str]) -> list[Progress]:
    """The curves of the searched cells of one dataset x model, over the study's objectives on the selection half."""
    directions = [METRICS[name].direction for name in objectives]
    reference = reference_point(objectives)
    curves = []
    for cell, rows in searched_rows(table[table["method"] != "retrain"]).groupby("cell", sort=False):
        rows = rows.sort_values("number", kind="stable")
        usable = set(rows["trial"][rows["status"] == "ok"])
        kept: list[list[float]] = []
        volume = 0.0
        volumes = []
        for trial, point in zip(rows["trial"], rows[list(objectives)].to_numpy(dtype=float).tolist(), strict=True):
            if trial in usable:
                grown = [*kept, point]
                indices = front(grown, directions)
                # Only a point that joins the front changes the volume.
                if len(kept) in indices:
                    kept = [grown[index] for index in indices]
                    volume = hypervolume(kept, reference, directions)
            volumes.append(volume)
        axes = json.loads(rows.iloc[0]["axes"])
        curves.append(Progress(str(cell), str(rows.iloc[0]["method"]), axes, list(range(1, len(volumes) + 1)), volumes))
    return curves


def progress_figure(curves: Sequence[Progress]) -> go.Figure:
    """Draw the curves as steps: colour by method, dashes by the values of the axes."""
    figure = go.Figure(layout=layout("trials of the cell", "hypervolume (selection half)", percent=False))
    methods = list(dict.fromkeys(curve.method for curve in curves))
    variants = list(dict.fromkeys(json.dumps(curve.axes) for curve in curves))
    for curve in curves:
        label = ", ".join([curve.method, *(f"{name} {value}" for name, value in curve.axes.items())])
        dash = _DASHES[variants.index(json.dumps(curve.axes)) % len(_DASHES)]
        figure.add_scatter(
            x=curve.trials,
            y=curve.hypervolumes,
            mode="lines+markers",
            line={"color": method_mark(curve.method, methods).color, "shape": "hv", "dash": dash, "width": 2},
            marker={"symbol": method_mark(curve.method, methods).symbol, "size": 6},
            name=plain(label),
            hoverinfo="text",
            hovertext=[
                f"{plain(label)}<br>after {trials} trials: {volume:.4f}"
                for trials, volume in zip(curve.trials, curve.hypervolumes, strict=True)
            ],
        )
    return figure
