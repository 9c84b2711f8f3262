"""Preparation on several nodes that are lost while they work, on a folder that all see and on a URI."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from neglora.artifacts import ArtifactStore
from neglora.mirrored import MirroredStore, Packed, open_artifacts
from neglora.prerequisites import base_of, ensure, find
from neglora.setting import Setting
from study.cluster.making import Finished, Resumed, Trained, make
from study.cluster.preparation import prepare
from study.place import Place
from tests.s3 import ENVIRONMENT, S3
from tests.study.cluster.several import Watcher, cluster_of, node_of, process_of

pytestmark = [pytest.mark.faults, pytest.mark.cluster, pytest.mark.timeout(600)]

SETTING = Setting("digits", "resnet_nano", training={"recipe": "nano", "epochs": 4, "checkpoint_minutes": 0.005})
WANTED = base_of(SETTING, 0, 0.0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return ensure(WANTED, ArtifactStore(tmp_path_factory.mktemp("alone")), SETTING.load_dataset()).tensors


@pytest.fixture(params=["folder", "uri"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, s3: S3) -> str:
    return str(tmp_path / "runs") if request.param == "folder" else s3.uri()


def test_a_node_that_is_lost_is_no_loss(storage: str, undisturbed: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """The other node goes on from the last checkpoint, and ends with the weights of an undisturbed training."""
    import ray

    with cluster_of(2, tmp_path) as cluster:

        def lose(title: str) -> None:
            cluster.remove_node(node_of(cluster, process_of(f"prepare {title}")), allow_graceful=False)

        progress = Watcher(when=lambda title, epoch: epoch >= 2, then=lose)
        ray.init(cluster.address, log_to_driver=False)
        try:
            prepare([WANTED], storage, cpus=1, gpus=0, slots=2, retries=1, progress=progress)
        finally:
            ray.shutdown()
    assert progress.ready == [WANTED.title]
    [lost] = [line for line in progress.lines if "lost its worker" in line]
    assert "goes on from epoch" in lost
    assert "its machine" in lost
    made = find(WANTED, open_artifacts(storage, commits=True), SETTING.load_dataset())
    assert made is not None
    assert all(torch.equal(tensor, undisturbed[name]) for name, tensor in made.tensors.items())
    assert made.facts["epochs"] == 4
    store = open_artifacts(storage, commits=True)
    names = store.storage.names() if isinstance(store, MirroredStore) else os.listdir(store.root)
    assert names
    assert not [name for name in names if "partial" in name]


def test_nodes_that_share_nothing_but_a_uri(s3: S3, tmp_path: Path) -> None:
    """A whole study through the command line: every trial once in the ledger, no credentials in the storage."""
    space = {
        "study": "apart",
        "datasets": ["digits"],
        "models": ["resnet_nano"],
        "replicates": {"forget": [3], "seeds": [0]},
        "search": {"sampler": "random", "trials": 4},
        "training": {"epochs": 1, "recovery_epochs": 1},
        "methods": {"neggrad": {"lr": {"log": [1e-5, 1e-3]}, "sparsity": [0.0, 0.5]}},
    }
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    uri = s3.uri()
    with cluster_of(2, tmp_path) as cluster:
        done = subprocess.run(
            [*(sys.executable, "-m", "study.cli", "run", "space.yaml"), "--storage", uri, "--address", cluster.address],
            cwd=tmp_path,
            env=os.environ | {"CI": "1", "COLUMNS": "100", "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            timeout=500,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    trials = [record.trial for record in Place(uri, "apart").read_ledger()]
    assert len(trials) == len(set(trials)) == 5
    store = open_artifacts(uri, commits=True)
    assert isinstance(store, MirroredStore)
    names = store.storage.names()
    assert sum(name.endswith("/artifact.json") for name in names) == 3
    assert not [name for name in names if "partial" in name or "seen" in name or "tune" in name]
    secret = ENVIRONMENT["AWS_SECRET_ACCESS_KEY"].encode()
    assert not [name for name in names if not name.endswith(".safetensors") and secret in store.storage.read(name)]
    for number in range(2):
        assert list(tmp_path.glob(f"cache-{number}/**/*.safetensors")), "a node that did nothing"


def test_eight_that_want_the_same_and_the_first_is_killed(
    storage: str, undisturbed: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """In a folder one trains while the others wait, and one of them goes on; on a URI one commit wins."""
    import ray

    with cluster_of(2, tmp_path) as cluster:
        ray.init(cluster.address, log_to_driver=False)
        try:
            told = _race(8, storage)
        finally:
            ray.shutdown()
    whole = [events for events in told if not isinstance(events[-1], Exception)]
    assert len(whole) == 7, "one was killed"
    store = open_artifacts(storage, commits=True)
    if not isinstance(store, MirroredStore):
        trained = [events for events in told if any(isinstance(event, Trained) for event in events)]
        assert len(trained) == 2
        assert any(isinstance(event, Resumed) for event in trained[-1] + trained[0])
        assert sorted(os.listdir(store.root)) == [".locks", os.listdir(store.root / ".locks")[0].removesuffix(".lock")]
    else:
        packed = [event for events in whole for event in events if isinstance(event, Finished)]
        assert len(packed) == 7
        with ThreadPoolExecutor(7) as pool:
            list(pool.map(lambda each: store.commit(Packed(each.key, each.description, each.weights)), packed))
        names = [name for name in store.storage.names() if "partial" not in name]
        assert len(names) == 2, names
    made = find(WANTED, open_artifacts(storage, commits=True), SETTING.load_dataset())
    assert made is not None
    assert all(torch.equal(tensor, undisturbed[name]) for name, tensor in made.tensors.items())


def _race(count: int, storage: str) -> list[list[Any]]:
    """What so many tasks told; the first one that trained is killed after an epoch."""
    import ray

    task = ray.remote(make)
    streams = {
        task.options(num_cpus=0.25, name=f"racer {number}", max_retries=0, num_returns="streaming").remote(
            asdict(WANTED), storage, {"cpus": 1, "gpus": 0}
        ): number
        for number in range(count)
    }
    told: list[list[Any]] = [[] for _ in streams]
    alive = True
    while streams:
        for stream in ray.wait(list(streams), num_returns=1, timeout=1.0)[0]:
            number = streams[stream]
            try:
                event = ray.get(next(stream))
            except StopIteration:
                del streams[stream]
                continue
            except ray.exceptions.RayError as error:
                del streams[stream]
                told[number].append(error)
                continue
            # The weights outlive the cluster.
            if isinstance(event, Finished):
                event = replace(event, weights=event.weights.tobytes())
            told[number].append(event)
            if alive and isinstance(event, Trained):
                process_of(f"racer {number}").kill()
                alive = False
    return told
