"""How values are written for people: percent with two decimals, intervals, seconds, sizes, configurations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from neglora.intervals import wilson
from neglora.record import Record
from study.aggregate import shown, spread
from study.plots.style import setting
from study.sections.html import Html, join, tag
from study.shown import images

DASH = "—"


def missing(why: str) -> Html:
    """An em dash that says why there is no value."""
    return tag("span", DASH, title=why, class_="missing")


def percent(value: float | None, why: str = "not measured") -> Html:
    """A fraction as percent with two decimals."""
    return missing(why) if value is None else join(f"{100 * value:.2f}%")


def seconds(value: float | None, why: str = "not measured") -> Html:
    """A duration: "0.42 s", "3 min 05 s", "2 h 10 min"."""
    if value is None:
        return missing(why)
    if value < 10:
        return join(f"{value:.2f} s")
    if value < 120:
        return join(f"{value:.0f} s")
    minutes, rest = divmod(round(value), 60)
    if minutes < 120:
        return join(f"{minutes} min {rest:02d} s")
    hours, minutes = divmod(minutes, 60)
    return join(f"{hours} h {minutes:02d} min")


def ratio(value: float | None, why: str, unit: str = "") -> Html:
    """A ratio with three significant digits."""
    return missing(why) if value is None else join(f"{value:.3g}{unit}" if value < 1000 else f"{value:,.0f}{unit}")


def megabytes(value: float | None) -> Html:
    return missing("not measured on this device") if value is None else join(f"{value / 2**20:,.0f} MiB")


def count(value: float | None) -> Html:
    return missing("not recorded") if value is None else join(f"{value:,.0f}")


def configuration(params: Mapping[str, Any]) -> Html:
    """`name value` pairs that break between pairs only."""
    return tag("span", [tag("code", f"{name}={setting(value)}", class_="pair") for name, value in params.items()])


def measured(record: Record, name: str) -> Html:
    """The shown value of a trial in percent, with its 95% interval and, over several replicates, its spread."""
    value = shown(record.metrics, record.report, name)
    if value is None:
        return missing("not measured")
    n = images(record, name)
    notes: list[Html] = []
    if n is not None:
        low, high = wilson(value, n)
        notes.append(tag("span", f"{100 * low:.2f}–{100 * high:.2f}, n\u00a0{n:,}", class_="interval"))
    deviation = spread(record, name)
    if deviation is not None:
        notes.append(tag("span", f"± {100 * deviation:.2f}, {len(record.replicates)} replicates", class_="interval"))
    return join(percent(value), notes)


def measured_briefly(record: Record, name: str) -> Html:
    """As `measured`, for tables too wide to say on how many images and replicates: that is in the title."""
    value = shown(record.metrics, record.report, name)
    if value is None:
        return missing("not measured")
    n, deviation = images(record, name), spread(record, name)
    notes, title = [], record.trial
    if n is not None:
        low, high = wilson(value, n)
        notes.append(tag("span", f"{100 * low:.2f}–{100 * high:.2f}", class_="interval"))
        title += f", n {n:,}"
    if deviation is not None:
        notes.append(tag("span", f"± {100 * deviation:.2f}", class_="interval"))
        title += f", {len(record.replicates)} replicates"
    return tag("span", percent(value), notes, title=title)


def command_block(identifier: str, command: str, what: str = "the command", class_: str = "") -> Html:
    """A command, or another text, with a button that copies it; the button appears when scripts run."""
    return tag(
        "div",
        tag("pre", tag("code", command, id=identifier), tabindex=0),
        tag("button", "Copy", type="button", data_copy=identifier, hidden=True, aria_label=f"Copy {what}"),
        class_=f"command {class_}".strip(),
    )


def bullets(items: Iterable[object], class_: str | None = None) -> Html:
    return tag("ul", [tag("li", item) for item in items], class_=class_)
