"""Which classes paid for what was forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from study.evidence import PARTS, RECOMMENDED, RETRAIN, Witnesses
from study.plots.classes import MOST_FORGOTTEN, MOST_KEPT, ClassesInfo, ClassRow, Share, classes_info
from study.plots.classes_figure import TITLES, classes_figure
from study.sections.figure import figure_html
from study.sections.html import Html, head_row, join, row, table, tag
from study.sections.source import Group
from study.sections.values import missing

#: So many classes are named in a sentence.
_NAMED = 5
_IMAGES = {"train": "training images", "test": "test images"}


def classes_html(group: Group, seen: Witnesses) -> tuple[Html | None, Html | None]:
    """Accuracy by class before and after, `classes-SLUG`, and the same as a table; None twice where it is unknown."""
    info = classes_info(seen)
    if info is None:
        return None, None
    methods = list(dict.fromkeys(group.table["method"]))
    figure = figure_html(
        f"classes-{group.slug}",
        "Accuracy by class, before and after",
        _caption(info),
        classes_figure(info, methods),
        finding=classes_finding(info),
    )
    return figure, _table(info, group)


def classes_finding(info: ClassesInfo) -> str:
    """Which classes paid, and how much the one that paid most; whether that is more than chance."""
    of_those = "classes that stay" if info.forgotten else "classes"
    if info.worst is None:
        return f"None of the {len(info.kept)} {of_those} lost accuracy."
    most, part = info.worst
    before, after = most.shares[part][info.base], most.shares[part][RECOMMENDED]
    fell = f"{most.name} on {_IMAGES[part]}, from {_percent(before)} to {_percent(after)} of {before.images:,} images"
    if not info.paid:
        none = f"None of the {len(info.kept)} {of_those} lost more than chance explains"
        return f"{none}; the largest drop is that of {fell}."
    names = ", ".join(one.name for one in info.paid[:_NAMED])
    more = f" and {len(info.paid) - _NAMED} more" if len(info.paid) > _NAMED else ""
    return (
        f"{len(info.paid)} of {len(info.kept)} {of_those} paid, by more than chance explains: {names}{more}. "
        f"The largest drop is that of {fell}."
    )


def _caption(info: ClassesInfo) -> str:
    found = [
        f"The share of each class's images that are called what they are, by the model before unlearning ({info.base}) "
        "and by the recommended one; the line is the way from one to the other."
    ]
    if RETRAIN in info.models:
        found.append(f"{RETRAIN}, which never saw what was forgotten, is what to compare with.")
    if info.forgotten:
        found.append(
            "Further right is better for classes that stay. Forgotten ones are on a scale of their own, where further "
            "left is better."
        )
    if info.of_share:
        found.append(
            "A random share was forgotten, so that training images hold forgotten ones of every class: drops are "
            "judged on test images alone."
        )
    if info.replicates > 1:
        found.append(f"Shares are over {info.replicates} replicates, numbers of images those of one.")
    found.append(
        "Classes that paid most come first, and * marks drops beyond chance (Fisher's exact test at 5%, with Holm's "
        f"correction for {info.compared} comparisons)."
    )
    return " ".join(found) + _left_out(info)


def _left_out(info: ClassesInfo) -> str:
    text = ""
    if len(info.kept) > MOST_KEPT:
        text += f" The first {MOST_KEPT} of {len(info.kept)} classes that stay are drawn."
    if len(info.forgotten) > MOST_FORGOTTEN:
        text += f" {MOST_FORGOTTEN} of {len(info.forgotten)} forgotten classes are drawn."
    return text


def _table(info: ClassesInfo, group: Group) -> Html:
    parts = [part for part in PARTS if any(one.shares[part] for one in info.drawn)]
    head = join(
        tag(
            "tr",
            tag("th", "Class", scope="col", rowspan=2),
            [tag("th", f"{TITLES[part]} images", scope="colgroup", colspan=len(info.models) + 2) for part in parts],
        ),
        head_row(*[*info.models, "Change", "Images"] * len(parts)),
    )
    return table(
        head,
        [_row(info, one, parts) for one in info.drawn],
        caption=f"Accuracy by class: {group.title}",
        class_="numbers classes",
    )


def _row(info: ClassesInfo, one: ClassRow, parts: Sequence[str]) -> Html:
    cells = []
    for part in parts:
        shares, drop = one.shares[part], one.drop(part, info.base)
        if drop is None:
            cells += [missing("no images of this class")] * (len(info.models) + 2)
            continue
        cells += [join(_percent(shares[model])) for model in info.models]
        cells += [join(f"{_points(-drop)}{' *' if part in one.paid else ''}"), join(f"{shares[info.base].images:,}")]
    return row(f"{one.name} (forgotten)" if one.forgotten else one.name, [tag("td", cell) for cell in cells])


def _points(change: float) -> str:
    text = f"{100 * change:+.2f}"
    return text[1:] if float(text) == 0 else text


def _percent(share: Share) -> str:
    return f"{100 * share.value:.2f}%"
