"""What of a study is measured once more: in full what was searched on samples, and elsewhere what is recommended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from neglora.objectives import METRICS
from neglora.record import Record
from study.asked import asked_trials
from study.confirming import next_round
from study.progress import Again, CellCount
from study.recommend import Constraints, recommend


def in_full(records: Sequence[Record], constraints: Constraints | None = None) -> list[Record]:
    """The search's lines of the trials that are to be measured in full next; none where nothing is left.

    Args:
        records: of one dataset and model, whose searches have ended.
        constraints: those of the study.
    """
    searched = {record.trial: record for record in records if record.fidelity == "search"}
    return [searched[trial] for trial in next_round(records, constraints)]


def elsewhere(records: Sequence[Record], constraints: Constraints | None = None) -> list[Record]:
    """What is tried on pairs that the search never saw: Retrain, then what is recommended, in the order of the ledger.

    That is what is recommended for the dataset and model, and for each method; none where nothing is. What was tried
    there already is left out.

    Args:
        records: of one dataset and model, measured in full where they have to be.
        constraints: those of the study.
    """
    full = [record for record in records if record.fidelity == "full"]
    table = pd.DataFrame([_row(record) for record in full], columns=["trial", "method", "status", "fidelity", *METRICS])
    groups = [table, *(rows for _, rows in table.groupby("method", sort=False))]
    chosen = {recommend(rows, constraints).trial for rows in groups} - {None}
    tried = {record.trial for record in records if record.fidelity == "confirm"}
    wanted = [record for record in full if record.trial in chosen - tried]
    retrain = [record for record in full if record.cell["method"] == "retrain" and record.trial not in tried]
    return [*retrain, *wanted] if chosen else []


def outstanding(records: Sequence[Record], study: Mapping[str, Any]) -> tuple[Again, ...]:
    """How far a study is with it, from its ledger: for what is not known yet, searches have to end first.

    Args:
        records: all of the ledger.
        study: the resolved space, as `study.yaml` holds it.

    Raises:
        KeyError, TypeError: it is not a resolved space.
    """
    constraints = study.get("constraints") or {}
    asked = asked_trials(study)
    groups: dict[tuple[str, str], list[Record]] = {}
    counts: dict[str, CellCount] = {}
    for record in records:
        groups.setdefault((str(record.cell["dataset"]), str(record.cell["model"])), []).append(record)
        cell = record.trial.rsplit("-", 1)[0]
        counts.setdefault(cell, CellCount(cell)).add(record)
    left = {"full": 0, "confirm": 0}
    for own in groups.values():
        cells = {record.trial.rsplit("-", 1)[0] for record in own}
        begun = any(counts[cell].again("full") for cell in cells)
        if not begun and any(counts[cell].progress(None).done < asked.get(cell, 0) for cell in cells):
            continue
        more = len(in_full(own, constraints))
        left["full"] += more
        left["confirm"] += len(elsewhere(own, constraints)) if study.get("confirm") and not more else 0
    found = []
    for fidelity in ("full", "confirm"):
        done = sum(count.again(fidelity) for count in counts.values())
        if done + left[fidelity]:
            found.append(Again(fidelity, done, done + left[fidelity]))
    return tuple(found)


def _row(record: Record) -> dict[str, Any]:
    """A row as `recommend` reads it."""
    return {
        "trial": record.trial,
        "method": record.cell["method"],
        "status": record.status,
        "fidelity": record.fidelity,
        **{name: record.metrics.get(name) for name in METRICS},
    }
