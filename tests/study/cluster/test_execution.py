"""How a study finds the share of a GPU that a trial gets: with a cluster that is made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from test_conductor import Listener

from neglora.record import Record
from study.cluster import execution
from study.cluster.conductor import Conductor
from study.cluster.connection import Cluster, has_gpus
from study.cluster.execution import RunOptions, searches_of
from study.cluster.rounds import key_of
from study.cluster.tasks import Tasks
from study.ledger import Ledger
from study.space import Space, parse_space

GIB = 2**30


def space_of(gpus: Any) -> Space:
    plain = {
        "study": "shared",
        "datasets": ["digits"],
        "models": ["tinyvit_nano"],
        "replicates": {"forget": [3]},
        "search": {"trials": 4},
        "resources": {"gpus": gpus},
        "methods": {"neggrad": {"lr": {"log": [1e-5, 1e-3]}}, "neglora": {"rank": [2, 4, 8, 16]}},
    }
    return parse_space(yaml.safe_dump(plain), "a.yaml")


class Study:
    """A study on made-up GPUs of 80 GiB, whose trials take 10 GiB each."""

    def __init__(self, ledger: Ledger, folder: Any, gpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.space, self.listener = space_of(gpus), Listener()
        tasks = Tasks(self.space, folder)
        self.conductor = Conductor(searches_of(self.space, ledger), ledger, tasks.searched, self.listener)
        self.runs: list[tuple[float, int]] = []
        monkeypatch.setattr(execution, "_tune", self.tune)
        monkeypatch.setattr(execution, "sharing", self.sharing)

    def tune(self, space: Space, conductor: Conductor, cluster: Cluster, options: RunOptions) -> None:
        count = 0
        while task := conductor.next():
            count += 1
            cost = {"peak_memory_bytes": 10 * GIB, "device_memory_bytes": 80 * GIB}
            record = Record(task.trial, task.cell, task.params, "ok", metrics={"ua": 0.5}, cost=cost)
            conductor.complete(key_of(task), [record])
        assert conductor.finished
        self.runs.append((cluster.gpus, count))

    def sharing(self, cluster: Cluster, *, gpus: float, **_: Any) -> Cluster:
        return Cluster(cluster.dashboard, int(2 / gpus), None, gpus=gpus)

    def run(self, cluster: Cluster) -> Cluster:
        options = RunOptions("runs")
        shared = execution._shared(self.space, self.conductor, cluster, options)
        execution._run(self.space, self.conductor, shared, options)
        return shared


TWO_GPUS = Cluster(None, 2, None, gpus=1.0)


def test_first_trials_are_measured_and_then_as_many_share_a_gpu_as_fit(tmp_path, monkeypatch):
    with Ledger.open(tmp_path) as ledger:
        study = Study(ledger, tmp_path, "auto", monkeypatch)
        assert study.run(TWO_GPUS).slots == 12
        assert study.runs == [(1.0, 3), (0.1666, 6)], "one trial each of Retrain and two methods, and then the rest"
        assert study.listener.said == [
            "resources.gpus is auto: the first trial of each method has a GPU of its own",
            "6 trials share a GPU: the most that one took is 10.0 of 80.0 GiB",
        ]


def test_what_the_ledger_knows_is_not_measured_again(tmp_path, monkeypatch):
    with Ledger.open(tmp_path) as ledger:
        Study(ledger, tmp_path, "auto", monkeypatch).run(TWO_GPUS)
        kept = [record for record in ledger.records if record.number == 0]
    again = tmp_path / "again"
    with Ledger.open(again) as ledger:
        for record in kept:
            ledger.append(record)
        study = Study(ledger, again, "auto", monkeypatch)
        study.run(TWO_GPUS)
        assert study.runs == [(0.1666, 6)]


def test_without_a_gpu_auto_is_none_and_told(tmp_path, monkeypatch):
    with Ledger.open(tmp_path) as ledger:
        study = Study(ledger, tmp_path, "auto", monkeypatch)
        study.run(Cluster(None, 2, None, gpus=0.0))
        assert study.runs == [(0.0, 9)]
        assert study.listener.said == ["resources.gpus is auto, and no node has a GPU: trials run without"]


def test_a_share_that_is_given_is_kept(tmp_path, monkeypatch):
    with Ledger.open(tmp_path) as ledger:
        study = Study(ledger, tmp_path, 0.5, monkeypatch)
        study.run(Cluster(None, 4, None, gpus=0.5))
        assert study.runs == [(0.5, 9)]
        assert study.listener.said == []


@pytest.mark.parametrize(
    ("nodes", "found"),
    [([], False), ([(True, {"CPU": 4.0})], False), ([(True, {"GPU": 1.0})], True), ([(False, {"GPU": 1.0})], False)],
)
def test_a_cluster_has_gpus_where_a_living_node_has_one(nodes, found):
    ray = SimpleNamespace(nodes=lambda: [{"Alive": alive, "Resources": resources} for alive, resources in nodes])
    assert has_gpus(ray) is found
