"""The supervised loop: base models, recovery after pruning, and retraining from scratch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from neglora.data import TrainingBatches


class TrainingDiverged(RuntimeError):
    """The training loss became infinite or NaN."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    AdamW with linear warm-up and cosine decay to zero; weight decay on matrices and kernels only.

    Attributes:
        epochs: passes over the training images.
        lr: peak learning rate.
        batch_size: images a step.
        weight_decay: AdamW's decoupled decay.
        warmup_epochs: epochs of linear warm-up, within `epochs`.
        pruning: `magnitude` or `structured`, for sparse bases.
        recovery_epochs, recovery_lr: fine-tuning after pruning, with the mask held.
    """

    epochs: int = 15
    lr: float = 2e-3
    batch_size: int = 64
    weight_decay: float = 0.05
    warmup_epochs: int = 2
    pruning: str = "magnitude"
    recovery_epochs: int = 5
    recovery_lr: float = 1e-3

    def changed(self, changes: Mapping[str, Any]) -> Recipe:
        """This recipe with the fields that are not None in `changes` replaced."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    @property
    def recovery(self) -> Recipe:
        """The recipe of the fine-tuning after pruning."""
        warmup = min(self.warmup_epochs, 1)
        return replace(self, epochs=self.recovery_epochs, lr=self.recovery_lr, warmup_epochs=warmup)


def recipe_of(model: str) -> Recipe:
    """What a model is trained with unless a study says otherwise."""
    return Recipe()


@dataclass(frozen=True)
class Epoch:
    """One epoch of a training curve: mean loss and accuracy over its batches (with augmentation), and seconds."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float


def train(
    model: nn.Module,
    batches: TrainingBatches,
    recipe: Recipe,
    *,
    after_step: Callable[[], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train a model in place with cross-entropy.

    Args:
        model: on the device of the batches; left in evaluation mode.
        batches: normalized inputs `[b, c, h, w]` and labels `[b]`, every epoch by its number.
        recipe: epochs, learning rate and decay.
        after_step: called after every optimizer step, such as to hold a pruning mask.
        on_epoch: told about each finished epoch, for progress.

    Returns:
        The training curve.

    Raises:
        TrainingDiverged: the loss of an epoch is not finite.
    """
    steps_per_epoch = len(batches)
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.lr,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: warmup_cosine(step, recipe.warmup_epochs * steps_per_epoch, recipe.epochs * steps_per_epoch),
    )
    curve = []
    for number in range(1, recipe.epochs + 1):
        started = time.perf_counter()
        model.train()
        losses: list[Tensor] = []
        correct: list[Tensor] = []
        sizes: list[int] = []
        for inputs, labels in batches.epoch(number - 1):
            logits = model(inputs)
            loss = functional.cross_entropy(logits, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if after_step:
                after_step()
            losses.append(loss.detach() * len(labels))
            correct.append((logits.detach().argmax(1) == labels).sum())
            sizes.append(len(labels))
        total = sum(sizes)
        mean_loss = torch.stack(losses).sum().item() / total
        if not math.isfinite(mean_loss):
            raise TrainingDiverged(f"the loss of epoch {number} is {mean_loss}: lower the learning rate {recipe.lr:g}")
        accuracy = torch.stack(correct).sum().item() / total
        curve.append(Epoch(number, mean_loss, accuracy, time.perf_counter() - started))
        if on_epoch:
            on_epoch(curve[-1])
    model.eval()
    return curve


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """The learning rate's factor at a step: linear from 1 / warmup to 1, then half a cosine to 0 at `total`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
