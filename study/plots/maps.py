"""Two settings together: the gap to Retrain in each combination of their values, a panel for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from study.plots.axis import bin_of, bins
from study.plots.style import layout, plain
from study.varied import Varied

#: (across, up): which settings are looked at together, and what they are.
PAIRS = (("alpha", "rank"), ("lr", "epochs"))

#: From low to high: evenly lighter, also for readers who see no colours (the ends of cividis).
_SCALE = ((0.0, "#00224e"), (0.5, "#7c7b78"), (1.0, "#fee838"))
#: Tiles with fewer trials are shown, and nothing is said of them.
_COMPARED = 3
#: The heights of one row of tiles, and of what stands around a panel, in pixels.
_ROW, _AROUND = 54, 112


@dataclass(frozen=True)
class Tile:
    """The trials of one combination: how many, the mean of their values and the best of them, fractions."""

    column: int
    row: int
    trials: int
    mean: float
    best: float
    best_trial: str


@dataclass(frozen=True)
class Panel:
    """One method: what is written at its columns and rows, and the tiles that have trials."""

    method: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class MapInfo:
    """What the figure shows: the settings' names, and a panel for each method in which both were varied."""

    across: str
    up: str
    panels: tuple[Panel, ...]

    @property
    def finding(self) -> str:
        """What it shows, in a sentence with numbers."""
        return " ".join(self._of(panel) for panel in self.panels)

    def _of(self, panel: Panel) -> str:
        known = [tile for tile in panel.tiles if tile.trials >= _COMPARED]
        if len(known) < 2:
            return f"{panel.method} has too few trials in each tile to compare them."
        tiles = sorted(known, key=lambda tile: (tile.mean, tile.row, tile.column))
        best, worst = tiles[0], tiles[-1]
        return (
            f"{panel.method} comes nearest to Retrain at {self._where(panel, best)}: a gap of {100 * best.mean:.1f}% "
            f"on average of {_trials(best.trials)}; farthest at {self._where(panel, worst)}: {100 * worst.mean:.1f}%."
        )

    def _where(self, panel: Panel, tile: Tile) -> str:
        column, row = (text.replace("<br>", "") for text in (panel.columns[tile.column], panel.rows[tile.row]))
        return f"{self.across} {column} and {self.up} {row}"


def map_info(
    across: str, up: str, methods: Mapping[str, tuple[pd.DataFrame, Sequence[Varied]]], values: pd.Series
) -> MapInfo | None:
    """Put trials into tiles; None where no method varied both settings and has two tiles with trials.

    Args:
        across, up: names of the settings.
        methods: per method its candidates, and what varied in them.
        values: the gap of these candidates, on their index; those without it are left out.
    """
    panels = []
    for method, (rows, parameters) in methods.items():
        found = {one.name: one for one in parameters}
        if across not in found or up not in found:
            continue
        cells: dict[tuple[int, int], list[tuple[float, str]]] = {}
        names = ["trial", f"param_{across}", f"param_{up}"]
        for index, (trial, x, y) in zip(rows.index, rows[names].itertuples(index=False), strict=True):
            column, row, value = bin_of(found[across], x), bin_of(found[up], y), values[index]
            if column is not None and row is not None and not pd.isna(value):
                cells.setdefault((column, row), []).append((float(value), str(trial)))
        tiles = tuple(_tile(column, row, own) for (column, row), own in sorted(cells.items()))
        if len(tiles) > 1:
            panels.append(Panel(method, tuple(bins(found[across])), tuple(bins(found[up])), tiles))
    return MapInfo(across, up, tuple(panels)) if panels else None


def _tile(column: int, row: int, own: list[tuple[float, str]]) -> Tile:
    best, trial = min(own)
    return Tile(column, row, len(own), sum(value for value, _ in own) / len(own), best, trial)


def map_figure(info: MapInfo) -> go.Figure:
    """Draw it: in each tile the mean gap in percent and the number of trials; a tile without trials stays empty."""
    shared = layout("", "", percent=False)
    traces = []
    heights = [_AROUND + _ROW * len(panel.rows) for panel in info.panels]
    whole = sum(heights)
    means = [100 * tile.mean for panel in info.panels for tile in panel.tiles]
    low, high = min(means), max(max(means), min(means) + 0.1)
    made: dict[str, Any] = {"annotations": []}
    top = 0
    for index, panel in enumerate(info.panels):
        number = "" if index == 0 else str(index + 1)
        ends = [1 - (top + 34 + _ROW * len(panel.rows)) / whole, 1 - (top + 34) / whole]
        top += heights[index]
        made[f"xaxis{number}"] = shared["xaxis"] | _axis(panel.columns, info.across, f"y{number}")
        made[f"yaxis{number}"] = shared["yaxis"] | _axis(panel.rows, info.up, f"x{number}") | {"domain": ends}
        made["annotations"].append(
            _text(f"<b>{plain(panel.method)}</b>", 0, ends[1], "paper", "paper")
            | {"xanchor": "left", "yanchor": "bottom"}
        )
        z: list[list[float | None]] = [[None] * len(panel.columns) for _ in panel.rows]
        hover = [[""] * len(panel.columns) for _ in panel.rows]
        for tile in panel.tiles:
            z[tile.row][tile.column] = round(100 * tile.mean, 3)
            hover[tile.row][tile.column] = _hover(info, panel, tile)
            light = (100 * tile.mean - low) / (high - low) > 0.45
            written = f"<b>{100 * tile.mean:.1f}%</b><br>{tile.trials}"
            made["annotations"].append(
                _text(written, tile.column, tile.row, f"x{number}", f"y{number}")
                | {"font": {"color": "#000000" if light else "#ffffff", "size": 12}}
            )
        traces.append(
            {
                "type": "heatmap",
                "x": list(range(len(panel.columns))),
                "y": list(range(len(panel.rows))),
                "z": z,
                "zmin": low,
                "zmax": high,
                "colorscale": [list(stop) for stop in _SCALE],
                "showscale": False,
                "xgap": 2,
                "ygap": 2,
                "hoverinfo": "text",
                "hovertext": hover,
                "hoverongaps": False,
                "xaxis": f"x{number}",
                "yaxis": f"y{number}",
            }
        )
    return go.Figure({"data": traces, "layout": shared | made | {"height": whole + 20, "showlegend": False}})


def _axis(texts: Sequence[str], title: str, anchor: str) -> dict[str, Any]:
    return {
        "anchor": anchor,
        "tickvals": list(range(len(texts))),
        "ticktext": list(texts),
        "tickangle": 0,
        "range": [-0.5, len(texts) - 0.5],
        "showgrid": False,
        "title": {"text": plain(title), "standoff": 6},
    }


def _text(text: str, x: float, y: float, xref: str, yref: str) -> dict[str, Any]:
    return {"text": text, "x": x, "y": y, "xref": xref, "yref": yref, "showarrow": False}


def _hover(info: MapInfo, panel: Panel, tile: Tile) -> str:
    column, row = (text.replace("<br>", "") for text in (panel.columns[tile.column], panel.rows[tile.row]))
    return (
        f"<b>{plain(panel.method)}</b>, {plain(info.across)} {column}, {plain(info.up)} {row}<br>"
        f"gap {100 * tile.mean:.2f}% on average of {_trials(tile.trials)}<br>"
        f"lowest {100 * tile.best:.2f}%: {plain(tile.best_trial)}"
    )


def _trials(count: int) -> str:
    return f"{count} trial" if count == 1 else f"{count} trials"
