"""How well what is recommended carries over to forget sets and seeds that the search never saw."""

from __future__ import annotations

from collections.abc import Sequence

from neglora.objectives import GAP_METRICS, METRICS
from study.carried import COMPARED, RULE, Carried, Pair, carried, ends, in_words, mean, retrain_pairs
from study.plots.carried import carried_figure, carried_info
from study.plots.panels import NAMES
from study.sections.figure import figure_html
from study.sections.html import Html, head_row, join, row, table, tag
from study.sections.source import Group, Source
from study.sections.values import bullets, missing, percent

_WHY = "not measured on every pair"


def carryover_html(group: Group, source: Source) -> Html | None:
    """Whether each configuration holds up, the pairs as a figure, `carried-SLUG`, and as a table; None where nothing
    was tried on unseen pairs."""
    found = carried(source.lines, group.dataset, group.model)
    if not found:
        return None
    oracle = retrain_pairs(source.lines, group.dataset, group.model)
    caption = (
        f"A dot for each pair of forget set and seed, on the {source.reported_on}: left those that the search saw, "
        "right those that it never saw. Lines join the means. Scales begin where the values do, not at 0."
    )
    title = "On pairs that the search saw, and on unseen ones"
    standing = sum(one.holds_up is True for one in found)
    figure = figure_html(
        f"carried-{group.slug}",
        title,
        caption,
        carried_figure(carried_info(found, oracle)),
        finding=f"{standing} of {len(found)} configurations hold up on pairs that the search never saw.",
    )
    return join(
        tag("h4", "How well it carries over"),
        bullets(tag("span", tag("strong", one.name), f" ({one.trial}). {in_words(one)}") for one in found),
        tag("p", RULE + _noise(found), class_="note"),
        tag("div", figure, class_="figures") if any(one.unseen for one in found) else None,
        table(
            head_row("", "Pairs of the search", "Unseen pairs", "Difference"),
            [*(line for one in found for line in _lines(one)), *_reference(oracle)],
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


def _lines(one: Carried) -> list[Html]:
    asked = len(one.confirmation.replicates)
    return [
        _head(one.name, len(one.searched), asked),
        *(_line(one.searched, one.unseen, name, asked) for name in COMPARED),
    ]


def _reference(oracle: tuple[tuple[Pair, ...], tuple[Pair, ...]]) -> list[Html]:
    """Retrain on the same pairs, where it was measured on unseen ones."""
    seen, unseen = oracle
    if not unseen:
        return []
    return [_head("Retrain", len(seen), len(unseen)), *(_line(seen, unseen, name, len(unseen)) for name in GAP_METRICS)]


def _head(name: str, searched: int, unseen: int) -> Html:
    counts = tag("span", f"{searched} of the search, {unseen} unseen", class_="interval")
    return tag("tr", tag("th", name, counts, colspan=4, scope="rowgroup"), class_="part")


def _line(searched: Sequence[Pair], unseen: Sequence[Pair], name: str, asked: int) -> Html:
    """One metric; of `asked` unseen pairs some may have no values."""
    lost = asked - len(unseen)
    known, new = mean(searched, name), None if lost else mean(unseen, name)
    difference = (
        missing(_WHY) if known is None or new is None else join(f"{100 * (new - known):+.2f}".replace("-", "−"))
    )
    return row(
        NAMES.get(name, METRICS[name].label),
        tag("td", percent(known, _WHY), _range(searched, name)),
        tag("td", percent(new, _WHY), _range(unseen, name, of=bool(lost))),
        tag("td", difference),
    )


def _range(side: Sequence[Pair], name: str, of: bool = False) -> Html | None:
    """From the least to the greatest value, where there are several; with `of`, on how many pairs."""
    found = ends(side, name)
    if found is None or (len(side) < 2 and not of):
        return None
    text = f"{100 * found[0]:.2f}–{100 * found[1]:.2f}" + (f" on {len(side)}" if of else "")
    return tag("span", text, class_="interval")


def _legend(found: Sequence[Carried], oracle: tuple[tuple[Pair, ...], tuple[Pair, ...]]) -> Html:
    """Which pairs they are, and how the table is to be read."""
    of = [("The search saw", [pair.title for one in found for pair in one.searched])]
    of.append(("It never saw", [pair.title for one in found for pair in one.unseen]))
    kinds = [f"{words} {', '.join(dict.fromkeys(titles))}." for words, titles in of if titles]
    absent = "" if oracle[1] else " Retrain's own values on unseen pairs are not in the ledger."
    return tag(
        "p",
        f"Means with the range over pairs below; the difference in points. {' '.join(kinds)}{absent}",
        class_="note",
    )
