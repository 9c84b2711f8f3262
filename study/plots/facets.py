"""Small multiples: the fronts of every dataset x model beside one another, on the same axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from neglora.record import Record
from study.aggregate import Base, shown
from study.plots.panels import NAMES, span
from study.plots.style import BASE_MARK, RETRAIN_MARK, layout, method_mark, plain
from study.recommend import front_rows

#: Panels beside one another: a screen of 400 pixels has 100 for each of three, and nothing left for more.
COLUMNS = 3
#: Heights in pixels: of a panel, of the title above it, and of what is below the last line.
_PANEL, _TITLE, _BELOW = 180, 46, 96
#: Between two panels, as a share of the whole width.
_GAP = 0.05
#: Room at the sides of a panel for marks, in points of UA.
_ASIDE = 5.0
_RING = "#E69F00"


@dataclass(frozen=True)
class Spot:
    """A model at the values that are shown (report half), fractions; `trial` is None for a reference."""

    x: float
    y: float
    trial: str | None = None


@dataclass(frozen=True)
class Facet:
    """One dataset x model.

    Attributes:
        dataset, model: names.
        fronts: per method its front of UA and the metric on the selection half, from low UA to high.
        retrain, base: references; None where they are missing or were not measured.
        recommended: the recommended trial; None where there is none. It need not be on a front of these two metrics.
        method: that trial's.
    """

    dataset: str
    model: str
    fronts: dict[str, list[Spot]]
    retrain: Spot | None
    base: Spot | None
    recommended: Spot | None
    method: str | None = None


def facet_info(
    table: pd.DataFrame,
    dataset: str,
    model: str,
    metric: str,
    *,
    retrain: Record | None = None,
    bases: Sequence[Base] = (),
    recommended: str | None = None,
) -> Facet:
    """Gather one panel.

    Args:
        table: rows of `trials_table` of this dataset and model.
        dataset, model: names.
        metric: what UA is shown against, such as "ra".
        retrain, bases, recommended: the group's.
    """
    fronts: dict[str, list[Spot]] = {}
    for method, rows in table[table["method"] != "retrain"].groupby("method", sort=False):
        spots = [_row_spot(row, metric) for row in front_rows(rows, ("ua", metric)).to_dict("records")]
        known = [spot for spot in spots if spot is not None]
        if known:
            fronts[str(method)] = sorted(known, key=lambda spot: (spot.x, -spot.y))
    dense = [base for base in bases if base.sparsity == 0]
    chosen = table[(table["trial"] == recommended) & (table["fidelity"] == "full")].to_dict("records")
    return Facet(
        dataset,
        model,
        fronts,
        None if retrain is None else _spot(retrain.metrics, retrain.report, metric),
        _spot(dense[0].metrics, dense[0].report, metric) if dense else None,
        _row_spot(chosen[0], metric) if chosen else None,
        str(chosen[0]["method"]) if chosen else None,
    )


def _spot(metrics: Mapping[str, Any], report: Mapping[str, Any], metric: str, trial: str | None = None) -> Spot | None:
    x, y = shown(metrics, report, "ua"), shown(metrics, report, metric)
    return None if x is None or y is None else Spot(x, y, trial)


def _row_spot(row: Mapping[Any, Any], metric: str) -> Spot | None:
    values = {}
    for name in ("ua", metric):
        value = row[name] if pd.isna(row[f"report_{name}"]) else row[f"report_{name}"]
        values[name] = None if pd.isna(value) else value
    return _spot(values, {}, metric, row["trial"])


def lines_of(facets: Sequence[Facet]) -> list[list[Facet]]:
    """The panels line by line, at most `COLUMNS` in each: every dataset begins a line, unless each has one model."""
    by_dataset: dict[str, list[Facet]] = {}
    for facet in facets:
        by_dataset.setdefault(facet.dataset, []).append(facet)
    rows = list(by_dataset.values())
    if all(len(row) == 1 for row in rows):
        rows = [list(facets)]
    return [row[start : start + COLUMNS] for row in rows for start in range(0, len(row), COLUMNS)]


def ranges_of(facets: Sequence[Facet]) -> tuple[list[float] | None, list[float] | None]:
    """The axes of all panels in percent: everything along UA; of the other, from the worst that matters to the best.

    What matters are Retrain, the base, what is recommended and each front's best point: a front's tail may reach down
    to where nothing is left of the model, and would press everything else into the corner.
    """
    marks = [spot for facet in facets for spot in (facet.retrain, facet.base, facet.recommended) if spot is not None]
    fronts = [front for facet in facets for front in facet.fronts.values()]
    best = [max(front, key=lambda spot: spot.x + spot.y) for front in fronts]
    xs = [spot.x for spot in [*marks, *(spot for front in fronts for spot in front)]]
    # The upper ends of all fronts are seen.
    ys = [spot.y for spot in [*marks, *best, *(max(front, key=lambda spot: spot.y) for front in fronts)]]
    along = span(xs)
    # Marks are wide where panels are narrow.
    return [along[0] - _ASIDE, along[1] + _ASIDE] if along else None, span(ys)


def out_of_view(facets: Sequence[Facet]) -> tuple[int, int]:
    """How many points of fronts lie below the shown range, and how many points there are."""
    _, ys = ranges_of(facets)
    spots = [spot for facet in facets for front in facet.fronts.values() for spot in front]
    return sum(100 * spot.y < ys[0] for spot in spots) if ys else 0, len(spots)


def facets_figure(facets: Sequence[Facet], metric: str) -> go.Figure:
    """Draw all panels with one legend, in percent."""
    lines = lines_of(facets)
    figure = go.Figure(layout=_layout(lines, metric, ranges_of(facets)))
    methods = list(dict.fromkeys(method for facet in facets for method in facet.fronts))
    named: set[str] = set()

    def add(number: str, name: str, spots: Sequence[Spot], hover: Sequence[str], **look: Any) -> None:
        figure.add_scatter(
            x=[round(100 * spot.x, 4) for spot in spots],
            y=[round(100 * spot.y, 4) for spot in spots],
            xaxis=f"x{number}",
            yaxis=f"y{number}",
            name=plain(name),
            legendgroup=plain(name),
            showlegend=name not in named,
            hoverinfo="text",
            hovertext=list(hover),
            **look,
        )
        named.add(name)

    panels = [facet for line in lines for facet in line]
    for index, facet in enumerate(panels):
        number = _number(index)
        for method, front in facet.fronts.items():
            mark = method_mark(method, methods)
            add(
                number,
                method,
                front,
                [f"{plain(method)} {plain(spot.trial)}<br>{_values(spot, metric)}" for spot in front],
                mode="lines+markers",
                line={"color": mark.color, "width": 1.5, "shape": "vh"},
                marker={"color": mark.color, "symbol": mark.symbol, "size": 7},
            )
        for name, spot, mark in (("Retrain", facet.retrain, RETRAIN_MARK), ("Base", facet.base, BASE_MARK)):
            if spot is not None:
                add(
                    number,
                    name,
                    [spot],
                    [f"{name}<br>{_values(spot, metric)}"],
                    mode="markers",
                    marker={
                        "color": mark.color,
                        "symbol": mark.symbol,
                        "size": 12,
                        "line": {"width": 1, "color": "#ffffff"},
                    },
                )
        if facet.recommended is not None:
            if facet.method in methods and facet.recommended not in facet.fronts[facet.method]:
                mark = method_mark(facet.method, methods)
                look = {"color": mark.color, "symbol": mark.symbol, "size": 7}
                add(number, facet.method, [facet.recommended], [""], mode="markers", marker=look)
            add(
                number,
                "recommended",
                [facet.recommended],
                [f"recommended: {plain(facet.recommended.trial)}<br>{_values(facet.recommended, metric)}"],
                mode="markers",
                marker={"symbol": "circle-open", "size": 17, "color": _RING, "line": {"width": 2.5}},
            )
    return figure


def _layout(
    lines: Sequence[Sequence[Facet]], metric: str, ranges: tuple[list[float] | None, list[float] | None]
) -> dict[str, Any]:
    """Axes, titles and height of panels in lines; ticks are at the left and below only."""
    made = layout("", "", percent=True)
    x_axis, y_axis = made.pop("xaxis"), made.pop("yaxis")
    inner = len(lines) * (_PANEL + _TITLE)
    columns = max(len(line) for line in lines)
    width = (1 - _GAP * (columns - 1)) / columns
    made["annotations"] = []
    index = 0
    for at, line in enumerate(lines):
        top = 1 - (at * (_PANEL + _TITLE) + _TITLE) / inner
        bottom = max(0.0, top - _PANEL / inner)
        for column, facet in enumerate(line):
            number, left = _number(index), column * (width + _GAP)
            # Nothing is below the last panel of each column.
            last = not any(len(below) > column for below in lines[at + 1 :])
            made[f"xaxis{number}"] = x_axis | {
                "domain": [left, left + width],
                "anchor": f"y{number}",
                "range": ranges[0],
                "nticks": 3,
                # Without a unit, so that the last tick of a narrow panel and the first of the next do not touch.
                "ticksuffix": "",
                "tickfont": {"size": 11},
                "showticklabels": last,
                "title": {"text": f"{NAMES['ua']}, %" if last else "", "standoff": 4},
            }
            made[f"yaxis{number}"] = y_axis | {
                "domain": [bottom, top],
                "anchor": f"x{number}",
                "range": ranges[1],
                "nticks": 5,
                "tickfont": {"size": 11},
                "showticklabels": column == 0,
                "title": {"text": NAMES.get(metric, metric) if column == 0 else "", "standoff": 4},
            }
            if index:
                made[f"xaxis{number}"]["matches"] = "x"
                made[f"yaxis{number}"]["matches"] = "y"
            made["annotations"].append(_title(facet, left, top))
            index += 1
    margins = made["margin"]
    made["height"] = math.ceil(inner + _BELOW + margins["t"] + margins["b"])
    made["margin"] = margins | {"b": _BELOW}
    made["legend"] = made["legend"] | {"y": -56 / inner}
    return made


def _title(facet: Facet, left: float, top: float) -> dict[str, Any]:
    return {
        "text": f"<b>{plain(facet.model)}</b><br>{plain(facet.dataset)}",
        "font": {"size": 12},
        "align": "left",
        "x": left,
        "y": top,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
    }


def _number(index: int) -> str:
    return "" if index == 0 else str(index + 1)


def _values(spot: Spot, metric: str) -> str:
    return f"UA {100 * spot.x:.2f}%, {NAMES.get(metric, metric)} {100 * spot.y:.2f}%"
