"""Models: one family per file, the registry, and what target names mean on each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import nn

from neglora.models import resnet, tinyvit
from neglora.models.model import Family, ModelEntry
from neglora.models.targets import TARGETS, TargetError, adaptable_layers, available_targets, family_of, match_targets

MODELS: dict[str, ModelEntry] = {
    "tinyvit_nano": tinyvit.NANO,
    "resnet_nano": resnet.NANO,
}


def build_model(name: str, *, num_classes: int, image_size: int, channels: int, seed: int) -> nn.Module:
    """Build a registered model with fresh weights, on the CPU, in evaluation mode.

    Args:
        name: a key of `MODELS`.
        num_classes, image_size, channels: of the dataset.
        seed: fixes the weights; torch's global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[name].build(num_classes, image_size, channels).eval()


@lru_cache(maxsize=32)
def _shape_of(name: str, num_classes: int, image_size: int) -> nn.Module:
    return build_model(name, num_classes=num_classes, image_size=image_size, channels=3, seed=0)


def resolve_targets(name: str, targets: str | Sequence[str], *, num_classes: int, image_size: int) -> list[str]:
    """The module names that `targets` means on a registered model.

    Raises:
        TargetError: a term is unknown or matches no layer.
    """
    return match_targets(_shape_of(name, num_classes, image_size), targets)


__all__ = [
    "MODELS",
    "TARGETS",
    "Family",
    "ModelEntry",
    "TargetError",
    "adaptable_layers",
    "available_targets",
    "build_model",
    "family_of",
    "match_targets",
    "resolve_targets",
]
