"""Each trial as a line through its settings and what came of them, axis below axis."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from neglora.objectives import METRICS
from neglora.record import Record
from study.plots.axis import beside, ticks, wrapped
from study.plots.panels import NAMES
from study.plots.style import RETRAIN_MARK, layout, method_mark, plain
from study.shown import shown
from study.thinning import thinned
from study.varied import Varied, is_absent, varied

#: So many lines can be told apart; fronts and what is recommended are drawn even if they are more.
LINES = 150
OUTCOMES = ("ua", "ra", "ta", "mia", "gap")
#: Where a line passes that has no value of a setting.
NOT_USED = 1.13
_END = 1.2
#: The height of one axis with its texts, in pixels.
_AXIS = 66
#: How far lines on one level of a list are spread.
_BAND = 0.02


@dataclass(frozen=True)
class Axis:
    """One axis: its name, texts at places from 0 to 1, where Retrain stands, and whether some lines have no value."""

    name: str
    title: str
    ticks: tuple[tuple[float, str], ...]
    retrain: float | None = None
    missed: bool = False


@dataclass(frozen=True)
class Line:
    """One trial: its place on each axis; None where it has no such setting, or the value was not measured."""

    trial: str
    method: str
    places: tuple[float | None, ...]
    on_front: bool
    recommended: bool


@dataclass(frozen=True)
class ParallelInfo:
    """What the figure shows.

    Attributes:
        axes: settings first, then outcomes.
        lines: in the study's order; those on a front and the recommended ones always.
        trials: how many there are.
        settings: how many of the axes are settings.
    """

    axes: tuple[Axis, ...]
    lines: tuple[Line, ...]
    trials: int
    settings: int
    methods: tuple[str, ...]

    @property
    def finding(self) -> str:
        """What it shows, in a sentence with numbers."""
        fronts = [line for line in self.lines if line.on_front]
        shared = []
        for index, axis in enumerate(self.axes[: self.settings]):
            own = [place for line in fronts if (place := line.places[index]) is not None]
            drawn = [place for line in self.lines if (place := line.places[index]) is not None]
            if len(own) >= 3 and max(own) - min(own) <= 0.5 * (max(drawn) - min(drawn)):
                shared.append(axis.name)
        count = f"{len(fronts)} of {self.trials} trials" if self.trials > 1 else "The only trial"
        text = f"{count} {'are' if len(fronts) != 1 else 'is'} on a front"
        if not shared:
            return f"{text}; they do not agree on any setting."
        return f"{text}; they keep to half or less of what was tried in {_listed(shared)}."


def parallel_info(
    rows: pd.DataFrame,
    space: Mapping[str, Any],
    by_trial: Mapping[str, Record],
    *,
    retrain: Record | None = None,
    fronts: Collection[str] = (),
    recommended: Collection[str] = (),
) -> ParallelInfo | None:
    """Gather lines and axes; None where fewer than two trials or no setting varied.

    Args:
        rows: candidates of one dataset and model.
        space: study.yaml.
        by_trial: the records of these rows, whose shown values are the outcomes.
        retrain: the group's oracle.
        fronts, recommended: ids of trials that are drawn however many there are.
    """
    parameters = _axes_of(rows, space)
    if len(rows) < 2 or not parameters:
        return None
    trials = list(rows["trial"])
    kept = thinned(trials, (set(fronts) | set(recommended)) & set(trials), LINES)
    drawn = rows[rows["trial"].isin(kept)]
    values = {
        name: [shown(by_trial[trial].metrics, by_trial[trial].report, name) for trial in drawn["trial"]]
        for name in OUTCOMES
    }
    columns, axes = [], []
    for parameter in parameters:
        own = [parameter.place(value) for value in drawn[f"param_{parameter.name}"].tolist()]
        columns.append(_apart(own) if parameter.scale == "levels" else own)
        missed = any(place is None for place in own)
        axes.append(Axis(parameter.name, parameter.name, tuple(ticks(parameter)), missed=missed))
    for name in OUTCOMES:
        measured = [value for value in values[name] if value is not None]
        if not measured:
            continue
        axis, places = _outcome(name, values[name], retrain)
        axes.append(axis)
        columns.append(places)
    lines = tuple(
        Line(str(trial), str(method), tuple(places), trial in fronts, trial in recommended)
        for trial, method, *places in zip(drawn["trial"], drawn["method"], *columns, strict=True)
    )
    return ParallelInfo(tuple(axes), lines, len(rows), len(parameters), tuple(map(str, dict.fromkeys(rows["method"]))))


def _axes_of(rows: pd.DataFrame, space: Mapping[str, Any]) -> list[Varied]:
    """What varied within any method, each over all values of all methods."""
    found: dict[str, list[Varied]] = {}
    for _, own in rows.groupby("method", sort=False):
        for one in varied(own, space):
            found.setdefault(one.name, []).append(one)
    return [_united(name, own, rows[f"param_{name}"].tolist()) for name, own in found.items()]


def _united(name: str, own: Sequence[Varied], values: Sequence[Any]) -> Varied:
    present = [value for value in values if not is_absent(value)]
    ranges = [one for one in own if one.scale != "levels"]
    if ranges and all(isinstance(value, int | float) for value in present):
        logarithmic = any(one.scale == "log" for one in ranges) and min(present) > 0
        low, high = min(*present, *(one.low for one in ranges)), max(*present, *(one.high for one in ranges))
        return Varied(name, "log" if logarithmic else "linear", (), float(low), float(high))
    order = list(dict.fromkeys([level for one in own for level in one.levels]))
    levels = order + [value for value in dict.fromkeys(present) if value not in order]
    if all(isinstance(level, int | float) and not isinstance(level, bool) for level in levels):
        levels = sorted(levels)
    return Varied(name, "levels", tuple(levels), 0.0, float(len(levels) - 1))


def _apart(places: Sequence[float | None]) -> list[float | None]:
    """Lines on one level beside one another, in the order of the trials."""
    sides = {
        place: iter(beside(list(places).count(place), _BAND)) for place in dict.fromkeys(places) if place is not None
    }
    return [None if place is None else place + next(sides[place]) for place in places]


def _outcome(name: str, values: Sequence[float | None], retrain: Record | None) -> tuple[Axis, list[float | None]]:
    """An axis over the values that are drawn, and Retrain's."""
    mark = None if retrain is None or name == "gap" else shown(retrain.metrics, retrain.report, name)
    known = [value for value in [*values, mark] if value is not None]
    low, high = min(known), max(known)
    if high - low < 0.001:
        low, high = max(high - 0.001, 0.0), max(high, 0.001)
    places = [None if value is None else (value - low) / (high - low) for value in values]
    texts = tuple((place, f"{100 * (low + place * (high - low)):.1f}%") for place in (0.0, 0.5, 1.0))
    title = f"{NAMES.get(name, METRICS[name].label)}, {'lower' if METRICS[name].direction == 'minimize' else 'higher'}"
    return (
        Axis(name, f"{title} is better", texts, None if mark is None else (mark - low) / (high - low)),
        places,
    )


