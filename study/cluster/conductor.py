"""Which trial comes next over all cells, and what happens when one ends. Knows nothing of Ray."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from neglora.provenance import provenance
from neglora.record import Record
from neglora.trial import Task
from study.cluster.failures import ClusterError
from study.cluster.losses import Loss, told
from study.cluster.rounds import Key, Rounds, key_of
from study.ledger import LedgerError, LedgerWriter, line_key
from study.progress import Again, CellCount, Progress, StudyProgress
from study.search import CellSearch
from study.suggestions import Finished, Suggestion, Waiting

#: Builds the task of a suggestion of a cell.
MakeTask = Callable[[CellSearch, Suggestion], Task]
#: Told all records of the study whenever one was written.
Recorded = Callable[[Sequence[Record]], None]
#: Writes files of adapters, by name.
Keep = Callable[[Mapping[str, bytes]], None]
#: After so many trials that met a node which cannot work, the study stops: such a node fails trials as fast as it gets
#: them.
UNABLE_NODES = 3


class Conductor:
    """Hands out trials of all cells in turn, and writes each finished one to the ledger.

    Where the searches of some cells have ended, what is measured once more of them comes first: its rounds follow from
    each other, while searches of other cells fill the gaps.

    Args:
        searches: one per cell, restored from the ledger; cells that come first are asked first.
        ledger: open for writing.
        make_task: builds a trial's task.
        progress: told about every finished trial.
        limit: at most so many trials handed out at once; None for no limit.
        recorded: told all records whenever one was written.
        retries: how often a trial whose worker was lost is handed out again.
        keep: given the files of adapters that came with a record.
        rounds: what is measured once more; of one fidelity.

    Attributes:
        first: while it is not None, one trial each of these cells is handed out, and nothing else.
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
        rounds: Sequence[Rounds] = (),
    ) -> None:
        self.searches = list(searches)
        self.ledger = ledger
        self.make_task = make_task
        self.progress = progress
        self.limit = limit
        self.recorded = recorded
        self.retries = retries
        self.keep = keep
        self.rounds = list(rounds)
        self.first: set[str] | None = None
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
        self._counts = {name: CellCount(name) for name in self._by_cell}
        for record in ledger.records:
            if _cell(record.trial) in self._counts:
                self._counts[_cell(record.trial)].add(record)
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
        task = self._once_more() or self._searched()
        if task is not None:
            self.finished = False
            self._out[key_of(task)] = task
        return task

    def _once_more(self) -> Task | None:
        """A trial whose searches have ended, to be measured once more."""
        if self.first is not None:
            return None
        self._advance()
        return next((task for rounds in self.rounds if (task := rounds.next())), None)

    def _searched(self) -> Task | None:
        """The next trial of the next cell that has one."""
        unfinished = False
        for offset in range(len(self.searches)):
            place = (self._turn + offset) % len(self.searches)
            search = self.searches[place]
            if self.first is not None and search.cell.id not in self.first:
                continue
            suggestion = search.suggest()
            if isinstance(suggestion, Suggestion):
                self._turn = place + 1
                if self.first is not None:
                    self.first.remove(search.cell.id)
                return self.make_task(search, suggestion)
            unfinished = unfinished or isinstance(suggestion, Waiting)
            if isinstance(suggestion, Finished) and suggestion.exhausted and search.cell.id not in self._exhausted:
                self._exhausted.add(search.cell.id)
                self.progress.say(f"{search.cell.id} ends early: {suggestion.reason}")
        # What is out may be lost and come back, and what is measured once more follows from what is out.
        self.finished = not unfinished and not self._out
        return None

    def _advance(self) -> None:
        """Begin what is measured once more, or the next round of it, where all that it follows from is known."""
        for rounds in self.rounds:
            if not rounds.ended and not rounds.left and all(self._by_cell[name].done for name in rounds.cells):
                rounds.advance(self.ledger.records)

    @property
    def remaining(self) -> int:
        """Measurements that are not in the ledger yet, as far as they are known."""
        if self.first is not None:
            return len(self.first)
        self._advance()
        return self.state().left

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
        for rounds in self.rounds:
            rounds.complete(key)
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
        self._counts[_cell(record.trial)].add(record)
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
        running: dict[str, int] = {}
        for key in self._running:
            running[_cell(key[0])] = running.get(_cell(key[0]), 0) + len(self._out[key].parts)
        cells = []
        for search in self.searches:
            counts, name = search.counts, search.cell.id
            total = counts.ended + counts.running if search.exhausted else search.budget
            cells.append(self._counts[name].progress(total, running.get(name, 0)))
        pending = sum(len(task.parts) for key, task in self._out.items() if key not in self._running)
        state = StudyProgress(tuple(cells), None, pending, self._measured_again())
        if not self._finished or self._started is None:
            return state
        pace = (time.monotonic() - self._started) / self._finished
        return replace(state, seconds_left=pace * state.left)

    def _measured_again(self) -> tuple[Again, ...]:
        """How far it is with what is measured once more."""
        if not self.rounds:
            return ()
        fidelity = self.rounds[0].fidelity
        done = sum(counts.again(fidelity) for counts in self._counts.values())
        total = done + sum(rounds.left for rounds in self.rounds)
        return (Again(fidelity, done, total),) if total else ()


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
