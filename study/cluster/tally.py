"""A study's records as numbers to watch, kept up to date record by record. Knows nothing of Ray."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from neglora.objectives import METRICS
from neglora.record import STATUSES, Record
from study.pareto import front, hypervolume, reference_point

#: The phases of a trial that its record times, and the key of its cost that says so, in seconds.
TIMED = {"unlearn": "unlearn_seconds", "evaluate": "evaluate_seconds"}
#: After a second of computing hypervolumes so many pass without: watching takes 2 percent of one core at most.
REST = 50.0
#: So long one round of hypervolumes goes on before the other cells wait for the next one.
ROUND_SECONDS = 0.25


class CellTally:
    """One cell: what became of its trials, how near to Retrain it came, and its front.

    Attributes:
        best_gap: the smallest distance to Retrain of a finished trial, selection half; None without one.
        hypervolume: of the front when it was last computed; None where nothing has all objectives.
        stale: points came since then that may change it.
    """

    def __init__(self, objectives: Sequence[str]) -> None:
        self.best_gap: float | None = None
        self.hypervolume: float | None = None
        self.stale = False
        self._objectives = tuple(objectives)
        self._status: dict[str, str] = {}
        self._front: list[list[float]] = []
        self._fresh: list[list[float]] = []

    @property
    def counts(self) -> dict[str, int]:
        """Trials by status; every status is there."""
        found = list(self._status.values())
        return {status: found.count(status) for status in STATUSES}

    def add(self, record: Record) -> None:
        """Take up a record of this cell; what enters gap and front is what enters those of the report."""
        if record.fidelity != "confirm":
            self._status[record.trial] = record.status
        if record.status != "ok" or record.fidelity != "full" or record.cell["method"] == "retrain":
            return
        gap = record.metrics.get("gap")
        if gap is not None:
            self.best_gap = float(gap) if self.best_gap is None else min(self.best_gap, float(gap))
        values = [record.metrics.get(name) for name in self._objectives]
        measured = [float(value) for value in values if value is not None]
        if len(measured) == len(values):
            self._fresh.append(measured)
            self.stale = True

    def update(self) -> None:
        """Compute the hypervolume anew if a new point is on the front."""
        directions = [METRICS[name].direction for name in self._objectives]
        points = [*self._front, *self._fresh]
        kept = front(points, directions)
        if self.hypervolume is None or any(index >= len(self._front) for index in kept):
            self._front = [points[index] for index in kept]
            self.hypervolume = hypervolume(self._front, reference_point(self._objectives), directions)
        self._fresh = []
        self.stale = False


class Tally:
    """All cells of a study.

    Args:
        cells: their ids: those without a record are counted too.
        objectives: the study's.

    Attributes:
        cells: by id, in the order of the study.
        seconds: that the trials of all records took, by phase.
    """

    def __init__(self, cells: Iterable[str], objectives: Sequence[str]) -> None:
        self._objectives = tuple(objectives)
        self.cells = {cell: CellTally(objectives) for cell in cells}
        self.seconds = dict.fromkeys(TIMED, 0.0)
        self._rests_until = 0.0

    def add(self, record: Record) -> dict[str, float]:
        """Take up one record, and say how many seconds its phases took; a phase that was not timed is left out.

        Retrain's training is no unlearning of this study: it was prepared once, perhaps for another one.
        """
        cell = record.trial.rsplit("-", 1)[0]
        self.cells.setdefault(cell, CellTally(self._objectives)).add(record)
        timed = {phase: record.cost.get(key) for phase, key in TIMED.items()}
        if record.cell["method"] == "retrain":
            del timed["unlearn"]
        took = {phase: float(seconds) for phase, seconds in timed.items() if seconds is not None}
        for phase, seconds in took.items():
            self.seconds[phase] += seconds
        return took

    def update(self, *, last: bool = False) -> None:
        """Compute hypervolumes of cells whose front may have changed, for a little while; the rest comes next time.

        Args:
            last: there will be no next time, so that nothing is put off for the sake of the driver.
        """
        started = time.monotonic()
        if started < self._rests_until and not last:
            return
        for cell in self.cells.values():
            if cell.stale:
                cell.update()
                if time.monotonic() - started > ROUND_SECONDS and not last:
                    break
        now = time.monotonic()
        self._rests_until = now + REST * (now - started)
