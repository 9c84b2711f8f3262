"""Trainings that are killed in the middle of an epoch and go on: same weights, and nothing believed that is damaged."""

import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from neglora.checkpoint import Checkpoint
from neglora.data import Augmentation, TensorBatches
from neglora.models import build_model
from neglora.prune import apply_masks, prune
from neglora.recipe import Recipe
from neglora.train import TrainingDiverged, train

RECIPE = Recipe(epochs=3, lr=2e-3, batch_size=16, warmup_epochs=1)


def batches() -> TensorBatches:
    """Three batches an epoch of noise, augmented."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=generator)
    augmentation = Augmentation(shift=1, flip=True, erase=0.5)
    return TensorBatches(
        images, torch.arange(40) % 2, mean=(0.5,) * 3, std=(0.5,) * 3, batch_size=16, seed=1, augmentation=augmentation
    )


def resnet_with_dropout() -> nn.Module:
    """Dropout before the classifier and stochastic depth: both draw from torch's global generator."""
    torch.manual_seed(0)
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=2, drop_rate=0.5, drop_path_rate=0.3)


def tinyvit() -> nn.Module:
    return build_model("tinyvit_nano", num_classes=2, image_size=32, channels=3, seed=0)


class Killed(Exception):
    pass


class Fatal(Checkpoint):
    """Kills the training after a write."""

    def __init__(self, *arguments, after: tuple[int, int]) -> None:
        super().__init__(*arguments)
        self.after = after

    def save(self, state) -> None:
        super().save(state)
        if (state["epoch"], state["batch"]) == self.after:
            raise Killed


def trained(make, recipe=RECIPE, checkpoint=None, masked=False):
    model = make()
    after_step = None
    if masked:
        masks = prune(model, 0.8)
        after_step = lambda: apply_masks(model, masks)  # noqa: E731
    curve = train(model, batches(), recipe, seed=7, after_step=after_step, checkpoint=checkpoint)
    return model.state_dict(), [replace(epoch, seconds=0.0) for epoch in curve]


def same(first, second) -> bool:
    return all(torch.equal(first[0][name], second[0][name]) for name in first[0]) and first[1] == second[1]


@pytest.mark.parametrize("after", [(0, 1), (1, 2), (1, 3), (2, 1)])
def test_tinyvit_goes_on_as_if_unbroken(tmp_path, after):
    whole = trained(tinyvit)
    with pytest.raises(Killed):
        trained(tinyvit, checkpoint=Fatal(tmp_path / "here" / "c", "a", 0.0, after=after))
    resumed = trained(tinyvit, checkpoint=Checkpoint(tmp_path / "here" / "c", "a", 1e9))
    assert same(resumed, whole)


@pytest.mark.parametrize("changes", [{}, {"optimizer": "sgd", "lr": 0.05, "clip_norm": 0.5, "channels_last": True}])
def test_dropout_and_stochastic_depth_go_on_too(tmp_path, changes):
    recipe = RECIPE.changed(changes)
    whole = trained(resnet_with_dropout, recipe)
    with pytest.raises(Killed):
        trained(resnet_with_dropout, recipe, Fatal(tmp_path / "c", "a", 0.0, after=(1, 1)))
    # What happened to be drawn in between must not matter.
    torch.rand(17)
    resumed = trained(resnet_with_dropout, recipe, Checkpoint(tmp_path / "c", "a", 1e9))
    assert same(resumed, whole)
    other = resnet_with_dropout()
    train(other, batches(), recipe, seed=8)
    assert not torch.equal(other.fc.weight, whole[0]["fc.weight"]), "the seed is that of dropout"


def test_a_mask_is_held_over_the_break(tmp_path):
    whole = trained(tinyvit, masked=True)
    with pytest.raises(Killed):
        trained(tinyvit, checkpoint=Fatal(tmp_path / "c", "a", 0.0, after=(1, 1)), masked=True)
    assert same(trained(tinyvit, checkpoint=Checkpoint(tmp_path / "c", "a", 0.0), masked=True), whole)


KILLED = """
import sys
from pathlib import Path
import torch
from neglora.checkpoint import Checkpoint
from tests.neglora.test_checkpoint import tinyvit, trained

torch.set_num_threads(1)

class Telling(Checkpoint):
    def save(self, state):
        super().save(state)
        if (state["epoch"], state["batch"]) == (1, 2):
            print("kept", flush=True)
            sys.stdin.read()

trained(tinyvit, checkpoint=Telling(Path(sys.argv[1]), "a", 0.0))
"""


