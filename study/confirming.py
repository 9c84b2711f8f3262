"""Which trials, searched on subsets, have to be measured in full: those that may be on a front, and those chosen.

Trials are measured round by round, the most promising ones first, since what is known of them may rule others out. A
round follows from the records alone, whoever measured them and in whatever order.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neglora.objectives import METRICS, oriented
from neglora.record import Record, cell_id
from study.levels import at_sparsity, sparsities, with_epochs
from study.pareto import beaten
from study.published import EPOCHS
from study.recommend import Constraints, recommend

#: The planes of the report's trade-offs: each method has a front in each of them.
PLANES = (("ua", "ra"), ("ua", "ta"), ("ua", "mia"))


@dataclass(frozen=True)
class Staged:
    """A trial that ended well in the search.

    Attributes:
        searched: its line on subsets; None where it was measured in full from the start.
        full: its line in full, however that ended; None where there is none yet.
    """

    searched: Record | None
    full: Record | None

    @property
    def first(self) -> Record:
        """What is known of it before any round."""
        found = self.searched or self.full
        if found is None:
            raise ValueError("a trial has a line at least")
        return found


def next_round(records: Sequence[Record], constraints: Constraints | None = None) -> list[str]:
    """The trials that are to be measured in full next, by cell and number; none where nothing is left.

    A trial may be on a method's front in one of the `PLANES` if not even its optimistic values (the upper ends of its
    intervals, averaged over replicates) are beaten by the pessimistic ones of another trial of the method; what was
    measured in full is at its values. Of these a round has the ones whose optimistic values no other beats. Once the
    fronts are known, what `recommend` would choose if all were measured in full has a round: for the dataset and model,
    for each cell, and for each method at each sparsity and number of epochs.

    The rounds are followed from the first one, each by the full lines of those that it asked for and no others, so that
    a round which was half measured goes on with what is left of it. A trial whose full line did not end well is out.

    Args:
        records: of one dataset and model, whose searches have ended.
        constraints: those of the study, which what is recommended keeps.
    """
    trials = _staged(records)
    planes = _Planes(trials)
    known = np.array([trial.searched is None for trial in trials], dtype=bool)
    while True:
        wanted = planes.wanted(known)
        if not len(wanted):
            wanted = _chosen(trials, known, constraints)
        left = [trials[index].first.trial for index in wanted if trials[index].full is None]
        if left or not len(wanted):
            return left
        known[wanted] = True


def _staged(records: Sequence[Record]) -> list[Staged]:
    """Trials by cell and number; of lines that were written twice the last counts."""
    searched = {record.trial: record for record in records if record.fidelity == "search"}
    full = {record.trial: record for record in records if record.fidelity == "full"}
    trials = [Staged(searched.get(trial), full.get(trial)) for trial in searched.keys() | full.keys()]
    trials = [trial for trial in trials if trial.first.status == "ok" and trial.first.cell["method"] != "retrain"]
    return sorted(trials, key=lambda trial: (cell_id(trial.first.cell), trial.first.number))


class _Planes:
    """Where every trial may lie; smaller is better, NaN where it cannot be on a front."""

    def __init__(self, trials: Sequence[Staged]) -> None:
        methods = np.array([str(trial.first.cell["method"]) for trial in trials])
        self._own = [np.flatnonzero(methods == method) for method in dict.fromkeys(methods.tolist())]
        names = dict.fromkeys(name for plane in PLANES for name in plane)
        self._bounds = {name: np.array([_bounds(trial.first, name) for trial in trials]) for name in names}
        self._exact = {name: np.array([_bounds(trial.full, name) for trial in trials]) for name in names}

    def wanted(self, known: np.ndarray) -> np.ndarray:
        """Trials, ascending, that may be on a front and that none such beats; `known` are at their values in full."""
        now = {
            name: np.where(known[:, None], self._exact[name], bounds) if len(known) else np.empty((0, 2))
            for name, bounds in self._bounds.items()
        }
        found = [np.empty(0, dtype=int)]
        for own in self._own:
            for names in PLANES:
                best, worst = (np.column_stack([now[name][own, end] for name in names]) for end in (0, 1))
                left = np.flatnonzero(~known[own] & ~np.isnan(best).any(axis=1) & ~beaten(best, worst))
                found.append(own[left[~beaten(best[left], best[left])]])
        return np.unique(np.concatenate(found))


def _bounds(record: Record | None, name: str) -> tuple[float, float]:
    """The best and the worst value that a trial may have, smaller being better; NaN where it has none."""
    nothing = (float("nan"), float("nan"))
    value = None if record is None or record.status != "ok" else record.metrics.get(name)
    if record is None or value is None:
        return nothing
    if record.fidelity != "search":
        return (oriented(name, value),) * 2
    told = [((replicate.get("details") or {}).get("intervals") or {}).get(name) for replicate in record.replicates]
    if not told or any(not ends or None in ends for ends in told):
        return nothing
    bounds = [oriented(name, statistics.fmean(side)) for side in zip(*told, strict=True)]
    return min(bounds), max(bounds)


def _chosen(trials: Sequence[Staged], known: np.ndarray, constraints: Constraints | None) -> np.ndarray:
    """Trials, ascending, that would be recommended if all were measured in full, and are not."""
    lines = [trial.full if measured else trial.searched for trial, measured in zip(trials, known, strict=True)]
    table = pd.DataFrame([_row(line) for line in lines if line is not None], columns=_COLUMNS)
    choices = {recommend(rows, constraints).trial for rows in _shown(table)}
    return np.array(
        [index for index, trial in enumerate(trials) if not known[index] and trial.first.trial in choices], dtype=int
    )


_COLUMNS = ("trial", "cell", "method", "status", "fidelity", *METRICS, "param_sparsity", "param_epochs")


def _row(record: Record) -> dict[str, object]:
    """A row as `recommend` reads it, as if it were in full."""
    return {
        "trial": record.trial,
        "cell": cell_id(record.cell),
        "method": record.cell["method"],
        "status": record.status,
        "fidelity": "full",
        **{name: record.metrics.get(name) for name in METRICS},
        **{f"param_{name}": record.params.get(name) for name in ("sparsity", "epochs")},
    }


def _shown(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows among which the report recommends."""
    yield table
    for _, rows in table.groupby("cell", sort=False):
        yield rows
    for _, own in table.groupby("method", sort=False):
        for level in sparsities(own):
            rows = at_sparsity(own, level)
            yield rows
            for epochs in EPOCHS:
                yield with_epochs(rows, epochs)
