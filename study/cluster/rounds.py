"""Trials that are measured once more when the searches of some cells have ended. Knows nothing of Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from neglora.record import Fidelity, Record
from neglora.trial import Task
from study.ledger import line_key

#: A trial's id, and how it is measured. A trial that was searched may be measured once more.
Key = tuple[str, str]
#: The tasks of the next round, from all records of some cells; none when there is nothing more to measure.
Propose = Callable[[Sequence[Record]], Sequence[Task]]


def key_of(task: Task) -> Key:
    return task.trial, task.fidelity


class Rounds:
    """Hands out tasks round by round: which ones the next round has follows from all records of the one before.

    A round may be taken up in its middle, as after a kill: what the ledger holds of it is not measured again.

    Args:
        cells: ids of the cells whose searches come first.
        fidelity: of all tasks.
        propose: see `Propose`.

    Attributes:
        ended: there is nothing more to measure.
    """

    def __init__(self, cells: Iterable[str], fidelity: Fidelity, propose: Propose) -> None:
        self.cells = frozenset(cells)
        self.fidelity = fidelity
        self.ended = False
        self._propose = propose
        self._waiting: deque[Task] = deque()
        self._out: set[Key] = set()

    @property
    def left(self) -> int:
        """Tasks of this round that have not ended."""
        return len(self._waiting) + len(self._out)

    def advance(self, records: Iterable[Record]) -> None:
        """Take up the next round where this one has ended.

        Args:
            records: of the ledger; the searches of the cells have ended.
        """
        if self.ended or self.left:
            return
        own = [record for record in records if record.trial.rsplit("-", 1)[0] in self.cells]
        written = {line_key(record) for record in own}
        self._waiting.extend(task for task in self._propose(own) if key_of(task) not in written)
        self.ended = not self._waiting

    def next(self) -> Task | None:
        """A task of this round; None while the others of it have not ended, or when there is none."""
        if not self._waiting:
            return None
        task = self._waiting.popleft()
        self._out.add(key_of(task))
        return task

    def complete(self, key: Key) -> None:
        """A task that was handed out has ended, whatever became of it."""
        self._out.discard(key)
