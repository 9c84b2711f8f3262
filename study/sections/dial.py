"""The dials of a group's trials: a slider from the base to the full ascent, with the numbers on the way."""

from __future__ import annotations

from neglora.objectives import GAP_METRICS
from study.plots.dial import DialInfo, dial_figure, dial_info, finding
from study.plots.panels import NAMES
from study.sections.figure import figure_html
from study.sections.html import Html, data, head_row, join, row, table, tag
from study.sections.source import Group, Source
from study.sections.values import DASH, percent

_SHOWN = (*GAP_METRICS, "gap")
_NAMES = NAMES | {"gap": "gap"}


def dials_of(group: Group, source: Source) -> list[DialInfo]:
    """The dials of the group's trials, in the order of their files."""
    trials = set(group.table["trial"])
    return [
        dial_info(dial, f"dial-{group.slug}-{place}")
        for place, dial in enumerate(one for one in source.dials if one.trial in trials)
    ]


def dial_html(group: Group, source: Source) -> Html | None:
    """Every dial with its slider, figure and table; None where no trial was dialed."""
    found = dials_of(group, source)
    if not found:
        return None
    return join(
        tag("h4", "The forgetting dial"),
        tag(
            "p",
            "An ascent adds an update to the base's weights. A dial keeps a share of it: 0 is the base, 1 the full "
            "ascent. The dotted line in the figures above is the same walk; the cross moves with the slider. What the "
            "dial does to the output says nothing about what is left in the features: see the audits.",
            class_="note",
        ),
        [_dial(info, source) for info in found],
    )


def _dial(info: DialInfo, source: Source) -> Html:
    last = len(info.scales) - 1
    slider = tag(
        "p",
        tag("label", f"Share of the update of {info.trial} ", for_=f"{info.identifier}-slider"),
        tag(
            "input",
            id=f"{info.identifier}-slider",
            type="range",
            min=0,
            max=last,
            step=1,
            value=info.recorded,
            data_dial=info.identifier,
        ),
        tag("output", id=f"{info.identifier}-output", for_=f"{info.identifier}-slider"),
        class_="slider",
        hidden=True,
    )
    figure = figure_html(
        f"{info.identifier}-figure",
        f"Along the update of {info.trial}",
        f"Forgetting {info.pair}, on the {source.reported_on}. To the right is more of the ascent; dashed is Retrain.",
        dial_figure(info),
        finding=finding(info),
    )
    rows = {
        "scales": [f"{scale:.3g}" for scale in info.scales],
        "names": [_NAMES[name] for name in _SHOWN],
        "rows": [[_text(info.values[name][index]) for name in _SHOWN] for index in range(last + 1)],
    }
    return tag(
        "div",
        slider,
        data(f"{info.identifier}-rows", rows),
        tag("div", figure, class_="figures"),
        _table(info),
        class_="dial",
    )


def _table(info: DialInfo) -> Html:
    """The places that have a name: without a script this is what there is to read."""
    places: dict[int, list[str]] = {0: ["base"]}
    places.setdefault(info.recorded, []).append("as recorded")
    if info.nearest is not None:
        places.setdefault(info.nearest, []).append("nearest to Retrain")
    places.setdefault(len(info.scales) - 1, []).append("full ascent")
    rows = [
        row(
            f"{info.scales[index]:.3g}",
            tag("td", ", ".join(names), class_="prose"),
            [tag("td", percent(info.values[name][index])) for name in _SHOWN],
        )
        for index, names in sorted(places.items())
    ]
    head = head_row("Share", tag("th", "Which", scope="col", class_="prose"), *(_NAMES[name] for name in _SHOWN))
    return table(head, rows, caption=f"The dial of {info.trial}, forgetting {info.pair}", class_="numbers")


def _text(value: float | None) -> str:
    return DASH if value is None else f"{100 * value:.2f}%"
