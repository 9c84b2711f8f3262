"""How well what was recommended carries over: the same configuration on forget sets and seeds that no search saw."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neglora.objectives import GAP_METRICS
from neglora.record import Record, forget_title
from study.shown import shown

#: What is compared.
COMPARED = (*GAP_METRICS, "gap")
#: A configuration holds up if its mean distance to Retrain grows by no more than this.
MARGIN = 0.01
RULE = (
    "A configuration holds up if its mean distance to Retrain (gap) over the unseen pairs of forget set and seed is at "
    f"most {100 * MARGIN:g} point larger than over the pairs of the search, and no unseen pair diverged."
)


@dataclass(frozen=True)
class Pair:
    """One forget set with one seed: the values that are shown (report half), fractions; None where not measured."""

    forget: Any
    seed: int
    values: Mapping[str, float | None]

    @property
    def title(self) -> str:
        return f"{forget_title(self.forget)} with seed {self.seed}"


@dataclass(frozen=True)
class Carried:
    """A trial on both kinds of pairs.

    Attributes:
        trial: its id.
        cell: dataset, model, method and the level of every axis.
        confirmation: the record on unseen pairs.
        searched, unseen: the pairs that ended well.
        diverged: how many unseen pairs did not.
    """

    trial: str
    cell: Mapping[str, Any]
    confirmation: Record
    searched: tuple[Pair, ...]
    unseen: tuple[Pair, ...]
    diverged: int

    @property
    def name(self) -> str:
        """ "neglora, sparsity 0.9"."""
        axes = [f"{name} {value}" for name, value in self.cell.items() if name not in ("dataset", "model", "method")]
        return ", ".join([str(self.cell["method"]), *axes])

    @property
    def holds_up(self) -> bool | None:
        """What `RULE` says; None where it cannot be said."""
        if self.diverged:
            return False
        known, new = mean(self.searched, "gap"), mean(self.unseen, "gap")
        if self.confirmation.status != "ok" or known is None or new is None:
            return None
        # Shares of images: what rounding makes of equal ones is no difference.
        return new - known <= MARGIN + 1e-12


def carried(records: Sequence[Record], dataset: str, model: str) -> list[Carried]:
    """Every trial of a dataset x model that was tried on unseen pairs; cells are in the order of the ledger."""
    cells = list(dict.fromkeys(record.trial.rsplit("-", 1)[0] for record in records))
    full = {record.trial: record for record in records if record.fidelity == "full"}
    found = {}
    for record in records:
        place = (str(record.cell["dataset"]), str(record.cell["model"]))
        if record.fidelity == "confirm" and place == (dataset, model) and record.cell["method"] != "retrain":
            diverged = sum(item.get("status") == "diverged" for item in record.replicates)
            known = pairs(full[record.trial]) if record.trial in full else ()
            found[record.trial] = Carried(record.trial, record.cell, record, known, pairs(record), diverged)
    return sorted(found.values(), key=lambda one: (cells.index(one.trial.rsplit("-", 1)[0]), one.confirmation.number))


def pairs(record: Record) -> tuple[Pair, ...]:
    """The replicates of a record that ended well."""
    return tuple(
        Pair(
            item.get("forget"),
            int(item.get("seed") or 0),
            {name: shown(item.get("metrics") or {}, item.get("report") or {}, name) for name in COMPARED},
        )
        for item in record.replicates
        if item.get("status", "ok") == "ok"
    )


def retrain_pairs(records: Sequence[Record], dataset: str, model: str) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Retrain's own values on the pairs of the search and on unseen ones; empty where they were not measured."""
    found: dict[str, tuple[Pair, ...]] = {}
    for record in records:
        cell = (str(record.cell["dataset"]), str(record.cell["model"]), record.cell["method"])
        if cell == (dataset, model, "retrain") and record.status == "ok":
            found[record.fidelity] = pairs(record)
    return found.get("full", ()), found.get("confirm", ())


def mean(of: Sequence[Pair], name: str) -> float | None:
    """Over pairs; None where it was not measured on each: a mean over some of them would not be comparable."""
    values = [pair.values.get(name) for pair in of]
    measured = [value for value in values if value is not None]
    return statistics.fmean(measured) if measured and len(measured) == len(values) else None


def ends(of: Sequence[Pair], name: str) -> tuple[float, float] | None:
    """The least and the greatest value over pairs; None where there is none."""
    measured = [value for pair in of if (value := pair.values.get(name)) is not None]
    return (min(measured), max(measured)) if measured else None


def as_plain(one: Carried) -> dict[str, Any]:
    """What `summary.json` and an export's card hold of a confirmation; null where it was not measured.

    Keys: `status` and `reason` of the confirmation, `pairs` (each with `forget`, `seed` and `status`), `metrics` and
    `report` (means over the unseen pairs), `gap` and `searched_gap` (means of the values that are shown, on unseen
    pairs and on the search's), `holds_up` (see `RULE`).
    """
    record = one.confirmation
    asked = [{name: item.get(name) for name in ("forget", "seed", "status")} for item in record.replicates]
    return {
        "status": record.status,
        "reason": record.reason,
        "pairs": asked,
        "metrics": record.metrics,
        "report": record.report,
        "gap": mean(one.unseen, "gap") if record.status == "ok" else None,
        "searched_gap": mean(one.searched, "gap"),
        "holds_up": one.holds_up,
    }


def in_words(one: Carried) -> str:
    """One sentence: whether it holds up, and by which numbers."""
    known, new = mean(one.searched, "gap"), mean(one.unseen, "gap")
    unseen = _pairs(len(one.confirmation.replicates))
    if one.diverged:
        return f"It does not hold up: it diverged on {one.diverged} of {unseen} that the search never saw."
    if one.confirmation.status != "ok":
        why = one.confirmation.reason or "no reason was recorded"
        return f"Whether it holds up is not known: the trial on unseen pairs {one.confirmation.status} ({why})."
    if known is None or new is None:
        return "Whether it holds up is not known: its distance to Retrain was not measured on every pair."
    return (
        f"It {'holds up' if one.holds_up else 'does not hold up'}: its mean distance to Retrain is {new:.2%} on "
        f"{unseen} that the search never saw, and {known:.2%} on {_pairs(len(one.searched))} of the search."
    )


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"
