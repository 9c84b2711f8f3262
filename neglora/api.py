"""The library in two functions: unlearn with any torch classifier, and evaluate it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from neglora.data import Batches
from neglora.evaluation import in_mode, infer, measure
from neglora.methods import METHODS
from neglora.models import family_of
from neglora.record import Measured
from neglora.seeds import derive_seed

#: Labelled images: batches that can be iterated once per epoch, or a pair of tensors (inputs, labels).
Images = Iterable[tuple[Tensor, Tensor]] | tuple[Tensor, Tensor]


def unlearn(model: nn.Module, forget: Images, *, method: str = "neglora", seed: int = 0, **params: Any) -> nn.Module:
    """Unlearn the images of `forget` from a copy of a classifier.

    Args:
        model: any classifier with Linear or Conv2d layers, `[b, c, h, w]` to logits `[b, classes]`. Not modified.
        forget: the forget set D_f, inputs as the model takes them: a DataLoader, which keeps its own batches, or a
            pair of tensors, which is batched and shuffled here.
        method: a method that needs the forget set alone: `neglora`, `neggrad` or `partial_neggrad`.
        seed: fixes adapters, dropout and, for tensors, the order.
        params: the method's parameters, such as `lr`, `epochs`, `rank`, `targets`; see `neglora list`.

    Returns:
        The unlearned model, merged: same class, device, modes and trainable flags as the one given.

    Raises:
        ValueError: unknown method or parameter, a value out of bounds, or a method that needs more than D_f.
        neglora.models.TargetError: `targets` matches no layer.
        neglora.ascend.Diverged: a loss or weight became infinite or NaN.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; methods are {', '.join(METHODS)}")
    chosen = METHODS[method]
    if chosen.needs != ("forget",):
        raise ValueError(f"{method} needs {' and '.join(chosen.needs)}, but only the forget set is given here")
    if params.get("sparsity"):
        raise ValueError("sparsity is a property of the model given: prune and fine-tune it first (neglora.prune)")
    is_pair = isinstance(forget, tuple)
    if not is_pair and "batch_size" in params:
        raise ValueError("batch_size has no effect: the forget set given keeps its own batches")
    if "targets" not in params and any(parameter.by_family for parameter in chosen.parameters):
        params = params | {"targets": family_of(model).default_targets}
    resolved = chosen.resolve(params)
    batches = _batches(forget, _device(model), resolved["batch_size"], seed)
    modes = {name: module.training for name, module in model.named_modules()}
    trainable = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    with torch.inference_mode(False), torch.enable_grad():
        # Setting the mode makes timm's attention forget the biases that it cached: with a graph they cannot be copied.
        with in_mode(model, training=True):
            copied = copy.deepcopy(model).requires_grad_(True)
        unlearned = chosen.unlearn(copied, params=resolved, masks={}, seed=seed, forget=batches).model
    for name, parameter in unlearned.named_parameters():
        parameter.requires_grad_(trainable[name])
    for name, module in unlearned.named_modules():
        module.train(modes[name])
    return unlearned


def evaluate(model: nn.Module, *, forget: Images, retain: Images, test: Images, seed: int = 0) -> Measured:
    """Measure a classifier: UA, RA, TA, MIA-Efficacy with the attack's own figures, and the runner-up share.

    Args:
        model: the classifier; its mode is restored.
        forget, retain: the forget set D_f and the retained training images D_r, without augmentation.
        test: test images without the forget class.
        seed: of the attack's balanced sample.

    Returns:
        Fractions by name. What would need more than these images (`ua_test`, `gap`, `rte`) is not in it.
    """
    device = _device(model)
    outputs = {
        name: infer(model, _batches(images, device, 256, None))
        for name, images in (("forget", forget), ("retain", retain), ("test", test))
    }
    values, _ = measure(**outputs, test_forget=None, seed=seed, attacks="confidence")
    return {name: value for name, value in values.items() if name != "ua_test"}


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _batches(images: Images, device: torch.device, batch_size: int, seed: int | None) -> Batches:
    if isinstance(images, tuple):
        inputs, labels = images
        generator = None if seed is None else torch.Generator().manual_seed(derive_seed(seed, "order", "forget"))
        images = DataLoader(
            TensorDataset(inputs, labels), batch_size=batch_size, shuffle=generator is not None, generator=generator
        )
    return _OnDevice(images, device)


class _OnDevice:
    """Batches moved to a device as they come."""

    def __init__(self, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> None:
        self.batches, self.device = batches, device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, labels in self.batches:
            yield inputs.to(self.device), labels.to(self.device)
