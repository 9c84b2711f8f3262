"""Retract an ascent that went too far: scale its update back to the smallest one that still forgets.

An ascent moves weights from W to W + U, and one step of learning rate lies between no effect and a ruined model. On the
line W + s U between the two, the forget set is usually lost long before anything else is; the smallest such s is found
by bisection, with the forget set alone.

Related: scaling task vectors (Ilharco et al. 2023), interpolating between fine-tuned and base weights (Wortsman et al.
2022).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neglora.data import Batches
from neglora.logits import as_logits
from neglora.modes import in_mode

#: Scales that are looked at first: 0, 1/16, ..., 1.
GRID = 16
#: Why it is refused where images of all classes are forgotten.
RANDOM_SHARE = (
    "retract keeps a share of the forget set misclassified, but of a random share Retrain still knows most: expected "
    "null, which keeps the whole ascent"
)
#: Bisection ends at a step of 1/256.
FINEST = 256


@dataclass(frozen=True)
class Retraction:
    """What a retraction found.

    Attributes:
        target: the share of D_f that should stay forgotten, UA in (0, 1].
        scale: of the update that is kept, in (0, 1]: the smallest at which UA reaches the target, up to 1/256. 1 where
            UA cannot say how far to go: no scale that was looked at reaches the target, or the base does already.
        reached: whether any scale reached it.
        already: whether the base did, before the ascent.
        monotone: whether UA never fell from one scale that was looked at to the next larger one. Where it did, a
            smaller scale than the one found may reach the target too.
        looked: (scale, UA) of every model that was evaluated, by scale.
        seconds: what it took.
    """

    target: float
    scale: float
    reached: bool
    already: bool
    monotone: bool
    looked: tuple[tuple[float, float], ...]
    seconds: float

    @property
    def evaluations(self) -> int:
        """Passes over D_f."""
        return len(self.looked)

    def as_plain(self) -> dict[str, Any]:
        """What a record holds of it."""
        return {
            "target": self.target,
            "scale": self.scale,
            "reached": self.reached,
            "already": self.already,
            "monotone": self.monotone,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
            "looked": [list(pair) for pair in self.looked],
        }


def retract(model: nn.Module, set_scale: Callable[[float], None], forget: Batches, target: float) -> Retraction:
    """Leave a model at the smallest scale of its update that keeps the forget set forgotten.

    Args:
        model: what `set_scale` changes; looked at in evaluation mode, its modes are restored.
        set_scale: puts W + s U into the model, s in [0, 1].
        forget: D_f and nothing else. The epochs that it counts are not used up.
        target: UA to keep, in (0, 1].

    Raises:
        ValueError: a target out of bounds, or no images.
    """
    started = time.perf_counter()
    if not 0 < target <= 1:
        raise ValueError(f"the UA to keep should lie in (0, 1], got {target!r}")

    def measured(scale: float) -> float:
        set_scale(scale)
        return unlearning_accuracy(model, forget)

    scale, looked = smallest(measured, target)
    # Of a call that should unlearn, a model that is the base would be no answer.
    found = scale or 1.0
    set_scale(found)
    values = [ua for _, ua in looked]
    return Retraction(
        target=target,
        scale=found,
        reached=scale is not None,
        already=scale == 0.0,
        monotone=values == sorted(values),
        looked=looked,
        seconds=time.perf_counter() - started,
    )


def smallest(measured: Callable[[float], float], target: float) -> tuple[float | None, tuple[tuple[float, float], ...]]:
    """The smallest scale at which what is measured reaches the target, to 1/256; None where none does.

    Looked at are the 17 multiples of 1/16; then the first crossing among them is bisected. Where 0 reaches it, nothing
    else is looked at.

    Returns:
        The scale, and all that was looked at, by scale.
    """
    looked = {0.0: measured(0.0)}
    if looked[0.0] >= target:
        return 0.0, tuple(looked.items())
    looked |= {step / GRID: measured(step / GRID) for step in range(1, GRID + 1)}
    crossing = next((step for step in range(1, GRID + 1) if looked[step / GRID] >= target), None)
    if crossing is None:
        return None, tuple(sorted(looked.items()))
    # In steps of 1/256: the lower end misses the target, the upper one reaches it.
    low, high = (crossing - 1) * FINEST // GRID, crossing * FINEST // GRID
    while high - low > 1:
        middle = (low + high) // 2
        looked[middle / FINEST] = measured(middle / FINEST)
        low, high = (low, middle) if looked[middle / FINEST] >= target else (middle, high)
    return high / FINEST, tuple(sorted(looked.items()))


@torch.no_grad()
def unlearning_accuracy(model: nn.Module, forget: Batches) -> float:
    """UA of a model in evaluation mode: the share of D_f that it gets wrong.

    Raises:
        ValueError: there was no image.
    """
    wrong, count = [], 0
    # Some models count their calls.
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with in_mode(model, training=False):
        # A copy, since batches count their epochs: whoever ascends further gets the ones that it would have got.
        for inputs, labels in copy.copy(forget):
            wrong.append((as_logits(model(inputs), labels).argmax(1) != labels).sum())
            count += len(labels)
    for buffer, before in buffers:
        buffer.copy_(before)
    if not count:
        raise ValueError("the forget set gave no batch: it is empty, or can be iterated only once")
    return int(torch.stack(wrong).sum()) / count


class Between:
    """Tensors of a model anywhere on the line from what they were to what they have become.

    Args:
        model: with the tensors as they are now.
        before: copies of them as they were, by name; of `kept`.
    """

    def __init__(self, model: nn.Module, before: Mapping[str, Tensor]) -> None:
        now = _tensors(model)
        self._ends = [(now[name], old, now[name].detach().clone()) for name, old in before.items()]

    @torch.no_grad()
    def at(self, scale: float) -> None:
        """Put the tensors there; at 0 and 1 they are exactly what they were and what they had become."""
        for tensor, before, after in self._ends:
            tensor.copy_(before if scale == 0 else after if scale == 1 else torch.lerp(before, after, scale))


def kept(model: nn.Module, names: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
    """Copies of a model's weights and floating buffers, by name, of those that are asked for."""
    return {name: tensor.detach().clone() for name, tensor in _tensors(model).items() if names(name)}


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    found = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor for name, tensor in found.items() if tensor.is_floating_point()}
