"""How well what is recommended carries over to forget sets and seeds that the search never saw."""

from __future__ import annotations

from collections.abc import Sequence

from neglora.objectives import METRICS
from study.carried import COMPARED, RULE, Carried, Pair, carried, ends, in_words, mean, retrain_pairs
from study.plots.carried import SIDES, carried_figure, carried_info
from study.plots.panels import NAMES
from study.sections.figures import figure_html
from study.sections.html import Html, head_row, join, row, table, tag
from study.sections.source import Group, Source
from study.sections.values import bullets, missing, percent


def carryover_html(group: Group, source: Source) -> Html | None:
    """Whether each configuration holds up, the pairs as a figure, `carried-SLUG`, and as a table; None where nothing
    was tried on unseen pairs."""
    found = carried(source.lines, group.dataset, group.model)
    if not found:
        return None
    oracle = retrain_pairs(source.lines, group.dataset, group.model)
    caption = (
        f"A dot for each pair of forget set and seed, on the {source.reported_on}, left those of the search and right "
        "those that it never saw; lines join the means. Scales begin where the values do, not at 0."
    )
    title = "On the search's pairs and on unseen ones"
    figure = figure_html(f"carried-{group.slug}", title, caption, carried_figure(carried_info(found, oracle)))
    return join(
        tag("h4", "How well it carries over"),
        bullets(tag("span", tag("strong", one.name), f" ({one.trial}). {in_words(one)}") for one in found),
        tag("p", RULE + _noise(found), class_="note"),
        tag("div", figure, class_="figures") if any(one.unseen for one in found) else None,
        table(
            head_row("", *(f"{side[0].upper()}{side[1:]} pairs" for side in SIDES), "Difference"),
            [line for one in found for line in _lines(one, oracle)],
            caption=f"On pairs that the search never saw: {group.title}",
            class_="numbers carried",
        ),
        _legend(found, oracle),
    )


def _noise(found: Sequence[Carried]) -> str:
    flags = [(item.get("report") or {}).get("mia_has_signal") for one in found for item in one.confirmation.replicates]
    without = sum(flag is False for flag in flags)
    words = f" On {without} of {len(flags)} unseen pairs the attack has no signal: MIA, a quarter of the gap, is noise."
    return words if without else ""


def _lines(one: Carried, oracle: tuple[tuple[Pair, ...], tuple[Pair, ...]]) -> list[Html]:
    counts = f"{len(one.searched)} of the search, {len(one.confirmation.replicates)} unseen"
    head = tag("th", one.name, tag("span", f"pairs: {counts}", class_="interval"), colspan=4, scope="rowgroup")
    return [tag("tr", head, class_="part"), *(_line(one, name, oracle) for name in COMPARED)]


def _line(one: Carried, name: str, oracle: tuple[tuple[Pair, ...], tuple[Pair, ...]]) -> Html:
    label = NAMES.get(name, METRICS[name].label)
    sides = [
        tag("td", _side(side, name, reference, lost))
        for side, reference, lost in zip((one.searched, one.unseen), oracle, (0, _lost(one)), strict=True)
    ]
    known, new = mean(one.searched, name), mean(one.unseen, name)
    if known is None or new is None or _lost(one):
        return row(label, sides, tag("td", missing("not measured on every pair")))
    return row(label, sides, tag("td", f"{100 * (new - known):+.2f}"))


def _lost(one: Carried) -> int:
    """Unseen pairs without values."""
    return len(one.confirmation.replicates) - len(one.unseen)


def _side(side: Sequence[Pair], name: str, oracle: Sequence[Pair], lost: int) -> Html:
    """The mean, the range, and Retrain's mean on the same kind of pairs."""
    notes = []
    found = ends(side, name)
    if found is not None and (len(side) > 1 or lost):
        of = f" on {len(side)}" if lost else ""
        notes.append(tag("span", f"{100 * found[0]:.2f}–{100 * found[1]:.2f}{of}", class_="interval"))
    reference = None if name == "gap" else mean(oracle, name)
    if reference is not None:
        notes.append(tag("span", f"Retrain {100 * reference:.2f}", class_="interval"))
    value = None if lost else mean(side, name)
    return join(percent(value, "not measured on every pair"), notes)


def _legend(found: Sequence[Carried], oracle: tuple[tuple[Pair, ...], tuple[Pair, ...]]) -> Html:
    """Which pairs they are, and how the table is to be read."""
    of = [("The search saw", [pair.title for one in found for pair in one.searched])]
    of.append(("It never saw", [pair.title for one in found for pair in one.unseen]))
    kinds = [f"{words} {', '.join(dict.fromkeys(titles))}." for words, titles in of if titles]
    absent = "" if oracle[1] else " Retrain's own values on unseen pairs are not in the ledger."
    return tag(
        "p",
        "Means in percent with the range over pairs below, and Retrain's mean on the same pairs. "
        f"{' '.join(kinds)}{absent}",
        class_="note",
    )
