"""Models: one family per file, the registry, and what target names mean on each."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import nn

from neglora.models import from_timm, resnet, tinyvit, vit
from neglora.models.model import OPTIONS, Family, ModelEntry, ModelError, Preset
from neglora.models.targets import (
    PRESETS,
    TARGETS,
    TargetError,
    adaptable_layers,
    available_targets,
    family_of,
    match_targets,
)
from neglora.models.weights import WeightsError, fetching, fit_weights, load_weights, weights_digest

MODELS: dict[str, ModelEntry] = {
    "tinyvit_nano": tinyvit.NANO,
    "resnet_nano": resnet.NANO,
    "tinyvit_21m": tinyvit.TINYVIT_21M,
    "vit_small": vit.VIT_SMALL,
    "resnet50": resnet.RESNET50,
}

#: Models that are named by where they come from, `SOURCE:NAME`: the entry of a name, None where the source lacks it.
SOURCES: dict[str, Callable[[str], ModelEntry | None]] = {from_timm.SOURCE: from_timm.find}


def find_model(name: str) -> ModelEntry | None:
    """The model of a name such as `resnet50` or `timm:vit_tiny_patch16_224`; None where there is no such name."""
    source, colon, own = name.partition(":")
    if colon and source in SOURCES:
        return SOURCES[source](own)
    return MODELS.get(name)


def model_names() -> list[str]:
    """Every name, those of the sources as `SOURCE:NAME`."""
    return [*MODELS, *(f"{source}:NAME" for source in SOURCES)]


def nearest_model(name: str) -> str | None:
    """The name that a misspelt one was most likely meant to be; None where none is near."""
    source, colon, own = name.partition(":")
    if colon and source == from_timm.SOURCE:
        close = difflib.get_close_matches(own, from_timm.names(), n=1)
        return f"{source}:{close[0]}" if close else None
    close = difflib.get_close_matches(name, [*MODELS], n=1)
    return close[0] if close else None


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
        ModelError: there is no such model, or it cannot be built for these images or process them.
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


def pretrained_model(
    name: str,
    *,
    num_classes: int,
    image_size: int,
    channels: int,
    seed: int,
    options: Mapping[str, str] | None = None,
) -> nn.Module:
    """As `build_model`, with timm's pretrained weights; what these cannot fill, such as the head, is drawn anew.

    timm resizes what depends on the size of images, and downloads the weights where they are not in its cache.

    Raises:
        ModelError: see `build_model`.
        WeightsError: there are no such weights, or they cannot be had here.
    """
    entry = _entry_of(name)
    if entry.pretrained is None:
        raise WeightsError(f"timm has no pretrained weights for {name}; train a base, or give a file of weights")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        taken = _taken(entry, options or {})
        with fetching(name, entry.pretrained):
            return entry.build(num_classes, image_size, channels, pretrained=True, **taken).eval()


def _build(name: str, num_classes: int, image_size: int, channels: int, options: Mapping[str, str]) -> nn.Module:
    entry = _entry_of(name)
    return entry.build(num_classes, image_size, channels, **_taken(entry, options))


def _entry_of(name: str) -> ModelEntry:
    entry = find_model(name)
    if entry is None:
        close = nearest_model(name)
        hint = f"; did you mean {close!r}?" if close else f"; models are {', '.join(model_names())}"
        raise ModelError(f"unknown model {name!r}{hint}")
    return entry


def _taken(entry: ModelEntry, options: Mapping[str, str]) -> dict[str, str]:
    return {option: options[option] for option in entry.options if option in options}


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
    "PRESETS",
    "SOURCES",
    "TARGETS",
    "Family",
    "ModelEntry",
    "ModelError",
    "Preset",
    "TargetError",
    "WeightsError",
    "adaptable_layers",
    "available_targets",
    "build_model",
    "family_of",
    "find_model",
    "fit_weights",
    "load_weights",
    "match_targets",
    "model_names",
    "model_shape",
    "nearest_model",
    "pretrained_model",
    "resolve_targets",
    "weights_digest",
]
