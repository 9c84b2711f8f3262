"""What a recipe of training is, and its learning rate at every step. Plain data: no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine",)
PRECISIONS = ("auto", "float32", "bf16")
#: Fields that change how fast and where training runs, and its weights by no more than rounding.
NOT_DETERMINING = ("channels_last", "workers", "checkpoint_minutes")
#: Fields of the fine-tuning after pruning, which nothing but sparse bases depends on.
SPARSE_ONLY = ("pruning", "recovery_epochs", "recovery_lr")


class RecipeError(ValueError):
    """A recipe that cannot be trained with, or one that does not exist; the message says how to mend it."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: cross-entropy, linear warm-up, cosine decay to zero, decay on matrices and kernels only.

    Attributes:
        optimizer: one of `OPTIMIZERS`.
        epochs: passes over the training images.
        lr: peak learning rate.
        batch_size: images a step, over all workers.
        weight_decay: decoupled for `adamw`, added to the gradient for `sgd`.
        momentum: of `sgd`, in [0, 1).
        betas: of `adamw`.
        warmup_epochs: epochs of linear warm-up, within `epochs`.
        warmup_lr: learning rate of the first step of the warm-up; None begins with the first of equal steps to `lr`.
        schedule: one of `SCHEDULES`.
        clip_norm: largest norm of the gradient over all weights; None clips nothing.
        precision: `float32`, `bf16` (matrix products and convolutions in bfloat16, the rest and the weights in
            float32), or `auto`: bf16 on a GPU that computes in it, float32 elsewhere.
        channels_last: images and kernels lie in memory with their channels last; None for on a GPU.
        pruning: `magnitude` or `structured`, for sparse bases.
        recovery_epochs, recovery_lr: fine-tuning after pruning, with the mask held; 0 epochs for none.
        workers: processes that train one model, each on its share of every batch.
        checkpoint_minutes: how often a training is kept, so that it can go on after a kill.

    Raises:
        RecipeError: a value is out of its range.
    """

    optimizer: str = "adamw"
    epochs: int = 15
    lr: float = 2e-3
    batch_size: int = 64
    weight_decay: float = 0.05
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_epochs: int = 2
    warmup_lr: float | None = None
    schedule: str = "cosine"
    clip_norm: float | None = None
    precision: str = "auto"
    channels_last: bool | None = None
    pruning: str = "magnitude"
    recovery_epochs: int = 5
    recovery_lr: float = 1e-3
    workers: int = 1
    checkpoint_minutes: float = 5.0

    def __post_init__(self) -> None:
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise RecipeError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        for name in ("batch_size", "workers"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in (
            *("epochs", "lr", "weight_decay", "warmup_epochs"),
            *("recovery_epochs", "recovery_lr", "checkpoint_minutes"),
        ):
            if not getattr(self, name) >= 0:
                raise RecipeError(f"{name}: expected at least 0, got {getattr(self, name)}")
        for name, value in (("momentum", self.momentum), *(("betas", beta) for beta in self.betas)):
            if not 0 <= value < 1:
                raise RecipeError(f"{name}: expected in [0, 1), got {value}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise RecipeError(f"clip_norm: expected more than 0, or null for no clipping, got {self.clip_norm}")

    def changed(self, changes: Mapping[str, Any]) -> Recipe:
        """This recipe with the fields that are not None in `changes` replaced.

        A change of `epochs` alone keeps the warm-up to half of them: otherwise a short training with a recipe for a
        long one would end while it warms up.

        Raises:
            RecipeError: a value is out of its range.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        if "betas" in given:
            given["betas"] = tuple(given["betas"])
        if "epochs" in given and "warmup_epochs" not in given:
            given["warmup_epochs"] = min(self.warmup_epochs, given["epochs"] // 2)
        return replace(self, **given)

    @property
    def recovery(self) -> Recipe:
        """The recipe of the fine-tuning after pruning: an epoch of warm-up at most."""
        start = None if self.warmup_lr is None else min(self.warmup_lr, self.recovery_lr)
        return replace(
            self,
            epochs=self.recovery_epochs,
            lr=self.recovery_lr,
            warmup_epochs=min(self.warmup_epochs, 1),
            warmup_lr=start,
        )

    def determining(self, *, sparse: bool) -> dict[str, Any]:
        """The fields that the weights of a model depend on, as plain JSON data.

        Args:
            sparse: of a sparse base, which was pruned and recovered as well.
        """
        left_out = NOT_DETERMINING if sparse else NOT_DETERMINING + SPARSE_ONLY
        plain = {name: value for name, value in asdict(self).items() if name not in left_out}
        return plain | {"betas": list(self.betas)}

    def learning_rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, counted from 0 over all epochs."""
        warmup, total = self.warmup_epochs * steps_per_epoch, self.epochs * steps_per_epoch
        start = None if self.warmup_lr is None or not self.lr else self.warmup_lr / self.lr
        return self.lr * warmup_cosine(step, warmup, total, start)


def warmup_cosine(step: int, warmup: int, total: int, start: float | None = None) -> float:
    """The learning rate's factor at a step: linear up to 1 in `warmup` steps, then half a cosine to 0 at `total`.

    Args:
        step: from 0.
        warmup, total: steps.
        start: the factor of step 0; None for 1 / warmup, so that the last step of the warm-up has the factor 1.
    """
    if step < warmup:
        return (step + 1) / warmup if start is None else start + (1.0 - start) * step / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