def parallel_figure(info: ParallelInfo) -> go.Figure:
    """Draw it: the first axis on top; faint lines, lines of fronts, and thick ones of what is recommended."""
    traces: list[dict[str, Any]] = []
    annotations, shapes = [], []
    ends = _END if any(axis.missed for axis in info.axes) else 1.0
    for index, axis in enumerate(info.axes):
        shapes.append(_rule(0, 1, -index, "solid"))
        annotations.append(_text(f"<b>{plain(axis.title)}</b>", 0, -index, 9, "left", "bottom"))
        annotations += [_text(wrapped(text), place, -index, -3, _anchored(place), "top") for place, text in axis.ticks]
        if axis.missed:
            shapes.append(_rule(NOT_USED - 0.03, NOT_USED + 0.03, -index, "dot"))
            annotations.append(_text("not used", NOT_USED, -index, -3, "center", "top"))
    kinds = [
        (0.25, 1.0, lambda line: not line.on_front and not line.recommended),
        (0.6, 1.2, lambda line: line.on_front and not line.recommended),
        (1.0, 4.0, lambda line: line.recommended),
    ]
    # What matters more lies above, whatever its method.
    for alpha, width, belongs in kinds:
        for method in info.methods:
            mark = method_mark(method, info.methods)
            lines = [line for line in info.lines if line.method == method and belongs(line)]
            if lines:
                traces += _drawn(info, method, lines, _rgba(mark.color, alpha), width, mark.symbol)
    for method in info.methods:
        mark = method_mark(method, info.methods)
        traces.append(
            {
                "type": "scatter",
                "x": [None],
                "y": [None],
                "mode": "lines+markers",
                "line": {"color": mark.color, "width": 2},
                "marker": {"color": mark.color, "symbol": mark.symbol, "size": 8},
                "name": plain(method),
                "legendgroup": plain(method),
            }
        )
    if any(line.recommended for line in info.lines):
        line = {"color": "#808080", "width": 4}
        traces.append(
            {"type": "scatter", "x": [None], "y": [None], "mode": "lines", "line": line, "name": "recommended"}
        )
    marked = [(axis.retrain, -index) for index, axis in enumerate(info.axes) if axis.retrain is not None]
    if marked:
        traces.append(
            {
                "type": "scatter",
                "x": [x for x, _ in marked],
                "y": [y for _, y in marked],
                "mode": "markers",
                "marker": {"color": RETRAIN_MARK.color, "symbol": RETRAIN_MARK.symbol, "size": 13},
                "name": "Retrain",
                "hoverinfo": "skip",
            }
        )
    shared = layout("", "", percent=False)
    shared |= {
        "height": _AXIS * len(info.axes) + 90,
        "xaxis": {"visible": False, "range": [-0.03, ends + 0.03], "fixedrange": True},
        "yaxis": {"visible": False, "range": [-len(info.axes) + 0.35, 0.45], "fixedrange": True},
        "legend": shared["legend"] | {"y": -0.02},
        "annotations": annotations,
        "shapes": shapes,
    }
    return go.Figure({"data": traces, "layout": shared})


