"""The conductor over two small cells, without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from neglora.record import Record, cell_id, trial_id
from neglora.setting import Setting
from neglora.trial import Stop, Task
from study.cluster.conductor import UNABLE_NODES, Conductor
from study.cluster.failures import ClusterError
from study.cluster.losses import Loss
from study.cluster.rounds import Key, Rounds, key_of
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
    return Record(
        task.trial,
        task.cell,
        task.params,
        "ok",
        fidelity=task.fidelity,
        metrics={"ua": 0.5, "gap": 0.1},
        sampler=task.sampler or {},
    )


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


def in_full(records: Sequence[Record]) -> list[Task]:
    """Trials 0 and 1 of a cell, then trial 3, then no more. What was measured of a round is proposed again."""
    again = [
        Task(record.trial, record.cell, record.params, Setting("digits", "tinyvit_nano"), ((3, 0),), fidelity="full")
        for record in records
        if record.fidelity == "search"
    ]
    done = {record.number for record in records if record.fidelity == "full"}
    return [task for task in again if task.trial[-4:] in (("0000", "0001") if not done >= {0, 1} else ("0003",))]


def rounds(*cells: SmallCell) -> list[Rounds]:
    return [Rounds([cell.id], "full", in_full) for cell in cells]


def lines(ledger: Ledger) -> list[tuple[int, str]]:
    return [(record.number, record.fidelity) for record in ledger.records]


def run_out(conductor: Conductor) -> None:
    while not conductor.finished:
        task = conductor.next()
        if task:
            conductor.complete(*ended(task))


def test_trials_are_measured_once_more_round_by_round_when_their_search_has_ended(tmp_path):
    cell = SmallCell("neglora", trials=4)
    with Ledger.open(tmp_path) as ledger:
        conductor, listener = conduct(ledger, [cell], rounds=rounds(cell))
        for number in range(4):
            task = conductor.next()
            assert (task.trial[-4:], task.fidelity) == (f"000{number}", "search")
            conductor.complete(*ended(task))
        assert conductor.remaining == 2
        first, second = conductor.next(), conductor.next()
        assert [key_of(task) for task in (first, second)] == [(f"{cell.id}-0000", "full"), (f"{cell.id}-0001", "full")]
        assert conductor.next() is None, "the next round follows from both"
        conductor.complete(*ended(first))
        assert conductor.next() is None
        assert str(conductor.state().again[0]) == "confirming 1 of 2 in full"
        conductor.complete(*ended(second))
        third = conductor.next()
        assert str(conductor.state().again[0]) == "confirming 2 of 3 in full"
        conductor.complete(*ended(third))
        assert not conductor.finished
        assert conductor.next() is None
        assert conductor.finished
        assert lines(ledger)[4:] == [(0, "full"), (1, "full"), (3, "full")]
        assert str(listener.states[-1].again[0]) == "confirmed 3 of 3 in full"
        assert [cell.done for cell in listener.states[-1].cells] == [4]
        assert conductor.remaining == 0


def test_searches_fill_the_gaps_of_what_is_measured_once_more(tmp_path):
    quick, slow = SmallCell("neggrad", trials=2), SmallCell("neglora", trials=4)
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, [quick, slow], rounds=rounds(quick, slow))
        for task in [conductor.next() for _ in range(4)]:
            conductor.complete(*ended(task))
        tasks = [conductor.next() for _ in range(4)]
        assert [(task.cell["method"], task.fidelity) for task in tasks] == [
            ("neggrad", "full"),
            ("neggrad", "full"),
            ("neglora", "search"),
            ("neglora", "search"),
        ]
        for task in tasks:
            conductor.complete(*ended(task))
        run_out(conductor)
        assert len(ledger.records) == 2 + 4 + 2 + 3


def test_a_kill_between_any_two_lines_changes_nothing(tmp_path):
    cell = SmallCell("neglora", trials=4)
    with Ledger.open(tmp_path / "whole") as ledger:
        run_out(conduct(ledger, [cell], rounds=rounds(cell))[0])
        whole = ledger.records
    assert len(whole) == 7
    for count in range(len(whole) + 1):
        with Ledger.open(tmp_path / str(count)) as ledger:
            for record in whole[:count]:
                ledger.append(record)
            conductor, _ = conduct(ledger, [cell], rounds=rounds(cell))
            run_out(conductor)
            assert lines(ledger) == [(record.number, record.fidelity) for record in whole]
            assert [record.params for record in ledger.records] == [record.params for record in whole]


def test_a_measurement_that_fails_is_recorded_and_not_asked_for_again(tmp_path):
    cell = SmallCell("neglora", trials=4)
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, [cell], rounds=rounds(cell))
        for _ in range(4):
            conductor.complete(*ended(conductor.next()))
        task = conductor.next()
        conductor.lost(key_of(task), KILLED)
        run_out(conductor)
        assert [(record.number, record.status) for record in ledger.records if record.fidelity == "full"] == [
            (0, "failed"),
            (1, "ok"),
            (3, "ok"),
        ]
        assert conductor.state().cells[0].failed == 1
    with Ledger.open(tmp_path) as ledger:
        assert conduct(ledger, [cell], rounds=rounds(cell))[0].next() is None
        assert [record.fidelity for record in ledger.set_failed_aside()] == ["full"]
        assert key_of(conduct(ledger, [cell], rounds=rounds(cell))[0].next()) == key_of(task)


def test_a_late_end_of_the_search_is_not_taken_for_the_measurement_in_full(tmp_path):
    cell = SmallCell("neglora", trials=2)
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, [cell], rounds=rounds(cell), retries=1)
        searched = [conductor.next() for _ in range(2)]
        conductor.lost(key_of(searched[0]), KILLED)
        assert conductor.next() == searched[0]
        for task in searched:
            conductor.complete(*ended(task))
        again = conductor.next()
        assert again.trial == searched[0].trial
        assert not conductor.complete(*ended(searched[0]))
        conductor.lost(key_of(searched[0]), KILLED)
        assert conductor.complete(*ended(again))
        assert lines(ledger)[-1] == (0, "full")


def test_first_trials_of_some_cells_may_come_before_everything_else(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        conductor, _ = conduct(ledger, CELLS, rounds=rounds(*CELLS))
        conductor.first = {CELLS[1].id}
        task = conductor.next()
        assert task.cell["method"] == "neglora"
        assert conductor.next() is None
        assert not conductor.finished
        conductor.complete(*ended(task))
        assert conductor.next() is None
        assert conductor.finished
        conductor.first = None
        task = conductor.next()
        assert (task.cell["method"], conductor.finished) == ("neggrad", False)
        conductor.complete(*ended(task))
        run_out(conductor)
        assert len(ledger.records) == 12 + 2 * 3