def test_a_real_kill(tmp_path):
    """By SIGKILL, in another process, between two batches of the second epoch."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "c")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert process.stdout.readline() == "kept\n"
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    finally:
        process.kill()
        process.communicate()
    epochs = []
    model = tinyvit()
    checkpoint = Checkpoint(tmp_path / "c", "a", 1e9)
    curve = train(model, batches(), RECIPE, seed=7, checkpoint=checkpoint, on_epoch=epochs.append)
    assert [epoch.epoch for epoch in epochs] == [2, 3]
    assert same((model.state_dict(), [replace(epoch, seconds=0.0) for epoch in curve]), trained(tinyvit))


def test_keeping_does_not_change_the_training(tmp_path):
    assert same(trained(tinyvit, checkpoint=Checkpoint(tmp_path / "c", "a", 0.0)), trained(tinyvit))


def test_seconds_before_the_break_count(tmp_path):
    with pytest.raises(Killed):
        trained(tinyvit, checkpoint=Fatal(tmp_path / "c", "a", 0.0, after=(1, 2)))
    state = Checkpoint(tmp_path / "c", "a", 0.0).load()
    assert state["seconds"] > 0
    state["seconds"] += 1000.0
    Checkpoint(tmp_path / "c", "a", 0.0).save(state)
    curve = train(tinyvit(), batches(), RECIPE, seed=7, checkpoint=Checkpoint(tmp_path / "c", "a", 1e9))
    assert curve[0].seconds < 500 < 1000 < curve[1].seconds
    assert curve[2].seconds < 500
    assert asdict(curve[0]) == state["curve"][0]


STATE = {"weights": torch.arange(5.0), "epoch": 3, "curve": [{"loss": 0.5}], "betas": (0.9, 0.999), "nothing": None}


def kept(path: Path) -> Path:
    Checkpoint(path, "a", 0.0).save(STATE)
    return path


def test_what_is_kept_comes_back(tmp_path):
    state = Checkpoint(kept(tmp_path / "deep" / "er" / "c"), "a", 0.0).load()
    assert torch.equal(state.pop("weights"), STATE["weights"])
    assert state == {name: value for name, value in STATE.items() if name != "weights"}
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["c"]
    assert Checkpoint(tmp_path / "none", "a", 0.0).load() is None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "cut short": cut,
    "a bit": flip,
    "empty": lambda path: path.write_bytes(b""),
    "no checksum": lambda path: path.write_bytes(path.read_bytes().partition(b"\n")[2]),
    "another file": lambda path: path.write_text("hello\nworld"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_told_and_passed_over(tmp_path, caplog, damage):
    path = kept(tmp_path / "c")
    DAMAGES[damage](path)
    assert Checkpoint(path, "a", 0.0).load() is None
    assert "the training starts anew" in caplog.text


def test_one_of_another_training_is_passed_over(tmp_path, caplog):
    path = kept(tmp_path / "c")
    assert Checkpoint(path, "b", 0.0).load() is None
    assert "another training" in caplog.text
    assert Checkpoint(path, "a", 0.0).load() is not None


class Executed:
    def __reduce__(self):
        return (os.mkdir, (os.environ["NEGLORA_TEST_EXECUTED"],))


def test_nothing_in_a_checkpoint_is_executed(tmp_path, caplog, monkeypatch):
    """Its checksum is right, but what it holds is a call."""
    monkeypatch.setenv("NEGLORA_TEST_EXECUTED", str(tmp_path / "executed"))
    Checkpoint(tmp_path / "c", "a", 0.0).save({"weights": Executed()})
    assert Checkpoint(tmp_path / "c", "a", 0.0).load() is None
    assert "cannot be read" in caplog.text
    assert not (tmp_path / "executed").exists()


def test_a_write_that_fails_leaves_the_one_before(tmp_path, monkeypatch):
    path = kept(tmp_path / "c")

    def full_disk(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        Checkpoint(path, "a", 0.0).save({"epoch": 4})
    assert Checkpoint(path, "a", 0.0).load()["epoch"] == 3


def test_a_full_disk_does_not_end_a_training(tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    assert same(trained(tinyvit, checkpoint=Checkpoint(tmp_path / "file" / "c", "a", 0.0)), trained(tinyvit))
    assert "the training goes on" in caplog.text


def test_when_it_is_due(tmp_path):
    assert Checkpoint(tmp_path / "c", "a", 0.0).due
    checkpoint = Checkpoint(tmp_path / "c", "a", 1e-3)
    while not checkpoint.due:
        pass
    checkpoint = Checkpoint(tmp_path / "c", "a", 1e9)
    assert not checkpoint.due
    checkpoint._written -= 2e9
    assert checkpoint.due
    checkpoint.save({})
    assert not checkpoint.due, "counted from the last write"


def test_a_training_that_diverged_does_not_go_on(tmp_path):
    checkpoint = Checkpoint(tmp_path / "c", "a", 0.0)
    with pytest.raises(TrainingDiverged):
        trained(tinyvit, RECIPE.changed({"lr": 1e30}), checkpoint)
    assert not checkpoint.path.exists()
