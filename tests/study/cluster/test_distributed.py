"""A model that two workers train together by Ray Train, against one that trains it alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from ray.exceptions import RayActorError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from neglora.artifacts import ArtifactStore
from neglora.data import ForgetSet
from neglora.mirrored import open_artifacts
from neglora.prerequisites import base_of, ensure, find, retrain_of
from neglora.setting import Setting
from neglora.train import TrainingDiverged
from study.cluster.connection import connected
from study.cluster.distributed import Diverged, Done, Plan, failure_of, keeping_in_group, made_of
from study.cluster.failures import ClusterError, WorkersLost
from study.cluster.making import as_array

#: Normalized by LayerNorm alone, without dropout: what a worker computes does not depend on its share.
MODEL = "timm:test_vit"
TRAINING = {"recipe": "nano", "epochs": 3, "warmup_epochs": 1}
SPACE = {
    "study": "together",
    "datasets": ["digits"],
    "models": [MODEL],
    "replicates": {"forget": [3]},
    "search": {"trials": 1},
    "training": TRAINING | {"workers": 2},
    "methods": {"neggrad": {"lr": 1e-4}},
}


def run(folder: Path, **changes: object) -> subprocess.CompletedProcess[str]:
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE | changes))
    return subprocess.run(
        [sys.executable, "-m", "study.cli", "run", "space.yaml", "--storage", str(folder / "runs")],
        cwd=folder,
        env=os.environ | {"CI": "1", "RAY_worker_niceness": "0", "COLUMNS": "100", "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=400,
    )


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_two_workers_train_as_one(tmp_path: Path) -> None:
    """Base and Retrain: loss curve, weights; and the study goes on from them, quiet, leaving no scraps."""
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Train" not in done.stdout + done.stderr
    setting = Setting(dataset="digits", model=MODEL, training=TRAINING, holdout=0.5)
    dataset = setting.load_dataset()
    together, alone = ArtifactStore(tmp_path / "runs" / "artifacts"), ArtifactStore(tmp_path / "alone")
    names = {path.name for path in together.root.iterdir()}
    for wanted in (base_of(setting, 0, 0.0), retrain_of(setting, 0, ForgetSet((3,)))):
        made, one = find(wanted, together, dataset), ensure(wanted, alone, dataset)
        assert made is not None, f"{wanted.title} has another key"
        assert (made.facts["workers"], one.facts["workers"]) == (2, 1)
        assert len(made.facts["curve"]) == len(one.facts["curve"]) > 0
        for epoch, other in zip(made.facts["curve"], one.facts["curve"], strict=True):
            assert epoch["loss"] == pytest.approx(other["loss"], rel=1e-4)
        for name, tensor in one.tensors.items():
            assert torch.allclose(made.tensors[name], tensor, rtol=1e-2, atol=1e-3), name
        names.discard(made.key)
    assert names == {".locks"}
    [record] = [
        json.loads(line)
        for line in (tmp_path / "runs" / "together" / "ledger.jsonl").read_text().splitlines()
        if "neggrad" in json.loads(line)["trial"]
    ]
    assert record["status"] == "ok"
    assert record["metrics"]["rte"] is None, "its Retrain was trained by two"


def test_what_the_first_worker_passed_on() -> None:
    data = as_array(safetensors.torch.save({"weight": torch.arange(3.0)}))
    tensors, facts = made_of(Done(data, {"epochs": 1}))
    assert torch.equal(tensors["weight"], torch.arange(3.0))
    assert facts == {"epochs": 1}
    with pytest.raises(TrainingDiverged, match="lower the learning rate 3"):
        made_of(Diverged("lower the learning rate 3"))
    with pytest.raises(WorkersLost, match="without weights"):
        made_of(None)


def test_only_the_first_worker_of_a_group_tells(tmp_path: Path) -> None:
    """In a folder all read what was kept; on a URI they are given it."""
    told: list[Any] = []
    for place, tells, expected in (("folder", True, 1), ("folder", False, 0), ("uri", True, 1), ("uri", False, 0)):
        told.clear()
        storage = str(tmp_path / place / str(tells)) if place == "folder" else f"file://{tmp_path}/objects"
        plan = Plan({}, storage, str(tmp_path), None, SimpleNamespace(put=told.append))
        store = open_artifacts(storage, commits=False)
        checkpoint = keeping_in_group(plan, store, tells=tells)(tmp_path / place / str(tells), "base-1", 0.0)
        assert checkpoint.load() is None
        checkpoint.save({"epoch": 3})
        assert [event.epoch for event in told] == [3] * expected


def test_a_worker_that_fails_is_named_with_its_error() -> None:
    """An error that would come again is told as it is, and any other is a lost worker."""
    closed = RuntimeError("connection closed")
    failed = failure_of(WorkerGroupError("long text", {0: closed, 1: ValueError("no such layer")}))
    assert str(failed) == "ValueError on worker 1 of its training: no such layer"
    assert not isinstance(failed, WorkersLost)
    lost = failure_of(WorkerGroupError("long text", {1: RuntimeError("broken pipe"), 0: closed}))
    assert isinstance(lost, WorkersLost)
    assert str(lost) == "RuntimeError on worker 0 of its training: connection closed"
    killed = WorkerHealthCheckFailedError(
        "Worker info: much", RayActorError(error_msg="It died.\n\tip: 10.0.0.7\nEnd of file")
    )
    lost = failure_of(WorkerGroupError("long text", {0: closed, 1: killed}))
    assert isinstance(lost, WorkersLost)
    assert str(lost).startswith("worker 1 of its training: its process on 10.0.0.7 died: killed")
    crowded = failure_of(ControllerError(RuntimeError("no room")))
    assert isinstance(crowded, WorkersLost)
    assert str(crowded).startswith("ControllerError: ")


def test_more_workers_than_there_is_room_for() -> None:
    with (
        pytest.raises(ClusterError, match=r"training\.workers is 4096, with 1 CPUs each, but this machine has \d+"),
        connected(None, cpus=1, gpus=0, workers=None, verbose=False, group=4096),
    ):
        raise AssertionError("it was let in")
