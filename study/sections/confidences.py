"""How sure the models are of forgotten, retained and test images, and where the attack draws its line."""

from __future__ import annotations

from study.evidence import RETRAIN, SIDES, Witnesses
from study.plots.confidences import NAMES, ConfidencesInfo, Panel, confidences_figure, confidences_info
from study.sections.figure import figure_html
from study.sections.html import Html, head_row, join, row, table, tag
from study.sections.source import Group, Source
from study.sections.values import missing

#: A table tells a histogram by these stretches; they are borders of bins.
_STRETCHES = ((0.0, 0.05), (0.0, 0.5), (0.95, 1.0))


def confidences_html(group: Group, source: Source, seen: Witnesses) -> tuple[Html, Html]:
    """Histograms of confidence, `confidences-SLUG`, and the same as a table."""
    info = confidences_info(seen)
    figure = figure_html(
        f"confidences-{group.slug}",
        "How sure the models are of what an image is",
        _caption(info, source),
        confidences_figure(info),
        finding=confidences_finding(info),
    )
    return figure, _table(info, group)


def confidences_finding(info: ConfidencesInfo) -> str:
    """How many forgotten images the models are unsure of, and where the attack's border lies."""
    own = info.recommended
    others = [f"{panel.name}: {_percent(panel.share('forget', 0, 0.5))}" for panel in info.panels[:-1]]
    beside = f" ({'; '.join(others)})" if others else ""
    return (
        f"The recommended model is less than 50% sure of what {_percent(own.share('forget', 0, 0.5))} of the forgotten "
        f"images are{beside}, and {_percent(own.share('retain', 0, 0.5))} of the retained ones; "
        f"{_attack(own, info.replicates)}."
    )


def _attack(panel: Panel, replicates: int) -> str:
    with_signal, known = panel.has_signal
    if known and not with_signal:
        where = "" if replicates == 1 else " in any replicate"
        return f"its attack has no signal{where}, so that its border means nothing"
    if panel.region is None:
        return "where the attack draws its line is not recorded"
    if not panel.region:
        return (
            "there is no confidence that its attacks all take for 'not in training'"
            if replicates > 1
            else "its attack takes no confidence for 'not in training'"
        )
    stretches = " and ".join(f"{100 * low:.4g} to {100 * high:.4g}%" for low, high in panel.region)
    return f"the attack takes a confidence of {stretches} for 'not in training'"


def _caption(info: ConfidencesInfo, source: Source) -> str:
    found = [
        "Histograms over the softmax probability that a model gives to what an image is. Forgetting moves the "
        "forgotten images to the left and leaves the others where they were.",
        f"Test images are those of the {source.reported_on}, without forgotten classes.",
        "Shaded is where the membership attack says 'not in training'; it is trained for each model to tell retained "
        "from test images by their confidence, and MIA-Efficacy is the share of forgotten images that lie there.",
    ]
    if any(panel.name == RETRAIN for panel in info.panels):
        found.insert(1, "Retrain shows how far to the left they are for a model that never saw them.")
    if info.replicates > 1:
        found.append(
            f"Shares are over {info.replicates} replicates, each with an attack of its own: shaded is where all of "
            "them say so."
        )
    return " ".join(found)


def _table(info: ConfidencesInfo, group: Group) -> Html:
    heads = [tag("th", f"{100 * low:g} to {100 * high:g}%", scope="col") for low, high in _STRETCHES]
    rows = [
        row(
            tag("th", f"{panel.name}: {NAMES[side]}", scope="row"),
            [tag("td", _percent(panel.share(side, *stretch))) for stretch in _STRETCHES],
            tag("td", _region(panel)),
        )
        for panel in info.panels
        for side in SIDES
    ]
    return table(
        head_row("Images", *heads, "Attack says 'not in training'"),
        rows,
        caption=f"Share of images by confidence in what they are: {group.title}",
        class_="numbers confidences",
    )


def _region(panel: Panel) -> Html:
    if panel.region is None:
        return missing("not recorded")
    return join(" and ".join(f"{100 * low:.4g}–{100 * high:.4g}%" for low, high in panel.region) or "nowhere")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
