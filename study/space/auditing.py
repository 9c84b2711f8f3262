"""What a space's audits and its other sections say of each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from neglora.audits import AUDITS, NOT_AUDITED
from study.space.draft import Draft
from study.space.problems import Findings, Place

#: Keys by which a search measures less than there is, which leaves audits out.
STAGES = ("retain_samples", "test_samples", "probe_samples")


def check_audits(draft: Draft, findings: Findings) -> None:
    """Audits are of classes; what is searched on has to be audited, and in every trial of the search."""
    audits = _listed(draft.plain.get("audits"))
    forgets = [*draft.listed("forget", "replicates"), *draft.listed("forget", "confirm")]
    if audits and any(isinstance(forget, Mapping) for forget in forgets):
        findings.add(("audits",), NOT_AUDITED)
    evaluation = draft.section("evaluation")
    stages = [key for key in STAGES if evaluation.get(key) is not None]
    for name, place in _searched_on(draft):
        if name not in audits:
            findings.add(place, f"{name} is measured by an audit that this study does not have: add audits: [{name}]")
        elif stages:
            findings.add(
                place,
                f"audits are left out of trials that are measured on samples (evaluation.{stages[0]}), so that the "
                f"search would not see {name}: leave out {' and '.join(stages)}, or {name}",
            )


def _listed(given: Any) -> list[Any]:
    return [given] if isinstance(given, str) else given if isinstance(given, list) else []


def _searched_on(draft: Draft) -> Iterator[tuple[str, Place]]:
    for place, name in enumerate(draft.listed("objectives")):
        if isinstance(name, str) and name in AUDITS:
            yield name, ("objectives", place)
    for name in draft.section("constraints"):
        if name in AUDITS:
            yield name, ("constraints", name)
