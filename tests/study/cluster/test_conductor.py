"""The conductor over two small cells, without Ray."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from neglora.record import Record, cell_id, trial_id
from neglora.setting import Setting
from neglora.trial import Task
from study.cluster.conductor import UNABLE_NODES, Conductor
from study.cluster.failures import ClusterError
from study.cluster.losses import Loss
from study.dimensions import Choice, Dimension
from study.ledger import Ledger, LedgerError
from study.progress import StudyProgress
from study.search import CellSearch


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


def conduct(
    ledger: Ledger, cells: list[SmallCell], limit: int | None = None, **options: Any
) -> tuple[Conductor, Listener]:
    searches = []
    for cell in cells:
        search = CellSearch(cell, sampler="tpe", objectives=("ua",), constraints={}, seed=0, batch=2)
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
        )

    return Conductor(searches, ledger, make, listener, limit, **options), listener


def finished(task: Task) -> Record:
    return Record(task.trial, task.cell, task.params, "ok", metrics={"ua": 0.5, "gap": 0.1}, sampler=task.sampler or {})


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
        conductor.complete(finished(first[1]))
        assert conductor.next().trial == "digits-tinyvit_nano-neglora-0002"


def test_all_trials_are_recorded_once_and_then_it_is_finished(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, listener = conduct(ledger, CELLS)
        while not conductor.finished:
            task = conductor.next()
            if task:
                conductor.complete(finished(task))
                conductor.complete(finished(task))
        assert len(ledger.records) == 12 == len({record.trial for record in ledger.records})
        assert len(listener.records) == 12
        assert all(cell.done == cell.total == 6 for cell in listener.states[-1].cells)
        assert conductor.remaining == 0


def test_it_goes_on_from_the_ledger(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, CELLS)
        for _ in range(5):
            conductor.complete(finished(conductor.next()))
        done = {record.trial: record.params for record in ledger.records}
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, CELLS)
        assert conductor.remaining == 7
        while not conductor.finished:
            task = conductor.next()
            if task:
                assert task.trial not in done
                conductor.complete(finished(task))
        assert len(ledger.records) == 12


def test_an_exhausted_cell_says_so_and_its_total_shrinks(tmp_path):
    small = SmallCell("neglora", trials=6, dimensions={"rank": Choice((1, 2, 3))})
    with Ledger.open(tmp_path) as ledger:
        conductor, listener = conduct(ledger, [small])
        while not conductor.finished:
            task = conductor.next()
            if task:
                conductor.complete(finished(task))
        assert len(ledger.records) == 3
        assert listener.said == [f"{small.id} ends early: all 3 configurations of the space were handed out"]
        assert conductor.state().cells[0].total == 3
        assert conductor.remaining == 0


def test_the_limit_counts_what_is_out(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, CELLS, limit=1)
        task = conductor.next()
        assert conductor.next() is None
        conductor.complete(finished(task))
        assert conductor.next() is not None


def test_a_lost_trial_is_recorded_as_failed_and_told(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, listener = conduct(ledger, CELLS)
        task = conductor.next()
        conductor.fail(task.trial, "the worker was lost")
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
        conductor.complete(finished(task))
        assert str(conductor.fatal) == "no space left"
        assert conductor.next() is None


KILLED, LEFT = Loss("its process was killed"), Loss("it left", counts=False)


def test_a_trial_that_lost_its_worker_is_next_until_its_retries_are_spent(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, listener = conduct(ledger, CELLS, retries=2)
        task = conductor.next()
        for _ in range(2):
            conductor.started(task.trial)
            conductor.lost(task.trial, KILLED)
            assert conductor.next() == task
        conductor.lost(task.trial, LEFT)
        assert conductor.next() == task, "what does not count is run again in any case"
        assert not ledger.records
        assert listener.said == [f"{task.trial} lost its worker and is run again: its process was killed"] * 2
        conductor.lost(task.trial, KILLED)
        [record] = ledger.records
        assert (record.status, record.reason) == ("failed", "the worker was lost 3 times: its process was killed")
        conductor.lost(task.trial, KILLED)
        assert conductor.next().trial != task.trial
        assert len(ledger.records) == 1


def test_a_study_is_not_finished_while_a_trial_may_come_back(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, [SmallCell("neggrad", trials=1)], limit=1, retries=1)
        task = conductor.next()
        assert conductor.next() is None
        assert not conductor.finished
        conductor.lost(task.trial, KILLED)
        assert conductor.next() == task, "the limit counts it already"
        conductor.complete(finished(task))
        assert conductor.next() is None
        assert conductor.finished


def test_an_attempt_that_was_given_up_for_lost_ends_the_trial_once(tmp_path):
    kept = []
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, CELLS, retries=2, keep=kept.append)
        task = conductor.next()
        conductor.lost(task.trial, KILLED)
        assert conductor.complete(finished(task), {"first": b"1"}), "it was not dead: its record is as good as any"
        assert conductor.next().trial != task.trial, "nobody needs another attempt"
        assert not conductor.complete(finished(task), {"second": b"2"})
        conductor.lost(task.trial, KILLED)
        conductor.started(task.trial)
        assert len(ledger.records) == 1
        assert kept == [{"first": b"1"}]
        assert conductor.state().cells[0].running == 0


def test_handed_out_and_not_started_is_pending(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, CELLS, retries=1)
        tasks = [conductor.next() for _ in range(3)]
        conductor.started(tasks[0].trial)
        assert conductor.state().pending == 2
        conductor.lost(tasks[0].trial, KILLED)
        assert conductor.state().pending == 3
        for task in tasks:
            conductor.complete(finished(task))
        assert conductor.state().pending == 0


def test_a_study_stops_when_nodes_cannot_work(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, CELLS, retries=2)
        for _ in range(UNABLE_NODES):
            assert conductor.fatal is None
            conductor.unable(conductor.next().trial, "no storage on 10.0.0.7")
        assert [record.reason for record in ledger.records] == ["no storage on 10.0.0.7"] * UNABLE_NODES
        assert isinstance(conductor.fatal, ClusterError)
        assert conductor.next() is None
