"""Models: one family per file, the registry, and what target names mean on each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import nn

from neglora.models import resnet, tinyvit
from neglora.models.model import OPTIONS, Family, ModelEntry, ModelError
from neglora.models.targets import TARGETS, TargetError, adaptable_layers, available_targets, family_of, match_targets

MODELS: dict[str, ModelEntry] = {
    "tinyvit_nano": tinyvit.NANO,
    "resnet_nano": resnet.NANO,
}

#: Models that are named by where they come from, `SOURCE:NAME`: the entry of a name, None where the source lacks it.
SOURCES: dict[str, Callable[[str], ModelEntry | None]] = {}


def find_model(name: str) -> ModelEntry | None:
    """The model of a name such as `resnet50` or `timm:vit_tiny_patch16_224`; None where there is no such name."""
    source, colon, own = name.partition(":")
    if colon and source in SOURCES:
        return SOURCES[source](own)
    return MODELS.get(name)


def model_names() -> list[str]:
    """Every name, those of the sources as `SOURCE:NAME`."""
    return [*MODELS, *(f"{source}:NAME" for source in SOURCES)]


def build_model(
    name: str,
    *,
    num_classes: int,
    image_size: int,
    channels: int,
    seed: int,
    options: Mapping[str, str] | None = None,
) -> nn.Module:
    """Build a model with fresh weights, on the CPU, in evaluation mode.

    Args:
        name: what `find_model` knows.
        num_classes, image_size, channels: of the dataset.
        seed: fixes the weights; torch's global generator is left as it was.
        options: of `OPTIONS`; those that the model does not take are passed over, since a study has several models.

    Raises:
        ModelError: there is no such model, or it cannot be built for these images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _build(name, num_classes, image_size, channels, options or {}).eval()


def model_shape(
    name: str, *, num_classes: int, image_size: int, channels: int = 3, options: Mapping[str, str] | None = None
) -> nn.Module:
    """The layers of a model and the shapes of its weights, on torch's meta device: nothing is allocated or drawn.

    Raises:
        ModelError: see `build_model`.
    """
    return _shape(name, num_classes, image_size, channels, tuple(sorted((options or {}).items())))


@lru_cache(maxsize=64)
def _shape(
    name: str, num_classes: int, image_size: int, channels: int, options: tuple[tuple[str, str], ...]
) -> nn.Module:
    with torch.device("meta"):
        return _build(name, num_classes, image_size, channels, dict(options)).eval()


def _build(name: str, num_classes: int, image_size: int, channels: int, options: Mapping[str, str]) -> nn.Module:
    entry = find_model(name)
    if entry is None:
        raise ModelError(f"unknown model {name!r}; models are {', '.join(model_names())}")
    taken = {option: options[option] for option in entry.options if option in options}
    return entry.build(num_classes, image_size, channels, **taken)


def resolve_targets(
    name: str,
    targets: str | Sequence[str],
    *,
    num_classes: int,
    image_size: int,
    options: Mapping[str, str] | None = None,
) -> list[str]:
    """The module names that `targets` means on a model.

    Raises:
        TargetError: a term is unknown or matches no layer.
        ModelError: see `build_model`.
    """
    return match_targets(model_shape(name, num_classes=num_classes, image_size=image_size, options=options), targets)


__all__ = [
    "MODELS",
    "OPTIONS",
    "SOURCES",
    "TARGETS",
    "Family",
    "ModelEntry",
    "ModelError",
    "TargetError",
    "adaptable_layers",
    "available_targets",
    "build_model",
    "family_of",
    "find_model",
    "match_targets",
    "model_names",
    "model_shape",
    "resolve_targets",
]
