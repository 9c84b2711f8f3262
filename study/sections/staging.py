"""How the trials were measured: on subsets while searching, then in full; and the attack of each."""

from __future__ import annotations

from dataclasses import dataclass

from study.sections.html import Html, tag
from study.sections.source import Source
from study.sections.values import bullets
from study.stages import by_fidelity, hopeless, share_confirmed


@dataclass(frozen=True)
class Staging:
    """Trials, each counted once in each.

    Attributes:
        searched: measured on subsets.
        confirmed: measured in full.
        share: of those on subsets, the share that was measured in full as well; None where none was on subsets.
        hopeless: at chance on a first look, and not measured further.
        unseen: tried again on pairs that the search never saw.
    """

    searched: int
    confirmed: int
    share: float | None
    hopeless: int
    unseen: int


def staging(source: Source) -> Staging:
    table = source.searched
    counts = by_fidelity(table)
    return Staging(
        counts["search"],
        counts["full"],
        share_confirmed(table),
        hopeless(table)["trial"].nunique(),
        counts["confirm"],
    )


def measured_in_words(facts: Staging) -> str:
    """ "48 searched on subsets, 9 measured in full (19%)"; "all in full" where nothing else was asked for."""
    if facts.share is None:
        return "all in full"
    looked = f", {facts.hopeless} of them at a first look only" if facts.hopeless else ""
    return f"{facts.searched} searched on subsets{looked}, {facts.confirmed} measured in full ({facts.share:.0%})"


def staging_html(source: Source) -> Html | None:
    """What subsets, intervals and the search's attack mean; None where every trial was measured the same way."""
    facts = staging(source)
    found = [*_subsets(source, facts), *_probe(source, facts), *_attack(source)]
    return (
        tag("details", tag("summary", "How the trials were measured"), bullets(found), class_="note") if found else None
    )


def _subsets(source: Source, facts: Staging) -> list[str]:
    asked = source.space.get("evaluation") or {}
    retain, test = asked.get("retain_samples"), asked.get("test_samples")
    if facts.share is None or (retain is None and test is None):
        return []
    parts = [f"{count:,} {name}" for count, name in ((retain, "retained"), (test, "test")) if count is not None]
    return [
        f"While searching, a trial was measured on {' and '.join(parts)} images, a stratified sample that is the same "
        "for all trials, and on all forgotten ones. UA is exact, then; for RA, TA and MIA an interval says where, at "
        "95 percent, the value on all images of the selection half lies.",
        "What may, within these intervals, be on a front of UA and RA, TA or MIA, or be recommended, was then measured "
        f"in full, on all images of both halves: {facts.share:.0%} of the trials on subsets. Fronts and "
        "recommendations are of these alone. The others are beaten within their intervals, of which one in twenty "
        "misses the truth.",
    ]


def _probe(source: Source, facts: Staging) -> list[str]:
    if not facts.hopeless:
        return []
    probe = (source.space.get("evaluation") or {}).get("probe_samples")
    looked = "retained images" if probe is None else f"{probe:,} retained images"
    return [
        f"{facts.hopeless} trials were right about as often as chance on a first look at {looked}: the ascent had "
        "ruined the model. They were not measured further. They count as ok, the search was told what the look gave, "
        "and they enter no front."
    ]


def _attack(source: Source) -> list[str]:
    """Where the two halves are one, both attacks are one."""
    held_out = (source.space.get("selection") or {}).get("holdout", 0) != 0
    if not (held_out or source.staged) or not source.times_the_attack:
        return []
    return [
        "The search was told the MIA of a fit of the attack that is faster and close to the exact one. The MIA that is "
        "shown here is the exact one's."
    ]
