"""The library in two functions: unlearn with any torch classifier, and evaluate it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from neglora.data import Batches
from neglora.evaluation import infer, measure
from neglora.methods import METHODS
from neglora.models import family_of
from neglora.modes import in_mode
from neglora.parameters import WORKING
from neglora.record import Measured
from neglora.seeds import derive_seed

#: Floating types in which nothing is unlearned.
HALF = (torch.float16, torch.bfloat16)

#: Labelled images: batches that can be iterated once per epoch, or a pair of tensors (inputs, labels).
Images = Iterable[tuple[Tensor, Tensor]] | tuple[Tensor, Tensor]


def unlearn(model: nn.Module, forget: Images, *, method: str = "neglora", seed: int = 0, **params: Any) -> nn.Module:
    """Unlearn the images of `forget` from a copy of a classifier.

    Args:
        model: any classifier with Linear or Conv2d layers, `[b, c, h, w]` to logits `[b, classes]`. Not modified.
        forget: the forget set D_f, inputs as the model takes them (moved to its device and floating type): a
            DataLoader, which keeps its own batches, or a pair of tensors, which is batched and shuffled here.
        method: a method that needs the forget set alone: `neglora`, `neggrad` or `partial_neggrad`.
        seed: fixes adapters, dropout and, for tensors, the order.
        params: the method's parameters, such as `lr`, `epochs`, `rank`, `targets`; see `neglora list`. The ascent is
            retracted to the smallest update that keeps 99 percent of `forget` misclassified, which is meant for
            classes: with `retract=None`, as the paper has it, all of it is kept. Do so for images of all classes.

    Returns:
        The unlearned model, merged: same class, device, types, modes and trainable flags as the one given. One of half
        precision is unlearned in float32 and rounded back.

    Raises:
        ValueError: unknown method or parameter, a value out of bounds, or a method that needs more than D_f.
        TypeError: the model returns something else than logits.
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
    # Whoever goes without retraction wants the paper's settings, and not rates that count on it.
    params = ({} if params.get("retract", 1) is None else WORKING.get(method, {})) | params
    if "targets" not in params and any(parameter.by_family for parameter in chosen.parameters):
        family = family_of(model)
        working = None if params.get("retract") is None else family.working_targets
        params = params | {"targets": working or family.default_targets}
    resolved = chosen.resolve(params)
    modes = {name: module.training for name, module in model.named_modules()}
    trainable = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    with torch.inference_mode(False), torch.enable_grad():
        # Setting the mode makes timm's attention forget the biases that it cached: with a graph they cannot be copied.
        with in_mode(model, training=True):
            copied = copy.deepcopy(model).requires_grad_(True)
        dtypes = _widened(copied)
        batches = _batches(forget, _place(copied), resolved["batch_size"], seed)
        unlearned = chosen.unlearn(copied, params=resolved, masks={}, seed=seed, forget=batches).model
        _narrow(unlearned, dtypes)
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

    Raises:
        ValueError: one of the three has no images.
        TypeError: the model returns something else than logits.
    """
    place = _place(model)
    outputs = {
        name: infer(model, _batches(images, place, 256, None))
        for name, images in (("forget", forget), ("retain", retain), ("test", test))
    }
    values, _ = measure(
        forget=outputs["forget"],
        retain=outputs["retain"],
        test=outputs["test"],
        test_forget=None,
        seed=seed,
        attacks="confidence",
    )
    return {name: value for name, value in values.items() if name != "ua_test"}


@dataclass(frozen=True)
class Place:
    """Where a model wants its inputs, and of which floating type."""

    device: torch.device
    dtype: torch.dtype


def _place(model: nn.Module) -> Place:
    first = next((parameter for parameter in model.parameters() if parameter.is_floating_point()), None)
    if first is None:
        raise ValueError(f"{type(model).__name__} has no weights: expected a classifier with Linear or Conv2d layers")
    return Place(first.device, first.dtype)


def _widened(model: nn.Module) -> dict[str, torch.dtype]:
    """Put a model of half precision into float32, in place, and return what its tensors were.

    Steps of an ascent are smaller than what 16 bits tell apart, and Adam's second moments vanish in them.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    dtypes = {name: tensor.dtype for name, tensor in tensors.items() if tensor.dtype in HALF}
    if dtypes:
        model.float()
    return dtypes


def _narrow(model: nn.Module, dtypes: Mapping[str, torch.dtype]) -> None:
    """Round the tensors that `_widened` widened back to what they were, in place."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in dtypes:
            tensor.data = tensor.data.to(dtypes[name])


def _batches(images: Images, place: Place, batch_size: int, seed: int | None) -> Batches:
    if isinstance(images, tuple):
        inputs, labels = images
        generator = None if seed is None else torch.Generator().manual_seed(derive_seed(seed, "order", "forget"))
        images = DataLoader(
            TensorDataset(inputs, labels), batch_size=batch_size, shuffle=generator is not None, generator=generator
        )
    return _Placed(images, place)


class _Placed:
    """Batches moved to where a model wants them as they come."""

    def __init__(self, batches: Iterable[tuple[Tensor, Tensor]], place: Place) -> None:
        self.batches, self.place = batches, place

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, labels in self.batches:
            dtype = self.place.dtype if inputs.is_floating_point() else None
            yield inputs.to(self.place.device, dtype), labels.to(self.place.device)
