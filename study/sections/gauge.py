"""Where the recommended model stands between the base and Retrain, at a glance: a drawing that needs no script."""

from __future__ import annotations

from dataclasses import dataclass

from neglora.intervals import wilson
from neglora.objectives import GAP_METRICS
from neglora.record import Record
from study.aggregate import shown
from study.plots.panels import NAMES
from study.plots.style import BASE_MARK, RETRAIN_MARK, method_mark
from study.sections.html import Html, tag
from study.sections.source import Group
from study.sections.values import images

#: In units of the drawing: a row's height, where the scale begins, how long it is, and room for the number behind it.
_ROW, _LEFT, _LENGTH, _RIGHT = 40, 110, 300, 80


@dataclass(frozen=True)
class Gauge:
    """One metric, fractions as they are shown; None where not measured.

    Attributes:
        metric: its name.
        base: of the model before unlearning, dense.
        retrain: of the goal.
        own: of the recommended model.
        interval: Wilson's 95% interval of `own`.
    """

    metric: str
    base: float | None
    retrain: float | None
    own: float | None
    interval: tuple[float, float] | None


def gauges(record: Record, group: Group) -> list[Gauge]:
    """UA, RA, TA and MIA-Efficacy."""
    base = next((base for base in group.bases if base.sparsity == 0), None)
    found = []
    for name in GAP_METRICS:
        own, n = shown(record.metrics, record.report, name), images(record, name)
        found.append(
            Gauge(
                name,
                None if base is None else shown(base.metrics, base.report, name),
                None if group.retrain is None else shown(group.retrain.metrics, group.retrain.report, name),
                own,
                None if own is None or n is None else wilson(own, n),
            )
        )
    return found


def gauges_html(record: Record, group: Group) -> Html:
    """The drawing, with its legend; what it says is its alternative text."""
    found = gauges(record, group)
    mark = method_mark(str(record.cell["method"]), [str(record.cell["method"])])
    rows = [_row(one, _ROW * place, mark.color) for place, one in enumerate(found)]
    bottom = _ROW * len(found)
    ticks = [
        tag("text", f"{share:.0%}", x=_at(share), y=bottom + 16, text_anchor="middle", class_="tick")
        for share in (0, 0.5, 1)
    ]
    keys = [
        tag("span", _key(_star(0, 0)), "Retrain, the goal", style=f"--mark: {RETRAIN_MARK.color}"),
        tag("span", _key(_cross(0, 0)), "Base, before", style=f"--mark: {BASE_MARK.color}"),
        tag("span", _key(_dot(0, 0)), "Recommended, with its 95% interval", style=f"--mark: {mark.color}"),
    ]
    width = _LEFT + _LENGTH + _RIGHT
    drawing = tag(
        "svg", rows, ticks, viewBox=f"0 0 {width} {bottom + 22}", role="img", aria_label=" ".join(map(_words, found))
    )
    return tag("div", drawing, tag("p", keys, class_="keys"), class_="gauge")


def _words(one: Gauge) -> str:
    values = [("recommended", one.own), ("Retrain", one.retrain), ("base", one.base)]
    said = ", ".join(f"{name} {value:.1%}" for name, value in values if value is not None)
    return f"{NAMES[one.metric]}: {said or 'not measured'}."


def _row(one: Gauge, top: float, color: str) -> list[Html]:
    y = top + _ROW / 2
    drawn = [
        tag("text", NAMES[one.metric], x=_LEFT - 14, y=y + 5, text_anchor="end"),
        tag("line", x1=_at(0), x2=_at(1), y1=y, y2=y, class_="scale"),
    ]
    if one.base is not None:
        drawn.append(tag("g", _cross(_at(one.base), y), style=f"--mark: {BASE_MARK.color}"))
    if one.interval is not None:
        low, high = one.interval
        drawn.append(tag("line", x1=_at(low), x2=_at(high), y1=y, y2=y, class_="interval", style=f"--mark: {color}"))
    if one.retrain is not None:
        drawn.append(tag("g", _star(_at(one.retrain), y), style=f"--mark: {RETRAIN_MARK.color}"))
    if one.own is not None:
        drawn.append(tag("g", _dot(_at(one.own), y), style=f"--mark: {color}"))
        drawn.append(tag("text", f"{one.own:.1%}", x=_at(1) + 16, y=y + 5, class_="value"))
    return drawn


def _at(share: float) -> float:
    return round(_LEFT + _LENGTH * share, 2)


def _key(shape: Html) -> Html:
    return tag("svg", shape, viewBox="-10 -10 20 20", aria_hidden="true")


def _dot(x: float, y: float) -> Html:
    return tag("circle", cx=x, cy=y, r=6, class_="dot")


def _cross(x: float, y: float) -> Html:
    return tag("path", d=f"M{x - 6:g} {y:g}h12M{x:g} {y - 6:g}v12", class_="cross")


def _star(x: float, y: float) -> Html:
    """Larger than a dot, so that it shows behind one."""
    return tag("path", d=f"M{x:g} {y - 11:g}l3 8h8l-6 5l2 8l-7-5l-7 5l2-8l-6-5h8z", class_="star")
