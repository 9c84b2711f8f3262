"""Tune's hooks against a conductor of cells that are quick, without a cluster."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.search import Searcher
from test_conductor import CELLS, SmallCell, conduct, finished

from study.cluster.searcher import INBOXES, LIVE, ConductedCallback, ConductedSearcher, StopWhenFatal, Unspoken
from study.cluster.workers import Parcel, unpack
from study.ledger import Ledger


class Hooked:
    """A conductor with the hooks that Tune would call."""

    def __init__(self, ledger: Any, cells: list[SmallCell], **options: Any) -> None:
        self.kept: list[Any] = []
        self.conductor, self.listener = conduct(ledger, cells, keep=self.kept.append, **options)
        LIVE["here"] = self.conductor
        self.count = 0
        self.searcher, self.callback = ConductedSearcher("here", {"storage": "runs"}), ConductedCallback("here")

    def start(self) -> SimpleNamespace:
        """The next trial, as Tune holds it."""
        self.count += 1
        name = f"id-{self.count}"
        trial = SimpleNamespace(config=self.searcher.suggest(name), error_file=None, trial_id=name)
        self.callback.on_trial_start(0, [], trial)
        return trial

    def result(self, trial: SimpleNamespace, **changes: Any) -> dict[str, Any]:
        """What Tune keeps of a result, after it was shown and told."""
        kept = self.arrive(trial, **changes)
        for _ in range(2):
            self.callback.on_step_end(0, [])
        return kept

    def arrive(self, trial: SimpleNamespace, **changes: Any) -> dict[str, Any]:
        """What Tune keeps of a result, after it was shown."""
        lines = [finished(unpack(trial.config["task"])).to_line()]
        result = {
            "lines": lines,
            "adapters": Parcel({}),
            "unable": None,
            "config": trial.config,
            "done": True,
        } | changes
        self.callback.on_trial_result(0, [], trial, result)
        return result


@pytest.fixture(autouse=True)
def forget():
    yield
    LIVE.clear()
    INBOXES.clear()


def test_a_result_is_recorded_and_tune_keeps_next_to_nothing_of_it(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        hooked = Hooked(ledger, CELLS)
        trial = hooked.start()
        assert hooked.result(trial, adapters=Parcel({"a.safetensors": b"x"})) == {"done": True}
        assert [record.trial for record in ledger.records] == [trial.config["task"]["trial"]]
        assert hooked.kept == [{"a.safetensors": b"x"}]
        hooked.result(trial, adapters=Parcel({"a.safetensors": b"y"}))
        assert (len(ledger.records), len(hooked.kept)) == (1, 1), "an attempt that ends later adds nothing"


def test_a_lost_trial_is_suggested_again_and_then_recorded_with_what_tune_wrote(tmp_path):
    error = tmp_path / "error.txt"
    error.write_text(
        "Failure # 1 (occurred at now)\nThe actor died.\n\tip: 10.0.0.7\nThe process receives a SIGTERM.\n"
    )
    with Ledger.open(tmp_path) as ledger:
        hooked = Hooked(ledger, CELLS, retries=1)
        first = hooked.start()
        first.error_file = str(error)
        hooked.callback.on_trial_error(0, [], first)
        again = hooked.start()
        assert again.config == first.config
        again.error_file = str(tmp_path / "never written")
        hooked.callback.on_trial_error(0, [], again)
        [record] = ledger.records
        assert record.reason == (
            "the worker was lost twice: its process on 10.0.0.7 was stopped (SIGTERM); then Ray gives no reason"
        )


def test_a_worker_gets_its_next_trial_before_its_result_is_told(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        hooked = Hooked(ledger, CELLS)
        first, second = hooked.start(), hooked.start()
        hooked.arrive(first)
        hooked.callback.on_step_end(0, [])
        assert not ledger.records, "in the step that begins now, its worker gets a trial"
        hooked.arrive(second)
        hooked.callback.on_step_end(0, [])
        assert [record.trial for record in ledger.records] == [first.config["task"]["trial"]]
        hooked.callback.on_step_end(0, [])
        assert len(ledger.records) == 2


def test_results_are_told_at_once_where_tune_has_no_trial_left(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        hooked = Hooked(ledger, [SmallCell("neggrad", trials=2)])
        first, second = hooked.start(), hooked.start()
        hooked.arrive(first)
        assert hooked.searcher.suggest("id") is None
        assert not ledger.records
        hooked.arrive(second)
        assert hooked.searcher.suggest("id") == Searcher.FINISHED
        assert len(ledger.records) == 2


def test_nothing_is_kept_to_be_printed():
    callback = Unspoken()
    trial = SimpleNamespace(trial_id="id", last_result={"done": True})
    before = {name: len(value) for name, value in vars(callback).items() if isinstance(value, dict | set)}
    callback.on_trial_result(0, [], trial, {"done": True})
    callback.on_trial_complete(0, [], trial)
    callback.on_trial_error(0, [], trial)
    assert {name: len(value) for name, value in vars(callback).items() if isinstance(value, dict | set)} == before


def test_it_waits_while_trials_run_and_then_it_has_finished(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        hooked = Hooked(ledger, [SmallCell("neggrad", trials=1)])
        trial = hooked.start()
        assert hooked.searcher.suggest("id") is None
        hooked.result(trial)
        assert hooked.searcher.suggest("id") == Searcher.FINISHED


def test_a_run_stops_when_nodes_cannot_work(tmp_path: Path):
    with Ledger.open(tmp_path) as ledger:
        hooked = Hooked(ledger, CELLS)
        stop = StopWhenFatal("here")
        for _ in range(3):
            assert not stop.stop_all()
            hooked.result(hooked.start(), lines=[], unable="no storage")
        assert stop.stop_all()
        assert hooked.searcher.suggest("id") == Searcher.FINISHED
