"""What a classifier makes of an image just before its classifier layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neglora.data import Batches
from neglora.evaluation import infer
from neglora.models import TargetError, match_targets


def head_of(model: nn.Module, name: str | None = None) -> nn.Module:
    """The layer whose inputs are the penultimate features.

    Args:
        model: a classifier.
        name: of the module; None for what the model's family calls its head: of one that is not known, the last Linear.

    Raises:
        ValueError: there is no such layer.
    """
    if name is not None:
        modules = dict(model.named_modules())
        if name not in modules or name == "":
            raise ValueError(f"{type(model).__name__} has no module named {name!r}, which should be its head")
        return modules[name]
    try:
        return model.get_submodule(match_targets(model, "head")[-1])
    except TargetError as error:
        raise ValueError(
            f"{type(model).__name__} has no linear layer that could be its head: name the module whose inputs are the "
            f"features (head=...)"
        ) from error


def penultimate_features(model: nn.Module, batches: Batches, head: str | None = None) -> tuple[Tensor, Tensor]:
    """The inputs of a model's head for images, in evaluation mode.

    Args:
        model: unchanged; its modes are restored.
        batches: images and labels.
        head: the module's name, see `head_of`.

    Returns:
        Features `[n, features]` in float32 on the CPU, pooled (their mean) over positions and tokens where the head
        takes maps or sequences, and labels `[n]`.

    Raises:
        ValueError: there is no such layer, the model never calls it, or there is no image.
    """
    layer = head_of(model, head)
    calls: list[Tensor] = []

    def seen(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls.append(_pooled(inputs[0].detach(), isinstance(module, nn.Linear)).float().cpu())

    handle = layer.register_forward_pre_hook(seen)
    try:
        outputs = infer(model, batches)
    finally:
        handle.remove()
    features = torch.cat(calls) if calls else torch.empty(0)
    if len(features) != len(outputs.labels):
        raise ValueError(
            f"the head of {type(model).__name__} took {len(features)} inputs for {len(outputs.labels)} images: its "
            f"inputs are not the features of single images; name another module (head=...)"
        )
    return features, outputs.labels


def _pooled(inputs: Tensor, channels_last: bool) -> Tensor:
    """`[b, ..., c]` of a Linear, or `[b, c, ...]` of any other layer, as `[b, c]`."""
    if inputs.ndim <= 2:
        return inputs
    return inputs.flatten(1, -2).mean(1) if channels_last else inputs.flatten(2).mean(2)
