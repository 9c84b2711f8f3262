"""The ascent loop: climb the cross-entropy of the forget set.

Source: Section "NegGrad" of the paper, w <- w + eta * gradient of the loss on D_f; Adam as in its Table 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from neglora.data import Batches
from neglora.logits import as_logits


class Diverged(ArithmeticError):
    """A loss or a weight is no longer finite.

    Attributes:
        step: the optimizer step, from 1, at which it was seen.
    """

    def __init__(self, what: str, step: int) -> None:
        super().__init__(f"{what} at step {step}")
        self.step = step


@dataclass(frozen=True)
class Ascent:
    """What an ascent did: steps taken, whole epochs, and the loss of every batch before its step."""

    steps: int
    epochs: int
    losses: tuple[float, ...]


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def ascend(
    model: nn.Module,
    batches: Batches,
    *,
    parameters: Sequence[nn.Parameter],
    lr: float,
    epochs: int,
    batchnorm: str = "frozen",
    optimizer: str = "adam",
    bf16: bool = False,
    channels_last: bool = False,
    after_step: Callable[[], None] | None = None,
    after_epoch: Callable[[Ascent], None] | None = None,
) -> Ascent:
    """Ascend the mean cross-entropy over the forget set, in place, for whole epochs at a constant rate.

    Args:
        model: on the device of the batches; left in evaluation mode.
        batches: the forget set D_f and nothing else: inputs `[b, c, h, w]`, labels `[b]`, once per epoch.
        parameters: what may change.
        lr: learning rate.
        epochs: whole passes over `batches`.
        batchnorm: `frozen` keeps the running statistics of the base. `update` lets them follow the forget batches.
        optimizer: `adam` (the paper's Table 4) or `sgd` (the plain formula).
        bf16: matrix products and convolutions in bfloat16, weights and losses in their own type. Studies leave it off:
            a trial's numbers are those of float32.
        channels_last: model and images lie in memory with their channels last; the model stays so. As off in studies.
        after_step: called after every step, such as to hold a pruning mask.
        after_epoch: called after every epoch but the last with what was done so far. It may copy the model, which is
            in training mode, and draw random numbers: what follows is the same.

    Raises:
        ValueError: an epoch had no batch.
        TypeError: the model returns something else than logits.
        Diverged: a loss or weight is infinite or NaN. Checked at the end of each epoch, so that a GPU is not made to
            wait at every step; the step named is the first whose loss was not finite.
    """
    opt = OPTIMIZERS[optimizer](parameters, lr=lr)
    half = torch.autocast(parameters[0].device.type, torch.bfloat16) if bf16 else nullcontext()
    if channels_last:
        model.to(memory_format=torch.channels_last)
    model.train()
    if batchnorm == "frozen":
        freeze_batchnorm(model)
    losses: list[float] = []
    for number in range(1, epochs + 1):
        epoch: list[Tensor] = []
        for inputs, labels in batches:
            if channels_last:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            with half:
                logits = as_logits(model(inputs), labels)
            loss = functional.cross_entropy(logits.float() if bf16 else logits, labels)
            opt.zero_grad(set_to_none=True)
            (-loss).backward()
            opt.step()
            if after_step:
                after_step()
            epoch.append(loss.detach())
        if not epoch:
            raise ValueError("the forget set gave no batch: it is empty, or can be iterated only once")
        # What is copied, measured or returned needs none.
        opt.zero_grad(set_to_none=True)
        measured = torch.stack(epoch).float().tolist()
        _check_finite(measured, parameters, len(losses))
        losses += measured
        if after_epoch and number < epochs:
            with forked_rng(parameters[0].device):
                after_epoch(Ascent(steps=len(losses), epochs=number, losses=tuple(losses)))
    model.eval()
    return Ascent(steps=len(losses), epochs=epochs, losses=tuple(losses))


def forked_rng(device: torch.device) -> AbstractContextManager[None]:
    """A block after which torch's generators, of the CPU and of the device, go on as if it had not been."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def freeze_batchnorm(model: nn.Module) -> None:
    """Put every BatchNorm layer into evaluation mode: it uses its running statistics and does not change them."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def _check_finite(losses: list[float], parameters: Sequence[nn.Parameter], before: int) -> None:
    for index, loss in enumerate(losses):
        if not math.isfinite(loss):
            raise Diverged(f"the loss became {loss}", before + index + 1)
    # One answer for all of them: a GPU is waited for once.
    if not torch.stack([torch.isfinite(parameter).all() for parameter in parameters]).all():
        raise Diverged("a weight became infinite or NaN", before + len(losses))
