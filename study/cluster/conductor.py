"""Which trial comes next over all cells, and what happens when one ends. Knows nothing of Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from neglora.provenance import provenance
from neglora.record import Record
from neglora.trial import Task
from study.ledger import Ledger, LedgerError
from study.progress import Progress, StudyProgress, cell_progress
from study.search import CellSearch
from study.suggestions import Finished, Suggestion, Waiting

#: Builds the task of a suggestion of a cell.
MakeTask = Callable[[CellSearch, Suggestion], Task]
#: Told all records of the study whenever one was written.
Recorded = Callable[[Sequence[Record]], None]


class Conductor:
    """Hands out trials of all cells in turn, and writes each finished one to the ledger.

    Args:
        searches: one per cell, restored from the ledger; cells that come first are asked first.
        ledger: open for writing.
        make_task: builds a trial's task.
        progress: told about every finished trial.
        limit: at most so many trials handed out at once; None for no limit.
        recorded: told all records whenever one was written.
    """

    def __init__(
        self,
        searches: Sequence[CellSearch],
        ledger: Ledger,
        make_task: MakeTask,
        progress: Progress,
        limit: int | None = None,
        recorded: Recorded | None = None,
    ) -> None:
        self.searches = list(searches)
        self.ledger = ledger
        self.make_task = make_task
        self.progress = progress
        self.limit = limit
        self.recorded = recorded
        self.finished = False
        self.fatal: LedgerError | None = None
        self._out: dict[str, tuple[CellSearch, Task]] = {}
        self._running: set[str] = set()
        self._exhausted: set[str] = set()
        self._turn = 0
        self._started: float | None = None
        self._finished = 0
        self._records: dict[str, list[Record]] = {search.cell.id: [] for search in self.searches}
        for record in ledger.records:
            self._records.get(record.trial.rsplit("-", 1)[0], []).append(record)

    def next(self) -> Task | None:
        """The next trial; None while none may be suggested yet, or for good once `finished` holds."""
        if self.fatal or (self.limit is not None and len(self._out) >= self.limit):
            return None
        unfinished = False
        for offset in range(len(self.searches)):
            place = (self._turn + offset) % len(self.searches)
            search = self.searches[place]
            suggestion = search.suggest()
            if isinstance(suggestion, Suggestion):
                self._turn = place + 1
                task = self.make_task(search, suggestion)
                self._out[task.trial] = (search, task)
                return task
            unfinished = unfinished or isinstance(suggestion, Waiting)
            if isinstance(suggestion, Finished) and suggestion.exhausted and search.cell.id not in self._exhausted:
                self._exhausted.add(search.cell.id)
                self.progress.say(f"{search.cell.id} ends early: {suggestion.reason}")
        self.finished = not unfinished
        return None

    @property
    def remaining(self) -> int:
        """Trials that are not in the ledger yet."""
        return sum(cell.total - cell.done for cell in self.state().cells)

    def started(self, trial: str) -> None:
        """A worker took the trial."""
        self._running.add(trial)
        # From here, so that the workers' own start does not count as pace.
        self._started = self._started or time.monotonic()
        self.progress.trials(self.state())

    def complete(self, record: Record) -> None:
        """A trial ended: write it, then tell its cell. After an error of the ledger nothing more is handed out."""
        if record.trial not in self._out:
            return
        search, _ = self._out.pop(record.trial)
        self._running.discard(record.trial)
        try:
            self.ledger.append(record)
        except LedgerError as error:
            self.fatal = error
            return
        if self.recorded:
            self.recorded(self.ledger.records)
        search.tell(record)
        self._finished += 1
        self._records[search.cell.id].append(record)
        self.progress.trials(self.state(), record)

    def fail(self, trial: str, reason: str) -> None:
        """A trial was lost for good: it is recorded as failed."""
        if trial not in self._out:
            return
        _, task = self._out[trial]
        self.complete(
            Record(
                trial=trial,
                cell=dict(task.cell),
                params=dict(task.params),
                status="failed",
                reason=reason,
                sampler=dict(task.sampler or {}),
                provenance=provenance(),
            )
        )

    def state(self) -> StudyProgress:
        """Counts of every cell, and the time left at the pace so far."""
        cells = []
        for search in self.searches:
            records = self._records[search.cell.id]
            name = search.cell.id
            running = sum(trial.rsplit("-", 1)[0] == name for trial in self._running)
            counts = search.counts
            total = counts.ended + counts.running if search.exhausted else search.budget
            cells.append(cell_progress(name, records, total, running))
        left = None
        if self._finished and self._started is not None:
            pace = (time.monotonic() - self._started) / self._finished
            left = pace * sum(cell.total - cell.done for cell in cells)
        return StudyProgress(tuple(cells), left)
