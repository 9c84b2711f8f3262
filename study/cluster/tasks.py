"""What the trials of a study's space are to run, and what has to be made for them first. Without Ray."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from neglora.data import parse_forget
from neglora.prerequisites import Prerequisite, needed
from neglora.record import Record, trial_id
from neglora.setting import Setting
from neglora.trial import Stop, Task
from study.again import elsewhere, in_full
from study.cluster.rounds import Rounds
from study.search import CellSearch
from study.space import Space
from study.suggestions import Suggestion
from study.surroundings import setting_of

#: Dataset and model.
Group = tuple[str, str]


class Tasks:
    """Makes the tasks of a study.

    Args:
        space: the study's.
        study_dir: its folder, where adapters are kept.
    """

    def __init__(self, space: Space, study_dir: Path) -> None:
        self.space = space
        self.study_dir = study_dir
        self._plain = space.resolved()
        self._cells = {cell.id: cell for cell in space.cells()}
        self._groups: dict[Group, list[str]] = {}
        for cell in self._cells.values():
            self._groups.setdefault((cell.dataset, cell.model), []).append(cell.id)
        self._settings = {group: setting_of(self._plain, *group) for group in self._groups}

    def searched(self, search: CellSearch, suggestion: Suggestion) -> Task:
        """A trial of a search, with those that it passes through."""
        cell = self._cells[search.cell.id]
        stops = (
            Stop(trial_id(cell.identity, passed.number), passed.params["epochs"], passed.system_attrs)
            for passed in suggestion.passing
        )
        return Task(
            trial=trial_id(cell.identity, suggestion.number),
            cell=cell.identity,
            params=suggestion.params,
            setting=self._settings[cell.dataset, cell.model],
            replicates=pairs(self._plain["replicates"]),
            sparsities=tuple(sorted({0.0, *self.space.sparsities(cell.dataset, cell.model)})),
            sampler=suggestion.system_attrs,
            keep=str(self.study_dir),
            fidelity="search",
            stops=tuple(stops),
        )

    def rounds_in_full(self) -> list[Rounds]:
        """What is measured in full after the searches of a dataset and model."""
        constraints = self._plain["constraints"]

        def propose(records: Sequence[Record]) -> list[Task]:
            return [self._again(record) for record in in_full(records, constraints)]

        return [Rounds(cells, "full", propose) for cells in self._groups.values()]

    def rounds_elsewhere(self) -> list[Rounds]:
        """What is tried on pairs that the search never saw, after that; none where the space names no such pairs."""
        confirm, constraints = self._plain["confirm"], self._plain["constraints"]
        if not confirm:
            return []

        def propose(records: Sequence[Record]) -> list[Task]:
            wanted = elsewhere(records, constraints)
            levels = tuple(sorted(_sparsities(wanted)))
            return [
                replace(self._again(record), fidelity="confirm", replicates=pairs(confirm), sparsities=levels)
                for record in wanted
            ]

        return [Rounds(cells, "confirm", propose) for cells in self._groups.values()]

    def _again(self, record: Record) -> Task:
        """The trial of a record, in full."""
        group = _group(record)
        return Task(
            trial=record.trial,
            cell=dict(record.cell),
            params=dict(record.params),
            setting=self._settings[group],
            replicates=pairs(self._plain["replicates"]),
            sampler=dict(record.sampler),
            keep=str(self.study_dir),
        )

    def left_elsewhere(self, records: Iterable[Record]) -> dict[Group, list[Record]]:
        """Retrain and what is recommended, by dataset and model, where it was not yet tried on pairs of `confirm`.

        Args:
            records: all of the ledger, with everything in full that has to be.
        """
        if not self._plain["confirm"]:
            return {}
        groups: dict[Group, list[Record]] = {group: [] for group in self._groups}
        for record in records:
            groups.setdefault(_group(record), []).append(record)
        left = {group: elsewhere(groups[group], self._plain["constraints"]) for group in self._groups}
        return {group: found for group, found in left.items() if found}

    def prerequisites_elsewhere(self, records: Iterable[Record]) -> list[Prerequisite]:
        """What these trials start from or are compared with."""
        return [
            one
            for group, found in self.left_elsewhere(records).items()
            for one in _needed(self._settings[group], self._plain["confirm"], _sparsities(found))
        ]


def pairs(section: Any) -> tuple[tuple[Any, int], ...]:
    """All pairs of a forget set and a seed of a section of the space."""
    return tuple(itertools.product(section["forget"], section["seeds"]))


def _needed(setting: Setting, section: Any, sparsities: Iterable[float]) -> list[Prerequisite]:
    info = setting.dataset_info()
    forgets = [parse_forget(info, forget) for forget in section["forget"]]
    return needed(setting, forgets=forgets, seeds=list(section["seeds"]), sparsities=list(sparsities))


def _sparsities(records: Iterable[Record]) -> set[float]:
    """The bases that these trials start from, the dense one among them."""
    return {0.0, *(float(record.params.get("sparsity", 0.0)) for record in records)}


def _group(record: Record) -> Group:
    return str(record.cell["dataset"]), str(record.cell["model"])