def _drawn(
    info: ParallelInfo, method: str, lines: Sequence[Line], color: str, width: float, symbol: str
) -> list[dict[str, Any]]:
    """Lines, and on them marks that can be selected; a gap after each line, and where a value was not measured."""
    x: list[float | None] = []
    y: list[float | None] = []
    trials: list[str | None] = []
    for line in lines:
        for index, place in enumerate(line.places):
            at = NOT_USED if place is None and index < info.settings else place
            x.append(None if at is None else round(at, 3))
            y.append(None if at is None else -index)
            trials.append(line.trial)
        x.append(None)
        y.append(None)
        trials.append(None)
    common = {
        "type": "scatter",
        "x": x,
        "y": y,
        "meta": "trials",
        "customdata": trials,
        "legendgroup": plain(method),
        "showlegend": False,
    }
    marker = {"color": color, "symbol": symbol, "size": 4 if width < 3 else 9}
    return [
        common | {"mode": "lines", "line": {"color": color, "width": width}},
        common | {"mode": "markers", "marker": marker},
    ]


def _rgba(color: str, alpha: float) -> str:
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def _rule(low: float, high: float, y: float, dash: str) -> dict[str, Any]:
    line = {"color": "#808080", "width": 1.5, "dash": dash}
    return {"type": "line", "x0": low, "x1": high, "y0": y, "y1": y, "layer": "below", "line": line}


def _anchored(place: float) -> str:
    return "left" if place < 0.02 else "right" if place > 0.98 else "center"


def _text(text: str, x: float, y: float, shift: int, across: str, up: str) -> dict[str, Any]:
    return {
        "text": text,
        "x": x,
        "y": y,
        "yshift": shift,
        "xanchor": across,
        "yanchor": up,
        "showarrow": False,
        "font": {"size": 11},
    }


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
