"""Preparation without a cluster: what is told, what a loss means, what is started when; and one killed worker."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import torch

from neglora.artifacts import ArtifactStore
from neglora.data import ForgetSet
from neglora.mirrored import MirroredStore, open_artifacts
from neglora.prerequisites import base_of, ensure, find, retrain_of
from neglora.provenance import versions
from neglora.setting import Setting
from neglora.storage import ObjectStorage
from study.cluster import growing, preparation, waiting
from study.cluster.claim import claimed
from study.cluster.connection import connected
from study.cluster.failures import ClusterError, PreparationError, WorkersLost
from study.cluster.lost import answers, first_gone
from study.cluster.making import Dropped, Kept, Outbox, Resumed, SentCheckpoint, Trained
from study.cluster.nodes import Answer, check_nodes, complain
from study.cluster.preparation import Attempts, prepare
from tests.study.cluster.several import Watcher, process_of

STATE = {"epoch": 2, "weights": torch.arange(5.0)}


def test_an_outbox_keeps_the_newest_of_each_kind_in_their_order() -> None:
    outbox = Outbox()
    first, second = (Kept(epoch, "name", np.zeros(3, np.uint8)) for epoch in (1, 2))
    for event in (Trained(1, 4), first, Trained(2, 4), second):
        outbox.put(event)
    outbox.end()
    assert list(outbox) == [Trained(2, 4), second]


def test_a_checkpoint_that_is_worth_nothing_is_not_sent() -> None:
    outbox = Outbox()
    outbox.put(Kept(1, "name", None))
    outbox.put(Dropped("name"))
    outbox.end(ValueError("after all was taken"))
    taken = iter(outbox)
    assert next(taken) == Dropped("name")
    with pytest.raises(ValueError, match="after all was taken"):
        next(taken)


def test_a_checkpoint_travels_by_way_of_the_driver(tmp_path: Path) -> None:
    """What is sent and written elsewhere is what the next maker reads."""
    storage = ObjectStorage(f"file://{tmp_path}")
    told: list[Any] = []
    checkpoint = SentCheckpoint(storage, "base-1", 0.0, told.append)
    assert checkpoint.load() is None
    checkpoint.save(STATE)
    [kept] = told
    assert kept.epoch == 2
    assert not storage.names(), "only the driver writes"
    storage.write(kept.name, kept.data.tobytes())
    state = SentCheckpoint(storage, "base-1", 0.0, told.append).load()
    assert state is not None
    assert torch.equal(state["weights"], STATE["weights"])
    assert told[1:] == [Resumed(2)]
    checkpoint.remove()
    assert told[2:] == [Dropped(kept.name)]


SETTING = Setting("digits", "resnet_nano")
BASE, SPARSE = base_of(SETTING, 0, 0.0), base_of(SETTING, 0, 0.5)
GROUP = base_of(Setting("digits", "resnet_nano", training={"workers": 2}), 1, 0.0)


def test_what_needs_another_waits_for_it() -> None:
    waiting_ones = [Attempts(SPARSE), Attempts(BASE)]
    assert [one.wanted for one in preparation._ready(waiting_ones, [], 4)] == [BASE]
    assert not preparation._ready(waiting_ones[:1], waiting_ones[1:], 4)
    assert [one.wanted for one in preparation._ready(waiting_ones[:1], [], 4)] == [SPARSE]


def test_groups_do_not_start_half() -> None:
    assert preparation._ready([Attempts(GROUP)], [], 1), "nothing would ever come of waiting"
    assert not preparation._ready([Attempts(GROUP)], [Attempts(BASE)], 2)
    assert preparation._ready([Attempts(GROUP)], [Attempts(BASE)], 3)


def test_losses_are_counted_and_told() -> None:
    progress, one = Watcher(), Attempts(BASE, node="10.0.0.1")
    died = ray.exceptions.WorkerCrashedError()
    preparation._lost(one, preparation._loss(BASE, died), 2, progress)
    one.kept = 6
    preparation._lost(one, preparation._loss(BASE, died), 2, progress)
    assert "starts anew on another" in progress.lines[0]
    assert progress.lines[1].startswith(f"{BASE.title} lost its worker and goes on from epoch 7 on another: ")
    with pytest.raises(PreparationError, match=f"{BASE.title}: the worker was lost 3 times"):
        preparation._lost(one, preparation._loss(BASE, died), 2, progress)


def _failed(cause: Exception) -> ray.exceptions.RayTaskError:
    return ray.exceptions.RayTaskError("make", "traceback", cause, proctitle="p", pid=1, ip="1")


def test_an_error_of_the_making_is_no_loss() -> None:
    with pytest.raises(PreparationError, match="no such layer"):
        preparation._loss(BASE, _failed(ValueError("no such layer")))
    assert preparation._loss(BASE, _failed(WorkersLost("worker 1 went away"))).words == "worker 1 went away"


def test_patience() -> None:
    progress, clock = Watcher(), [0.0]
    patience = waiting.Patience(progress, lambda: clock[0])
    for clock[0], text in ((0.0, "a"), (4.0, "a"), (6.0, "a"), (8.0, "b"), (12.0, "b"), (20.0, "b"), (140.0, "b")):
        patience.say(waiting.Wait(text, 5.0))
    assert progress.lines == ["a", "b", "b"]
    patience.reset()
    patience.say(waiting.Wait("c", 5.0))
    assert progress.lines == ["a", "b", "b"]


def test_what_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 4.0}}, {"Alive": False, "Resources": {"CPU": 4.0, "GPU": 1.0}}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    wait = waiting.waited_for(1, 1, "16 trials pending")
    assert wait.text == "Waiting for a node with 1 CPU and 1 GPU: 0 nodes up, 16 trials pending"
    nodes[1]["Alive"] = True
    busy = waiting.waited_for(2, 0.5, "1 trials pending")
    assert busy.text == "Waiting for a node with free 2 CPUs and 0.5 GPU: 1 node up, 1 trials pending"
    assert busy.patience > wait.patience


def test_an_autoscaler_that_only_watches() -> None:
    assert not growing.launches([f"node_{'0f' * 28}"])
    assert not growing.launches([])
    assert not growing.launches([""])
    assert growing.launches([f"node_{'0f' * 28}", "gpu_workers"])


def test_an_autoscaler_that_has_not_reported_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.autoscaler.v2 import sdk, utils

    head = SimpleNamespace(ray_node_type_name="headgroup")
    reports = iter([[], [head]])
    monkeypatch.setattr(utils, "is_autoscaler_v2", lambda **_: True)
    monkeypatch.setattr(sdk, "get_cluster_status", lambda _: SimpleNamespace(active_nodes=next(reports), idle_nodes=[]))
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="10.0.0.1:6379"))
    assert growing.can_grow()


def test_nodes_that_cannot_take_part() -> None:
    good = Answer("10.0.0.1", versions(), None)
    complain([good], "/runs")
    with pytest.raises(ClusterError, match=r"1 of 2 nodes do not see the storage /runs \(10.0.0.2: it is not there\)"):
        complain([good, Answer("10.0.0.2", versions(), "it is not there")], "/runs")
    with pytest.raises(ClusterError, match=r"cannot read the storage s3://bucket/runs .*credentials"):
        complain([Answer("10.0.0.2", versions(), "403")], "s3://bucket/runs?region=x")
    with pytest.raises(ClusterError, match=r"torch is \S+ here .*, but 1.0 on 10.0.0.3"):
        complain([good, Answer("10.0.0.3", versions() | {"torch": "1.0"}, None)], "/runs")


def test_a_door_that_stays_shut() -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        door = server.getsockname()
        assert answers(door)
        timer = threading.Timer(0.5, over.set)
        timer.start()
        assert first_gone({"it": door}, over, shut=0.1) is None
    assert first_gone({"it": door}, threading.Event(), shut=0.1) == "it"


@pytest.mark.cluster
@pytest.mark.faults
def test_a_killed_worker_and_a_second_driver(tmp_path: Path) -> None:
    """On a Ray of this machine, with a URI: its training goes on; the study is held; this node is seen."""
    short = Setting("digits", "resnet_nano", training={"recipe": "nano", "epochs": 2, "checkpoint_minutes": 0.001})
    wanted = retrain_of(short, 0, ForgetSet((3,)))
    uri = f"file://{tmp_path}/runs"
    progress = Watcher(when=lambda title, epoch: epoch == 1, then=lambda title: process_of(f"prepare {title}").kill())
    with pytest.MonkeyPatch.context() as patch, connected(None, cpus=1, gpus=0, workers=1, verbose=False):
        patch.setenv("NEGLORA_CACHE", str(tmp_path / "cache"))
        patch.setattr("study.cluster.claim.GRACE_SECONDS", 1.0)
        with claimed(uri, "s"), pytest.raises(ClusterError, match="the study s is run by process"), claimed(uri, "s"):
            raise AssertionError("two drivers")
        with claimed(uri, "s"):
            check_nodes(uri, "s")
            check_nodes(str(tmp_path / "folder"), "s")
        prepare([wanted], uri, cpus=1, gpus=0, slots=1, retries=1, progress=progress)
        store = open_artifacts(uri, commits=True)
        made = find(wanted, store, short.load_dataset())
    assert isinstance(store, MirroredStore)
    assert progress.ready == [wanted.title]
    assert [line for line in progress.lines if "goes on from epoch" in line], progress.lines
    alone = ensure(wanted, ArtifactStore(tmp_path / "alone"), short.load_dataset())
    assert made is not None
    assert all(torch.equal(tensor, alone.tensors[name]) for name, tensor in made.tensors.items())
    assert [name for name in store.storage.names() if not name.endswith((".safetensors", "artifact.json"))] == []
