"""One study as the sections of the report read it: its space, its records, and what follows from them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from neglora.dial import Dial
from neglora.objectives import GAP_METRICS
from neglora.record import Record
from study.aggregate import Base, base_values, group_keys, latest, retrain_record, trials_table
from study.confirming import PLANES
from study.recommend import Recommendation, front_rows, recommend
from study.thinning import thinned


@dataclass(frozen=True)
class Cell:
    """One searched cell: its label for people ("neglora, sparsity 0.9"), its rows and what is recommended in it."""

    label: str
    method: str
    axes: dict[str, Any]
    table: pd.DataFrame
    recommendation: Recommendation


@dataclass(frozen=True)
class Group:
    """One dataset x model."""

    dataset: str
    model: str
    slug: str
    table: pd.DataFrame
    retrain: Record | None
    bases: list[Base]
    recommendation: Recommendation
    cells: list[Cell]

    @property
    def title(self) -> str:
        return f"{self.model} on {self.dataset}"

    @cached_property
    def drawn(self) -> frozenset[str]:
        """The trials that figures draw: all, or where they are very many the fronts, what is recommended, and some."""
        trials = list(dict.fromkeys(self.table["trial"]))
        choices = (self.recommendation, *(cell.recommendation for cell in self.cells))
        always = {choice.trial for choice in choices if choice.trial is not None}
        for _, rows in self.table.groupby("method", sort=False):
            for names in (*PLANES, GAP_METRICS):
                always |= set(front_rows(rows, names)["trial"])
        return frozenset(thinned(trials, always))


@dataclass(frozen=True)
class Source:
    """A study: the resolved space of study.yaml, the ledger's records, its hash (None without one), and the dials.

    `place` is its place in the report: two studies may have one name, but their figures may not.
    """

    space: Mapping[str, Any]
    records: Sequence[Record]
    ledger_sha256: str | None = None
    place: int = 0
    dials: Sequence[Dial] = ()

    @property
    def name(self) -> str:
        return str(self.space.get("study", "study"))

    @property
    def reported_on(self) -> str:
        """What the shown TA and MIA were measured on, in words."""
        held_out = (self.space.get("selection") or {}).get("holdout", 0) != 0
        return "report half" if held_out else "whole test set"

    @cached_property
    def table(self) -> pd.DataFrame:
        return trials_table(self.records)

    @cached_property
    def searched(self) -> pd.DataFrame:
        """All rows but the references."""
        return self.table[self.table["method"] != "retrain"]

    @cached_property
    def lines(self) -> list[Record]:
        """One record for each trial and fidelity."""
        return latest(self.records)

    @cached_property
    def by_trial(self) -> dict[str, Record]:
        """The records in full fidelity, by trial."""
        return {record.trial: record for record in self.lines if record.fidelity == "full"}

    @property
    def staged(self) -> bool:
        """Whether any trial was measured on subsets."""
        return bool((self.searched["fidelity"] == "search").any())

    @property
    def times_the_attack(self) -> bool:
        """Whether trials say what their attack took: those of earlier versions do not, and fitted it exactly always."""
        return bool(self.searched["attack_seconds"].notna().any())

    @cached_property
    def groups(self) -> list[Group]:
        return [self._group(dataset, model) for dataset, model in group_keys(self.records, self.space)]

    def _group(self, dataset: str, model: str) -> Group:
        constraints = self.space.get("constraints") or {}
        rows = self.searched[(self.searched["dataset"] == dataset) & (self.searched["model"] == model)]
        cells = []
        for _, own in rows.groupby("cell", sort=False):
            method, axes = str(own.iloc[0]["method"]), json.loads(own.iloc[0]["axes"])
            label = ", ".join([method, *(f"{name} {value}" for name, value in axes.items())])
            cells.append(Cell(label, method, axes, own, recommend(own, constraints)))
        return Group(
            dataset,
            model,
            slug(self.name, dataset, model, *([str(self.place)] if self.place else [])),
            rows,
            retrain_record(self.records, dataset, model),
            base_values(self.records, dataset, model),
            recommend(rows, constraints),
            cells,
        )


def slug(*parts: str) -> str:
    """Texts as part of an element's id.

    Where a text holds what an id cannot, or the `-` that joins them, a hash is appended, so that different texts never
    share an id.
    """
    text = "-".join(parts)
    if all(re.fullmatch(r"[A-Za-z0-9_]+", part) for part in parts):
        return text
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:6]
    return f"{re.sub(r'[^A-Za-z0-9_-]', '-', text)}-{digest}"
