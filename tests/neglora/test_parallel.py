"""Two processes that train one model (gloo, on the CPU) against one that trains it alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from neglora.checkpoint import Checkpoint
from neglora.data import Augmentation, TensorBatches
from neglora.models import build_model
from neglora.parallel import Workers
from neglora.recipe import Recipe
from neglora.train import Epoch, train

RECIPE = Recipe(epochs=3, lr=2e-3, batch_size=16, warmup_epochs=1, clip_norm=1.0)


class OneLeft:
    """Batches of which the last has a single image, so that one of two workers gets none."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(2)
        inputs = torch.randn(17, 3, 32, 32, generator=generator)
        self.batches = [(inputs[:16], torch.arange(16) % 2), (inputs[16:], torch.ones(1, dtype=torch.long))]

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number, *, start=0, rank=0, world=1):
        for inputs, labels in self.batches[start:]:
            yield inputs[rank::world], labels[rank::world]


def uneven() -> TensorBatches:
    """17 images a batch, of which two workers get 9 and 8."""
    images = torch.randint(0, 256, (51, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    augmentation = Augmentation(shift=2, flip=True)
    return TensorBatches(
        images, torch.arange(51) % 2, mean=(0.5,) * 3, std=(0.5,) * 3, batch_size=17, seed=1, augmentation=augmentation
    )


def normed() -> nn.Module:
    """LayerNorm, dropout-free: what a worker computes does not depend on its share's other images."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 4), nn.Flatten(), nn.LayerNorm(512), nn.Linear(512, 32), nn.GELU(), nn.Linear(32, 2)
    )


def with_batchnorm() -> nn.Module:
    return build_model("resnet_nano", num_classes=2, image_size=32, channels=3, seed=0)


CASES = {"uneven": (normed, uneven), "one left": (normed, OneLeft), "batchnorm": (with_batchnorm, OneLeft)}


def run(case: str, checkpoint: Checkpoint | None = None) -> tuple[dict[str, Tensor], list[Epoch]]:
    make, batches = CASES[case]
    model = make()
    curve = train(model, batches(), RECIPE, seed=3, checkpoint=checkpoint)
    return model.state_dict(), curve


RUNS = ("uneven none", "one left none", "batchnorm none", "uneven keep", "uneven resume", "uneven torn")
WORKER = """
import sys
from pathlib import Path
import torch
from torch import distributed
from neglora.checkpoint import Checkpoint
from neglora.parallel import Workers
from tests.neglora.test_parallel import RUNS, run

rank, world, folder = int(sys.argv[1]), 2, Path(sys.argv[2])
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
assert Workers.of_this_process() == Workers(rank, world)

class Once(Checkpoint):
    def save(self, state):
        if (state["epoch"], state["batch"]) == (1, 2) and not self.path.exists():
            super().save(state)

for name in RUNS:
    case, _, keep = name.rpartition(" ")
    checkpoint = None if keep == "none" else Once(folder / "checkpoint", case, 0.0)
    if keep == "torn" and rank == 1:
        checkpoint.path = folder / "absent"
    distributed.barrier()
    weights, curve = run(case, checkpoint)
    told = {"weights": weights, "curve": [(epoch.loss, epoch.accuracy) for epoch in curve]}
    torch.save(told | {"seconds": [epoch.seconds for epoch in curve]}, folder / f"{name} {rank}")
distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """What each of two processes came to in every run; they are started once, since that takes seconds."""
    folder = tmp_path_factory.mktemp("together")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(folder)],
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        told = [process.communicate(timeout=200)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(told)
    return {name: [torch.load(folder / f"{name} {rank}", weights_only=True) for rank in range(2)] for name in RUNS}


def close(one: dict, weights: dict[str, Tensor]) -> bool:
    return all(torch.allclose(one["weights"][name], weights[name], rtol=1e-3, atol=1e-5) for name in weights)


@pytest.mark.parametrize("case", ["uneven", "one left"])
def test_two_train_as_one(together, case):
    """Shares of unequal size weigh as their images do, in the gradient and in the curve."""
    weights, curve = run(case)
    first, second = together[f"{case} none"]
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in weights)
    assert first["curve"] == second["curve"]
    for (loss, accuracy), epoch in zip(first["curve"], curve, strict=True):
        assert loss == pytest.approx(epoch.loss, rel=1e-4)
        assert accuracy == epoch.accuracy
    assert close(first, weights)
    assert not close(first, CASES[case][0]().state_dict()), "it learned"


def test_a_worker_without_an_image_trains_batchnorm_too(together):
    first, second = together["batchnorm none"]
    parameters = [name for name in first["weights"] if "running" not in name and "tracked" not in name]
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in parameters)
    assert all(torch.isfinite(tensor).all() for tensor in first["weights"].values())


def test_they_go_on_together_in_the_middle_of_an_epoch(together):
    whole = together["uneven keep"]
    resumed = together["uneven resume"]
    for one, other in zip(resumed, whole, strict=True):
        assert all(torch.equal(one["weights"][name], other["weights"][name]) for name in other["weights"])
        assert one["curve"] == other["curve"]
    assert resumed[0]["seconds"][0] == resumed[1]["seconds"][0] == whole[0]["seconds"][0], "not trained again"


def test_they_begin_anew_where_one_lacks_the_checkpoint(together):
    whole = together["uneven keep"]
    torn = together["uneven torn"]
    assert all(torch.equal(torn[1]["weights"][name], whole[1]["weights"][name]) for name in whole[1]["weights"])
    assert torn[0]["seconds"][0] != whole[0]["seconds"][0], "trained again"


def test_alone_there_is_nothing_to_share():
    workers = Workers.of_this_process()
    model = normed()
    figures = torch.tensor([1.0, 2.0])
    assert workers == Workers(0, 1)
    assert workers.joined(model) is model
    assert workers.filled(torch.zeros(1, 3, 2, 2)).shape == (1, 3, 2, 2)
    assert torch.equal(workers.add_up(figures), torch.tensor([1.0, 2.0]))
    assert workers.agree(5, torch.device("cpu"))


def test_a_share_is_filled_up_to_two():
    workers = Workers(1, 2)
    inputs = torch.ones(3, 3, 2, 2)
    assert workers.filled(inputs) is inputs
    assert workers.filled(inputs[:1]).flatten(1).mean(1).tolist() == [1.0, 0.0]
    assert workers.filled(inputs[:0]).shape == (2, 3, 2, 2)
