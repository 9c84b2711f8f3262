"""Which trial comes next over all cells, and what happens when one ends. Knows nothing of Ray."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from neglora.provenance import provenance
from neglora.record import Record
from neglora.trial import Task
from study.cluster.failures import ClusterError
from study.cluster.losses import Loss, told
from study.ledger import LedgerError, LedgerWriter, line_key
from study.progress import Progress, StudyProgress, cell_progress
from study.search import CellSearch
from study.suggestions import Finished, Suggestion, Waiting

#: What is out: a trial's id, and how it is measured. A trial that was searched may be out once more.
Key = tuple[str, str]
#: Builds the task of a suggestion of a cell.
MakeTask = Callable[[CellSearch, Suggestion], Task]
#: Told all records of the study whenever one was written.
Recorded = Callable[[Sequence[Record]], None]
#: Writes files of adapters, by name.
Keep = Callable[[Mapping[str, bytes]], None]
#: After so many trials that met a node which cannot work, the study stops: such a node fails trials as fast as it gets
#: them.
UNABLE_NODES = 3


def key_of(task: Task) -> Key:
    return task.trial, task.fidelity


class Conductor:
    """Hands out trials of all cells in turn, and writes each finished one to the ledger.

    Args:
        searches: one per cell, restored from the ledger; cells that come first are asked first.
        ledger: open for writing.
        make_task: builds a trial's task.
        progress: told about every finished trial.
        limit: at most so many trials handed out at once; None for no limit.
        recorded: told all records whenever one was written.
        retries: how often a trial whose worker was lost is handed out again.
        keep: given the files of adapters that came with a record.
    """

    def __init__(
        self,
        searches: Sequence[CellSearch],
        ledger: LedgerWriter,
        make_task: MakeTask,
        progress: Progress,
        limit: int | None = None,
        recorded: Recorded | None = None,
        retries: int = 0,
        keep: Keep | None = None,
    ) -> None:
        self.searches = list(searches)
        self.ledger = ledger
        self.make_task = make_task
        self.progress = progress
        self.limit = limit
        self.recorded = recorded
        self.retries = retries
        self.keep = keep
        self.finished = False
        self.fatal: LedgerError | ClusterError | None = None
        self._out: dict[Key, Task] = {}
        self._running: set[Key] = set()
        self._again: deque[Task] = deque()
        self._losses: dict[Key, list[Loss]] = {}
        self._exhausted: set[str] = set()
        self._unable = 0
        self._turn = 0
        self._started: float | None = None
        self._finished = 0
        self._by_cell = {search.cell.id: search for search in self.searches}
        self._records: dict[str, list[Record]] = {name: [] for name in self._by_cell}
        for record in ledger.records:
            self._records.get(_cell(record.trial), []).append(record)
        self._written = {line_key(record) for record in ledger.records}

    def next(self) -> Task | None:
        """The next trial; None while none may be suggested yet, or for good once `finished` holds.

        Trials that were lost come first: they are known to be next, and others may wait for them.
        """
        if self.fatal:
            return None
        if self._again:
            return self._again.popleft()
        if self.limit is not None and len(self._out) >= self.limit:
            return None
        unfinished = False
        for offset in range(len(self.searches)):
            place = (self._turn + offset) % len(self.searches)
            search = self.searches[place]
            suggestion = search.suggest()
            if isinstance(suggestion, Suggestion):
                self._turn = place + 1
                task = self.make_task(search, suggestion)
                self._out[key_of(task)] = task
                return task
            unfinished = unfinished or isinstance(suggestion, Waiting)
            if isinstance(suggestion, Finished) and suggestion.exhausted and search.cell.id not in self._exhausted:
                self._exhausted.add(search.cell.id)
                self.progress.say(f"{search.cell.id} ends early: {suggestion.reason}")
        # What is out may be lost and come back.
        self.finished = not unfinished and not self._out
        return None

    @property
    def remaining(self) -> int:
        """Trials that are not in the ledger yet."""
        return sum(cell.total - cell.done for cell in self.state().cells)

    def started(self, key: Key) -> None:
        """A worker took the task."""
        if key not in self._out:
            return
        self._running.add(key)
        # From here, so that the workers' own start does not count as pace.
        self._started = self._started or time.monotonic()
        self.progress.trials(self.state())

    def complete(self, key: Key, records: Sequence[Record], adapters: Mapping[str, bytes] | None = None) -> bool:
        """A task ended: write its records, then tell their cell. After an error of the ledger no more is handed out.

        Args:
            key: of the task.
            records: of the trials that it passed through, and its own. What the ledger has already is left out: a kill
                may come between two of them.
            adapters: files that came with them, by name: written first, so that a record has its adapters.

        Returns:
            Whether they were written. A task that is not out has been written already: an attempt that was given up
            for lost may still end.
        """
        task = self._out.pop(key, None)
        if task is None:
            return False
        self._running.discard(key)
        self._losses.pop(key, None)
        if task in self._again:
            self._again.remove(task)
        if adapters and self.keep:
            self.keep(adapters)
        return all(self._write(task, record) for record in records if line_key(record) not in self._written)

    def _write(self, task: Task, record: Record) -> bool:
        if self.fatal:
            return False
        try:
            self.ledger.append(record)
        except LedgerError as error:
            self.fatal = error
            return False
        self._written.add(line_key(record))
        if self.recorded:
            self.recorded(self.ledger.records)
        if task.fidelity == "search":
            self._by_cell[_cell(record.trial)].tell(record)
        self._finished += 1
        self._records[_cell(record.trial)].append(record)
        self.progress.trials(self.state(), record)
        return True

    def lost(self, key: Key, loss: Loss) -> None:
        """A worker was lost with the task: it is handed out again, or recorded as failed after so many retries."""
        if key not in self._out:
            return
        losses = self._losses.setdefault(key, [])
        losses.append(loss)
        if sum(each.counts for each in losses) > self.retries:
            self.fail(key, told(losses))
            return
        self._running.discard(key)
        self._again.append(self._out[key])
        if loss.counts:
            self.progress.say(f"{key[0]} lost its worker and is run again: {loss.words}")

    def unable(self, key: Key, reason: str) -> None:
        """A task met a node that cannot work: it is recorded as failed. The study stops when that goes on."""
        self.fail(key, reason)
        self._unable += 1
        if self._unable >= UNABLE_NODES and not self.fatal:
            self.fatal = ClusterError(f"the study stops after {self._unable} trials that failed so: {reason}")

    def fail(self, key: Key, reason: str) -> None:
        """A task was lost for good: all of its trials are recorded as failed."""
        if key in self._out:
            self.complete(key, [_failed(one, reason) for one in self._out[key].parts])

    def state(self) -> StudyProgress:
        """Counts of every cell, and the time left at the pace so far."""
        cells = []
        for search in self.searches:
            records = self._records[search.cell.id]
            name = search.cell.id
            running = sum(len(self._out[key].parts) for key in self._running if _cell(key[0]) == name)
            counts = search.counts
            total = counts.ended + counts.running if search.exhausted else search.budget
            cells.append(cell_progress(name, records, total, running))
        left = None
        if self._finished and self._started is not None:
            pace = (time.monotonic() - self._started) / self._finished
            left = pace * sum(cell.total - cell.done for cell in cells)
        pending = sum(len(task.parts) for key, task in self._out.items() if key not in self._running)
        return StudyProgress(tuple(cells), left, pending)


def _cell(trial: str) -> str:
    return trial.rsplit("-", 1)[0]


def _failed(task: Task, reason: str) -> Record:
    return Record(
        trial=task.trial,
        cell=dict(task.cell),
        params=dict(task.params),
        status="failed",
        reason=reason,
        # As a trial that fails before anything of it is measured, on samples or not.
        fidelity="full" if task.fidelity == "search" else task.fidelity,
        sampler=dict(task.sampler or {}),
        provenance=provenance(),
    )
