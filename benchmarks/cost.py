"""What a search space costs, by counting: cells, trials, and GPU-hours at an assumed pace.

    python benchmarks/cost.py search_spaces/*.yaml

The multiply-accumulates of one forward pass are counted on torch's meta device, so that no image, weight or GPU is
needed. A training step counts as three forward passes, an evaluation as one over all images, as a trial makes it. The
headers of `search_spaces/` hold what this prints; a test compares them.

The hours are an ESTIMATE: the paces are assumed, the same for every model, and neither decoding images nor start-up
nor the membership attack is counted.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from neglora.data import DataOptions, find_dataset
from neglora.models import find_model, model_shape
from neglora.recipe import Recipe
from neglora.recipes import load_recipe
from study.dimensions import Choice
from study.space import Cell, Space, load_space

#: Training and test images. ImageNet100 has at most 1,300 and exactly 50 a class.
IMAGES: dict[str, tuple[int, int]] = {
    "cifar10": (50_000, 10_000),
    "cifar100": (50_000, 10_000),
    "imagenet100": (130_000, 5_000),
    "digits": (1_257, 540),
}
#: Floating-point operations a second that a GPU is assumed to sustain; two make a multiply-accumulate. Trials are
#: measured in float32, which keeps their logits exact.
PACE_BF16, PACE_FLOAT32 = 20e12, 10e12
#: Forward passes that a training step costs, at the pace of bf16; an evaluation is one at that of float32.
TRAINING, EVALUATION = 3, PACE_BF16 / PACE_FLOAT32


@dataclass(frozen=True)
class Cost:
    """What a space costs.

    Attributes:
        cells, trials, replicates: how many; each trial unlearns every replicate.
        preparing, trying: GPU-hours of base, sparse and retrained models, and of trials.
    """

    cells: int
    trials: int
    replicates: int
    preparing: float
    trying: float

    @property
    def header(self) -> str:
        """As the header of a search space has it."""
        return (
            f"Costs: {self.cells} cells, {self.trials:,} trials, each unlearning {self.replicates} times. "
            f"GPU-hours, an ESTIMATE (benchmarks/cost.py) at {PACE_BF16 / 1e12:g} TFLOP/s in training and "
            f"{PACE_FLOAT32 / 1e12:g} in evaluation: {_rounded(self.preparing)} for base, sparse and retrained models, "
            f"{_rounded(self.trying)} for trials."
        )


def cost_of(space: Space) -> Cost:
    """Count what a space costs.

    Raises:
        KeyError: a dataset whose number of images is not known here.
    """
    cells = space.cells()
    pairs = len(space.replicates.forget) * len(space.replicates.seeds)
    seconds = {"preparing": 0.0, "trying": 0.0}
    for dataset in space.datasets:
        for model in space.models:
            own = [cell for cell in cells if (cell.dataset, cell.model) == (dataset, model)]
            forward = seconds_a_pass(dataset, model, space.architecture, space.data.image_size)
            seconds["preparing"] += forward * _prepared(space, dataset, model)
            seconds["trying"] += forward * pairs * sum(_tried(cell, dataset) for cell in own)
    hours = {name: value / 3600 for name, value in seconds.items()}
    return Cost(len(cells), sum(cell.trials for cell in cells), pairs, **hours)


def seconds_a_pass(dataset: str, model: str, options: Mapping[str, str], image_size: int | None = None) -> float:
    """Seconds of one image's forward pass in bf16."""
    entry = find_dataset(dataset)
    if entry is None:
        raise KeyError(dataset)
    info = entry.info(DataOptions(image_size=image_size))
    shape = model_shape(
        model, num_classes=info.num_classes, image_size=info.image_size, channels=info.channels, options=options
    )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shape(torch.empty(1, info.channels, info.image_size, info.image_size, device="meta"))
    return float(counter.get_total_flops() / PACE_BF16)


def _prepared(space: Space, dataset: str, model: str) -> float:
    """Forward passes of one image, as of bf16, that base, sparse and retrained models take."""
    train, test = IMAGES[dataset]
    recipe = _recipe(space, model)
    seeds, forgets = len(space.replicates.seeds), len(space.replicates.forget)
    sparse = sum(level > 0 for level in space.sparsities(dataset, model))
    retained = train - _forgotten(dataset)
    epochs = recipe.epochs * (train + forgets * retained) + sparse * recipe.recovery_epochs * train
    models = 1 + sparse + forgets
    return seeds * (TRAINING * epochs + models * EVALUATION * (train + test))


def _tried(cell: Cell, dataset: str) -> float:
    """Forward passes of one image, as of bf16, that a cell's trials take on one replicate."""
    train, test = IMAGES[dataset]
    searched = cell.dimensions.get("epochs")
    # Where epochs are searched, the most of them; Retrain has none.
    most = max(searched.values) if isinstance(searched, Choice) else searched.high if searched else 0
    epochs = cell.fixed.get("epochs", most)
    return cell.trials * (TRAINING * epochs * _forgotten(dataset) + EVALUATION * (train + test))


def _forgotten(dataset: str) -> float:
    """Images of one class."""
    entry = find_dataset(dataset)
    if entry is None:
        raise KeyError(dataset)
    return IMAGES[dataset][0] / entry.info(DataOptions()).num_classes


def _recipe(space: Space, model: str) -> Recipe:
    entry = find_model(model)
    if entry is None:
        raise KeyError(model)
    training = {name: value for name, value in space.resolved()["training"].items() if value is not None}
    recipe = load_recipe(training.get("recipe", entry.recipe)).recipe
    own = Recipe.__dataclass_fields__
    return recipe.changed({name: value for name, value in training.items() if name in own})


def _rounded(hours: float) -> str:
    """Two digits: it is an estimate."""
    return f"{float(f'{hours:.2g}'):,g}"


def main(paths: list[str]) -> None:
    print(
        f"assumed, not measured: {PACE_BF16 / 1e12:g} TFLOP/s sustained in bf16 (training), "
        f"{PACE_FLOAT32 / 1e12:g} in float32 (evaluation)"
    )
    for path in paths:
        print(f"{path}\n  {cost_of(load_space(Path(path))).header}")


if __name__ == "__main__":
    main(sys.argv[1:])
