"""What the forgotten images are called now."""

from __future__ import annotations

from study.evidence import RECOMMENDED, RETRAIN, Witnesses
from study.plots.called import MOST_SETS, CalledInfo, CalledSet, called_figure, called_info, drawn, most_called
from study.sections.figure import figure_html
from study.sections.html import Html, head_row, row, table, tag
from study.sections.source import Group


def called_html(group: Group, seen: Witnesses) -> tuple[Html | None, Html | None]:
    """What forgotten images are called, `called-SLUG`, and the same as a table; None twice where only random shares
    were forgotten, or it is not known which classes."""
    info = called_info(seen)
    if not info.sets:
        return None, None
    figure = figure_html(
        f"called-{group.slug}",
        "What the forgotten images are called now",
        _caption(info),
        called_figure(info, list(dict.fromkeys(group.table["method"]))),
        finding=called_finding(info),
    )
    return figure, _table(info, group)


def called_finding(info: CalledInfo) -> str:
    """What the recommended model calls the forgotten images most, and what Retrain does; for each forget set drawn."""
    return " ".join(_told(one, info) for one in info.sets[:MOST_SETS])


def _told(one: CalledSet, info: CalledInfo) -> str:
    most = most_called(one, RECOMMENDED)
    oracle = most_called(one, RETRAIN) if RETRAIN in info.models else None
    right = one.right[RECOMMENDED]
    still = "None" if right == 0 else "All" if right == 1 else _percent(right)
    text = f"{still} of the images of {one.title} are still called what they are"
    if most is not None:
        text += f", {_percent(most.shares[RECOMMENDED])} are called {most.name}"
    if oracle is not None:
        same = most is not None and oracle.name == most.name
        share = _percent(oracle.shares[RETRAIN])
        text += f", as Retrain calls {share}" if same else f"; Retrain most often calls them {oracle.name} ({share})"
    return f"{text}."


def _caption(info: CalledInfo) -> str:
    found = ["Of the training images that were forgotten, which share each model calls what."]
    if RETRAIN in info.models:
        found.append(
            "Retrain never saw them and calls them what they look most like. A model that calls them all one unlikely "
            "thing has learned a wrong answer rather than forgotten the right one, and stands out."
        )
    if len(info.sets) > 1:
        found.append("Left of the arrow is what an image is, right of it what it is called.")
    if info.replicates > len(info.sets):
        found.append(f"Summed over {info.replicates} replicates.")
    if len(info.sets) > MOST_SETS:
        found.append(f"The first {MOST_SETS} of {len(info.sets)} forget sets are drawn.")
    if info.shares:
        found.append(f"Left out: {' and '.join(info.shares)}, with images of every class.")
    return " ".join(found)


def _table(info: CalledInfo, group: Group) -> Html:
    rows = [
        row(
            tag("th", f"{one.title} → {answer.name}", scope="row"),
            [tag("td", _percent(answer.shares[model])) for model in info.models],
        )
        for one, answers in drawn(info)
        for answer in answers
    ]
    return table(
        head_row("What they are → called", *info.models),
        rows,
        caption=f"What forgotten images are called: {group.title}",
        class_="numbers called",
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
