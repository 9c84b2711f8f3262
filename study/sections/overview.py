"""What was studied, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from neglora.record import Record, forget_title
from study.sections.html import Html, join, tag
from study.sections.source import Source
from study.sections.staging import measured_in_words, staging, staging_html
from study.sections.values import seconds
from study.stages import by_status


@dataclass(frozen=True)
class Overview:
    """Facts about a whole study.

    Attributes:
        trials: searched trials by status; one of several lines counts once.
        unlearn_seconds, evaluate_seconds: sums over all replicates of all lines of searched trials.
        attack_seconds: what of the latter the attack took; None where no trial says so.
        retrain_seconds, base_seconds: sums over the references; None where there are none, and for bases that were all
            read from a file of weights.
        span_seconds: from the first record to the last; None where times are not recorded.
        hardware: what it ran on, as "cpu, 1 thread".
    """

    trials: dict[str, int]
    unlearn_seconds: float
    evaluate_seconds: float
    attack_seconds: float | None
    retrain_seconds: float | None
    base_seconds: float | None
    span_seconds: float | None
    hardware: list[str]


def overview(source: Source) -> Overview:
    records = source.lines
    searched = [record for record in records if record.cell["method"] != "retrain"]
    references = [record for record in records if record.cell["method"] == "retrain"]
    trained = _bases(references)
    return Overview(
        trials=by_status(source.searched),
        unlearn_seconds=_total(searched, "unlearn_seconds"),
        evaluate_seconds=_total(searched, "evaluate_seconds"),
        attack_seconds=_total(searched, "attack_seconds") if source.times_the_attack else None,
        retrain_seconds=_total(references, "unlearn_seconds") if references else None,
        base_seconds=sum(trained) if trained else None,
        span_seconds=_span(records),
        hardware=sorted({hardware for record in records for hardware in _hardware(record)}),
    )


def _bases(references: Iterable[Record]) -> list[float]:
    """Seconds that each base took; several forget sets start from the same one."""
    found: dict[tuple[object, ...], Any] = {}
    for record in references:
        for item in record.replicates:
            for base in item.get("bases") or []:
                place = (record.cell["dataset"], record.cell["model"], item.get("seed"), base.get("sparsity"))
                found[place] = (base.get("cost") or {}).get("train_seconds")
    return [float(seconds) for seconds in found.values() if seconds is not None]


def _costs(record: Record) -> Iterable[dict[str, Any]]:
    return [item.get("cost") or {} for item in record.replicates] or [record.cost]


def _total(records: Iterable[Record], name: str) -> float:
    return sum(cost.get(name) or 0.0 for record in records for cost in _costs(record))


def _hardware(record: Record) -> Iterable[str]:
    for cost in _costs(record):
        if cost.get("device"):
            threads = cost.get("threads")
            yield f"{cost['device']}" + (f", {threads} thread{'s' if threads != 1 else ''}" if threads else "")


def _span(records: Iterable[Record]) -> float | None:
    times = []
    for record in records:
        try:
            times.append(datetime.fromisoformat(str(record.provenance.get("time"))).timestamp())
        except ValueError:
            return None
    return max(times) - min(times) if len(times) > 1 else None


def _evaluating(facts: Overview) -> list[tuple[str, Html]]:
    if facts.attack_seconds is None:
        return [("Time spent evaluating", seconds(facts.evaluate_seconds))]
    return [
        ("Time spent evaluating, the attack apart", seconds(facts.evaluate_seconds - facts.attack_seconds)),
        ("Time spent on the attack", seconds(facts.attack_seconds)),
    ]


def _unseen(space: Mapping[str, Any]) -> list[tuple[str, str]]:
    confirm = space.get("confirm") or {}
    forgets = "; ".join(map(forget_title, confirm.get("forget", [])))
    seeds = ", ".join(map(str, confirm.get("seeds", [])))
    return [("Tried again on", f"{forgets} with seeds {seeds}")] if confirm else []


def overview_html(source: Source) -> Html:
    facts = overview(source)
    space = source.space
    replicates = space.get("replicates") or {}
    total = sum(facts.trials.values())
    counts = ", ".join(f"{number} {status}" for status, number in facts.trials.items() if number)
    search = space.get("search") or {}
    retrain, bases = seconds(facts.retrain_seconds), seconds(facts.base_seconds, "not trained here")
    rows = [
        ("Datasets", ", ".join(map(str, space.get("datasets", [])))),
        ("Models", ", ".join(map(str, space.get("models", [])))),
        ("Methods", ", ".join(map(str, space.get("methods", {}))) + ", and Retrain as the reference"),
        *((f"Axis {name}", ", ".join(map(str, levels))) for name, levels in (space.get("axes") or {}).items()),
        ("Trials", f"{total} ({counts})" if total else "none yet"),
        *([("Measured", measured_in_words(staging(source)))] if source.staged else []),
        (
            "Search",
            f"{search.get('sampler', 'unknown')}, {search.get('trials', 'unknown')} trials per cell, "
            f"on {', '.join(space.get('objectives', []))}",
        ),
        ("Forgotten", "; ".join(map(forget_title, replicates.get("forget", [])))),
        ("Seeds", ", ".join(map(str, replicates.get("seeds", [])))),
        *_unseen(space),
        ("Time spent unlearning", seconds(facts.unlearn_seconds)),
        *_evaluating(facts),
        ("Time spent on references", join("Retrain ", retrain, ", bases ", bases)),
        ("From first to last record", seconds(facts.span_seconds, "the records do not say when they were made")),
        ("Hardware", "; ".join(facts.hardware) or "not recorded"),
    ]
    listed = tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in rows], class_="facts")
    return join(listed, staging_html(source))
