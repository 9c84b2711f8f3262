"""What one method's settings do to a metric: a panel for each, with the trials behind the course."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from neglora.objectives import METRICS
from study.effects import Effect
from study.importance import Importance
from study.plots.axis import NOT_USED, beside, short, ticked
from study.plots.style import Mark, layout, plain

#: So many settings are shown, those that matter most.
MOST = 4
#: The height of one panel and of what is below it, in pixels.
_PANEL, _BELOW, _ABOVE = 130, 60, 28


@dataclass(frozen=True)
class EffectsInfo:
    """What the figure of one method shows.

    Attributes:
        metric, label: its name, and what people call it.
        effects: the settings that matter most, first the most; in the study's order where nothing is claimed.
        left_out: settings that varied too.
        importance: what is claimed, or why nothing is.
    """

    method: str
    metric: str
    label: str
    effects: tuple[Effect, ...]
    left_out: tuple[str, ...]
    importance: Importance

    @property
    def finding(self) -> str:
        """What it shows, in a sentence with numbers."""
        first = self.effects[0]
        sign = 1 if METRICS[self.metric].direction == "minimize" else -1
        lowest, highest = ("lowest", "highest") if sign > 0 else ("highest", "lowest")
        if not first.course:
            best = min(first.points, key=lambda point: (sign * point.y, point.trial))
            return (
                f"{self.method}: the {lowest} {self.label} of {len(first.points)} trials is {100 * best.y:.1f}%, "
                f"{_where(first, best.value)}."
            )
        places = sorted(range(len(first.course)), key=lambda place: sign * first.course[place])
        best_place, worst_place = places[0], places[-1]
        return (
            f"{self.method}: {self.label} is {lowest} {_where(first, first.values[best_place])}, "
            f"{100 * first.course[best_place]:.1f}% on average over the other settings, and {highest} "
            f"{_where(first, first.values[worst_place])} with {100 * first.course[worst_place]:.1f}%."
        )


def _where(one: Effect, value: Any) -> str:
    name = one.parameter.name
    return f"where {name} is not used" if value is None else f"at {name} {short(value)}"


def effects_info(
    method: str, metric: str, label: str, found: Sequence[Effect], claimed: Importance
) -> EffectsInfo | None:
    """Choose which settings are shown; None where no trial has a value, or nothing varied."""
    effects = [one for one in found if one.points]
    if not effects:
        return None
    places = {share.parameter: place for place, share in enumerate(claimed.shares)}
    effects.sort(key=lambda one: places.get(one.parameter.name, len(places)))
    return EffectsInfo(
        method, metric, label, tuple(effects[:MOST]), tuple(one.parameter.name for one in effects[MOST:]), claimed
    )


def effects_figure(info: EffectsInfo, mark: Mark) -> go.Figure:
    """Draw it, one panel below the other, all on one scale of the metric, from 0."""
    count = len(info.effects)
    inner = count * (_PANEL + _BELOW + _ABOVE)
    shared = layout("", "", percent=False)
    traces: list[dict[str, Any]] = []
    highest = max([point.y for one in info.effects for point in one.points])
    top = 100 * 1.06 * max([highest, 0.001, *(value for one in info.effects for value in one.course)])
    made: dict[str, Any] = {"annotations": []}
    shares = {share.parameter: share for share in info.importance.shares}
    for index, one in enumerate(info.effects):
        number = "" if index == 0 else str(index + 1)
        ceiling = 1 - (index * (_PANEL + _BELOW + _ABOVE) + _ABOVE) / inner
        floor = ceiling - _PANEL / inner
        made[f"xaxis{number}"] = shared["xaxis"] | {"anchor": f"y{number}"} | ticked(one.parameter) | {"title": None}
        made[f"yaxis{number}"] = shared["yaxis"] | {
            "anchor": f"x{number}",
            "domain": [max(floor, 0), ceiling],
            "range": [0, top],
            "ticksuffix": "%",
            "nticks": 5,
            "title": None,
        }
        share = shares.get(one.parameter.name)
        matters = f": {100 * share.total:.0f}% of the differences" if share else ""
        made["annotations"].append(
            {
                "text": f"<b>{plain(one.parameter.name)}</b>{matters}",
                "x": 0,
                "y": ceiling,
                "xref": "paper",
                "yref": "paper",
                "xanchor": "left",
                "yanchor": "bottom",
                "showarrow": False,
            }
        )
        axes = {"type": "scatter", "showlegend": False, "xaxis": f"x{number}", "yaxis": f"y{number}"}
        traces += [axes | trace for trace in (_points(one, mark), *_course(one, mark))]
    return go.Figure({"data": traces, "layout": shared | made | {"height": inner + 20, "showlegend": False}})


def _at(one: Effect, value: Any) -> float:
    place = one.parameter.place(value)
    return NOT_USED if place is None else place


def _points(one: Effect, mark: Mark) -> dict[str, Any]:
    """A dot for each trial; those on one level stand beside one another."""
    at = [_at(one, point.value) for point in one.points]
    if one.parameter.scale == "levels":
        width = 0.22 / max(len(one.parameter.levels) - 1, 1)
        sides = {place: iter(beside(at.count(place), width)) for place in sorted(set(at))}
        at = [place + next(sides[place]) for place in at]
    return {
        "x": [round(place, 4) for place in at],
        "y": [round(100 * point.y, 3) for point in one.points],
        "mode": "markers",
        "marker": {"color": mark.color, "symbol": mark.symbol, "size": 6, "opacity": 0.45},
        "meta": "trials",
        "customdata": [point.trial for point in one.points],
    }


def _course(one: Effect, mark: Mark) -> list[dict[str, Any]]:
    if not one.course:
        return []
    texts = [
        f"{plain(one.parameter.name)} {'not used' if value is None else plain(short(value))}<br>on average "
        f"{100 * course:.1f}% ({100 * low:.1f} to {100 * high:.1f})"
        for value, course, low, high in zip(one.values, one.course, one.low, one.high, strict=True)
    ]
    used = slice(0, len(one.values) - (one.values[-1] is None))
    traces: list[dict[str, Any]] = []
    if one.parameter.scale == "levels":
        traces.append(_mean(one, used, texts, mark) | {"error_y": _spread(one, used)})
    else:
        x = [_at(one, value) for value in one.values[used]]
        low, high = ([round(100 * max(value, 0), 3) for value in side[used]] for side in (one.low, one.high))
        traces.append(
            {
                "x": [*x, *reversed(x)],
                "y": [*high, *reversed(low)],
                "fill": "toself",
                "fillcolor": "rgba(128,128,128,0.28)",
                "line": {"width": 0},
                "mode": "lines",
                "hoverinfo": "skip",
            }
        )
        traces.append(_mean(one, used, texts, mark))
    if one.values[-1] is None:
        left = slice(used.stop, len(one.values))
        traces.append(_mean(one, left, texts, mark) | {"mode": "markers", "error_y": _spread(one, left)})
    return traces


def _spread(one: Effect, part: slice) -> dict[str, Any]:
    low, mean, high = (side[part] for side in (one.low, one.course, one.high))
    return {
        "type": "data",
        "symmetric": False,
        "array": [round(100 * (top - middle), 3) for top, middle in zip(high, mean, strict=True)],
        "arrayminus": [round(100 * (middle - max(end, 0)), 3) for middle, end in zip(mean, low, strict=True)],
        "thickness": 2,
        "width": 6,
        "color": "#808080",
    }


def _mean(one: Effect, part: slice, texts: list[str], mark: Mark) -> dict[str, Any]:
    lined = one.parameter.ordered
    return {
        "x": [_at(one, value) for value in one.values[part]],
        "y": [round(100 * value, 3) for value in one.course[part]],
        "mode": "lines+markers" if one.parameter.scale == "levels" and lined else "lines" if lined else "markers",
        "line": {"color": mark.color, "width": 3},
        "marker": {"color": mark.color, "symbol": "diamond", "size": 11, "line": {"color": "#ffffff", "width": 1}},
        "hoverinfo": "text",
        "hovertext": texts[part],
    }
