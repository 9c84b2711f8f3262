"""Preparation on several nodes that are lost while they work, on a folder that all see and on a URI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from neglora.artifacts import ArtifactStore
from neglora.mirrored import open_artifacts
from neglora.prerequisites import base_of, ensure, find
from neglora.setting import Setting
from study.cluster.preparation import prepare
from tests.s3 import S3
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
    left = open_artifacts(storage, commits=True)
    names = left.storage.names("artifacts") if hasattr(left, "storage") else [p.name for p in left.root.iterdir()]
    assert not [name for name in names if "partial" in name]
