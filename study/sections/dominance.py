"""Whose front lies before whose, and how surely."""

from __future__ import annotations

from study.dominance import Duel, draw_seed, duels, fronts
from study.plots.progress import is_share, volume_text
from study.sections.html import Html, head_row, join, row, table, tag
from study.sections.source import Group, Source


def dominance_html(group: Group, source: Source) -> Html | None:
    """A table with one line for each pair of methods; None where fewer than two have a front."""
    objectives = list(source.space.get("objectives", []))
    found = fronts(group.table, source.by_trial, objectives)
    if len(found) < 2:
        return None
    root = int((source.space.get("search") or {}).get("seed", 0))
    pairs = duels(found, objectives, draw_seed(root, group.dataset, group.model))
    share = is_share(objectives)
    sizes = {front.method: len(front.trials) for front in found}
    body = [
        row(
            f"{duel.first} against {duel.second}",
            f"{volume_text(duel.volumes[0], share)} to {volume_text(duel.volumes[1], share)}",
            _of(duel.covers, sizes[duel.second]),
            _of(duel.covered, sizes[duel.first]),
            [] if duel.probability is None else [tag("td", _probability(duel))],
        )
        for duel in pairs
    ]
    head = head_row(
        "Methods",
        "Share covered",
        "The first matches of the second's",
        "The second matches of the first's",
        *([] if pairs[0].probability is None else ["Probability that the first covers more"]),
    )
    return join(
        tag("p", tag("strong", dominance_finding(pairs)), class_="finding"),
        table(head, body, caption=f"Front against front: {group.title}", class_="numbers duels"),
        tag("p", _note(pairs[0], source), class_="note"),
    )


def dominance_finding(pairs: list[Duel]) -> str:
    """What the closest contest of the leading method says."""
    leader = pairs[0].first
    hardest = pairs[0]
    text = (
        f"{leader}'s front matches or beats {100 * hardest.covers:.0f}% of the settings on {hardest.second}'s, which "
        f"does so for {100 * hardest.covered:.0f}% of {leader}'s"
    )
    if hardest.probability is None:
        return f"{text}; of one replicate no probability can be claimed."
    return f"{text}; {leader}'s covers more with a probability of {_chance(hardest)} when replicates are drawn again."


def _of(share: float, count: int) -> str:
    return f"{round(share * count)} of {count}"


def _probability(duel: Duel) -> Html:
    return join(_chance(duel), tag("span", f"ahead on {duel.ahead:g} of {duel.replicates}", class_="interval"))


def _chance(duel: Duel) -> str:
    """In percent; a bootstrap over so few never proves what it shows as 0 or 1."""
    probability = duel.probability or 0.0
    if probability > 0.995:
        return "over 99%"
    return "under 1%" if probability < 0.005 else f"{100 * probability:.0f}%"


def _note(any_pair: Duel, source: Source) -> str:
    text = (
        "Each method's front was chosen on the selection half and is compared on the "
        f"{source.reported_on}. A setting is matched if some setting of the other method is at least as good in every "
        "objective (Zitzler's coverage). "
    )
    if any_pair.probability is None:
        return text + (
            "Every trial was measured on one replicate (a forgotten class with a seed), so that no probability is "
            "claimed: with several under replicates in the search space there is one."
        )
    return text + (
        f"The probability draws the {any_pair.replicates} replicates (pairs of a forgotten class and a seed) with "
        "replacement and compares what the two fronts cover; ties count half. It says how the fronts found here fare "
        "on replicates like these, not what another search would find; of so few replicates it is rough."
    )
