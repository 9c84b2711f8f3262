"""The conductor over two small cells, without Ray."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from neglora.record import Record, cell_id, trial_id
from neglora.setting import Setting
from neglora.trial import Stop, Task
from study.cluster.conductor import UNABLE_NODES, Conductor, Key, key_of
from study.cluster.failures import ClusterError
from study.cluster.losses import Loss
from study.dimensions import Choice, Dimension
from study.ledger import Ledger, LedgerError
from study.progress import StudyProgress
from study.search import CellSearch
from study.suggestions import Finished, Suggestion, Waiting


@dataclass(frozen=True)
class SmallCell:
    method: str
    trials: int = 6
    dimensions: dict[str, Dimension] = field(default_factory=lambda: {"rank": Choice(tuple(range(1, 21)))})
    fixed: dict[str, Any] = field(default_factory=dict)
    configurations: tuple[dict[str, Any], ...] = ()

    @property
    def identity(self) -> dict[str, Any]:
        return {"dataset": "digits", "model": "tinyvit_nano", "method": self.method}

    @property
    def id(self) -> str:
        return cell_id(self.identity)


class Listener:
    def __init__(self) -> None:
        self.states: list[StudyProgress] = []
        self.records: list[Record] = []
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def trials(self, state: StudyProgress, record: Record | None = None) -> None:
        self.states.append(state)
        if record:
            self.records.append(record)


class PassingSearch(CellSearch):
    """Every second trial passes through the one before it."""

    def suggest(self) -> Suggestion | Waiting | Finished:
        first = super().suggest()
        second = super().suggest() if isinstance(first, Suggestion) else first
        return replace(second, passing=(first,)) if isinstance(second, Suggestion) else first


def conduct(
    ledger: Ledger,
    cells: list[SmallCell],
    limit: int | None = None,
    kind: type[CellSearch] = CellSearch,
    **options: Any,
) -> tuple[Conductor, Listener]:
    searches = []
    for cell in cells:
        search = kind(cell, sampler="tpe", objectives=("ua",), constraints={}, seed=0, batch=2)
        search.restore(record for record in ledger.records if record.trial.startswith(cell.id))
        searches.append(search)
    listener = Listener()

    def make(search: CellSearch, suggestion: Any) -> Task:
        return Task(
            trial_id(search.cell.identity, suggestion.number),
            dict(search.cell.identity),
            suggestion.params,
            Setting("digits", "tinyvit_nano"),
            ((3, 0),),
            sampler=suggestion.system_attrs,
            fidelity="search",
            stops=tuple(
                Stop(trial_id(search.cell.identity, passed.number), 1, passed.system_attrs)
                for passed in suggestion.passing
            ),
        )

    return Conductor(searches, ledger, make, listener, limit, **options), listener


def finished(task: Task) -> Record:
    return Record(task.trial, task.cell, task.params, "ok", metrics={"ua": 0.5, "gap": 0.1}, sampler=task.sampler or {})


def ended(task: Task) -> tuple[Key, list[Record]]:
    return key_of(task), [finished(one) for one in task.parts]


CELLS = [SmallCell("neggrad"), SmallCell("neglora")]


def test_cells_take_turns_and_wait_for_their_batch(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, CELLS)
        first = [conductor.next() for _ in range(4)]
        assert [task.trial for task in first] == [
            "digits-tinyvit_nano-neggrad-0000",
            "digits-tinyvit_nano-neglora-0000",
            "digits-tinyvit_nano-neggrad-0001",
            "digits-tinyvit_nano-neglora-0001",
        ]
        assert conductor.next() is None, "trial 2 follows from trial 0, which has not ended"
        assert not conductor.finished
        conductor.complete(*ended(first[1]))
        assert conductor.next().trial == "digits-tinyvit_nano-neglora-0002"


def test_all_trials_are_recorded_once_and_then_it_is_finished(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, listener = conduct(ledger, CELLS)
        while not conductor.finished:
            task = conductor.next()
            if task:
                conductor.complete(*ended(task))
                conductor.complete(*ended(task))
        assert len(ledger.records) == 12 == len({record.trial for record in ledger.records})
        assert len(listener.records) == 12
        assert all(cell.done == cell.total == 6 for cell in listener.states[-1].cells)
        assert conductor.remaining == 0


def test_it_goes_on_from_the_ledger(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, CELLS)
        for _ in range(5):
            conductor.complete(*ended(conductor.next()))
        done = {record.trial: record.params for record in ledger.records}
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, CELLS)
        assert conductor.remaining == 7
        while not conductor.finished:
            task = conductor.next()
            if task:
                assert task.trial not in done
                conductor.complete(*ended(task))
        assert len(ledger.records) == 12


def test_an_exhausted_cell_says_so_and_its_total_shrinks(tmp_path):
    small = SmallCell("neglora", trials=6, dimensions={"rank": Choice((1, 2, 3))})
    with Ledger.open(tmp_path) as ledger:
        conductor, listener = conduct(ledger, [small])
        while not conductor.finished:
            task = conductor.next()
            if task:
                conductor.complete(*ended(task))
        assert len(ledger.records) == 3
        assert listener.said == [f"{small.id} ends early: all 3 configurations of the space were handed out"]
        assert conductor.state().cells[0].total == 3
        assert conductor.remaining == 0


def test_the_limit_counts_what_is_out(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, CELLS, limit=1)
        task = conductor.next()
        assert conductor.next() is None
        conductor.complete(*ended(task))
        assert conductor.next() is not None


def test_a_lost_trial_is_recorded_as_failed_and_told(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, listener = conduct(ledger, CELLS)
        task = conductor.next()
        conductor.fail(key_of(task), "the worker was lost")
        (record,) = ledger.records
        assert (record.status, record.reason, record.params) == ("failed", "the worker was lost", task.params)
        assert listener.states[-1].cells[0].failed == 1


def test_a_ledger_that_cannot_be_written_stops_the_study(tmp_path, monkeypatch):
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, CELLS)
        task = conductor.next()

        def refuse(record):
            raise LedgerError("no space left")

        monkeypatch.setattr(ledger, "append", refuse)
        conductor.complete(*ended(task))
        assert str(conductor.fatal) == "no space left"
        assert conductor.next() is None


KILLED, LEFT = Loss("its process was killed"), Loss("it left", counts=False)


def test_a_trial_that_lost_its_worker_is_next_until_its_retries_are_spent(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, listener = conduct(ledger, CELLS, retries=2)
        task = conductor.next()
        for _ in range(2):
            conductor.started(key_of(task))
            conductor.lost(key_of(task), KILLED)
            assert conductor.next() == task
        conductor.lost(key_of(task), LEFT)
        assert conductor.next() == task, "what does not count is run again in any case"
        assert not ledger.records
        assert listener.said == [f"{task.trial} lost its worker and is run again: its process was killed"] * 2
        conductor.lost(key_of(task), KILLED)
        [record] = ledger.records
        assert (record.status, record.reason) == ("failed", "the worker was lost 3 times: its process was killed")
        conductor.lost(key_of(task), KILLED)
        assert conductor.next().trial != task.trial
        assert len(ledger.records) == 1


def test_a_study_is_not_finished_while_a_trial_may_come_back(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, [SmallCell("neggrad", trials=1)], limit=1, retries=1)
        task = conductor.next()
        assert conductor.next() is None
        assert not conductor.finished
        conductor.lost(key_of(task), KILLED)
        assert conductor.next() == task, "the limit counts it already"
        conductor.complete(*ended(task))
        assert conductor.next() is None
        assert conductor.finished


def test_an_attempt_that_was_given_up_for_lost_ends_the_trial_once(tmp_path):
    kept = []
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, CELLS, retries=2, keep=kept.append)
        task = conductor.next()
        conductor.lost(key_of(task), KILLED)
        assert conductor.complete(*ended(task), {"first": b"1"}), "it was not dead: its record is as good as any"
        assert conductor.next().trial != task.trial, "nobody needs another attempt"
        assert not conductor.complete(*ended(task), {"second": b"2"})
        conductor.lost(key_of(task), KILLED)
        conductor.started(key_of(task))
        assert len(ledger.records) == 1
        assert kept == [{"first": b"1"}]
        assert conductor.state().cells[0].running == 0


def test_handed_out_and_not_started_is_pending(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, CELLS, retries=1)
        tasks = [conductor.next() for _ in range(3)]
        conductor.started(key_of(tasks[0]))
        assert conductor.state().pending == 2
        conductor.lost(key_of(tasks[0]), KILLED)
        assert conductor.state().pending == 3
        for task in tasks:
            conductor.complete(*ended(task))
        assert conductor.state().pending == 0


def test_a_study_stops_when_nodes_cannot_work(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, CELLS, retries=2)
        for _ in range(UNABLE_NODES):
            assert conductor.fatal is None
            conductor.unable(key_of(conductor.next()), "no storage on 10.0.0.7")
        assert [record.reason for record in ledger.records] == ["no storage on 10.0.0.7"] * UNABLE_NODES
        assert isinstance(conductor.fatal, ClusterError)
        assert conductor.next() is None


def test_trials_of_one_run_are_recorded_and_told_together(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, listener = conduct(ledger, [SmallCell("neglora", trials=4)], kind=PassingSearch)
        task = conductor.next()
        assert [one.trial[-4:] for one in task.parts] == ["0000", "0001"]
        assert conductor.next() is None, "trial 2 follows from trial 0, which has not ended"
        conductor.started(key_of(task))
        assert (conductor.state().cells[0].running, conductor.state().pending) == (2, 0)
        conductor.complete(*ended(task))
        assert [record.number for record in ledger.records] == [0, 1] == [record.number for record in listener.records]
        assert [one.trial[-4:] for one in conductor.next().parts] == ["0002", "0003"]
        assert (conductor.state().pending, conductor.remaining) == (2, 2)


def test_trials_of_one_run_are_lost_together(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, [SmallCell("neglora", trials=2)], kind=PassingSearch, retries=1)
        task = conductor.next()
        conductor.lost(key_of(task), KILLED)
        assert conductor.next() == task
        conductor.lost(key_of(task), KILLED)
        assert [(record.number, record.status) for record in ledger.records] == [(0, "failed"), (1, "failed")]
        assert conductor.next() is None
        assert conductor.finished


def test_a_trial_that_was_recorded_before_a_kill_is_not_recorded_again(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        task = conduct(ledger, [SmallCell("neglora", trials=2)], kind=PassingSearch)[0].next()
        ledger.append(finished(task.parts[0]))
        conductor, _ = conduct(ledger, [SmallCell("neglora", trials=2)])
        rest = replace(conductor.next(), stops=task.stops)
        assert rest.trial == task.trial
        conductor.complete(key_of(rest), [finished(one) for one in rest.parts])
        assert [record.number for record in ledger.records] == [0, 1]
        assert conductor.fatal is None
