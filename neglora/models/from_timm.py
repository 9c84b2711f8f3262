"""`timm:NAME`: any image classifier that timm builds, tags of pretrained weights included (`timm:resnet18.a1_in1k`)."""

from __future__ import annotations

from functools import lru_cache, partial

import timm
import torch
from torch import nn

from neglora.models.model import ModelEntry, ModelError

SOURCE = "timm"


@lru_cache(maxsize=64)
def find(name: str) -> ModelEntry | None:
    """The entry of a name of timm's; None where timm has no such model."""
    if not timm.is_model(name):
        return None
    return ModelEntry(
        about=f"{name} as timm builds it",
        build=partial(build, name),
        recipe="vit_paper",
        pretrained=name if timm.models.is_model_pretrained(name) else None,
    )


def names() -> list[str]:
    """Every name that `find` knows, without tags."""
    return timm.list_models()


def build(name: str, num_classes: int, image_size: int, channels: int, *, pretrained: bool = False) -> nn.Module:
    """Build a model of timm's, for images of a size where its architecture depends on that.

    Raises:
        ModelError: timm cannot build it so, it cannot process such images, or what it gives are not logits.
    """
    _check(name, num_classes, image_size, channels)
    return _create(name, num_classes, image_size, channels, pretrained)


def _create(name: str, num_classes: int, image_size: int, channels: int, pretrained: bool) -> nn.Module:
    wanted = {"pretrained": pretrained, "num_classes": num_classes, "in_chans": channels}
    try:
        return timm.create_model(name, img_size=image_size, **wanted)
    except TypeError as error:
        # The architecture does not depend on the size.
        if "img_size" not in str(error):
            raise
        return timm.create_model(name, **wanted)


@lru_cache(maxsize=64)
def _check(name: str, num_classes: int, image_size: int, channels: int) -> None:
    """Build it on torch's meta device and try it on one image, before any weight is drawn."""
    images = f"images of {image_size} pixels and {channels} channels"
    with torch.device("meta"), torch.no_grad():
        try:
            model = _create(name, num_classes, image_size, channels, pretrained=False).eval()
        except Exception as error:  # whatever a constructor of any of timm's families raises
            raise ModelError(
                f"timm cannot build {name} for {num_classes} classes and {images}: {_said(error)}"
            ) from error
        try:
            outputs = model(torch.empty(1, channels, image_size, image_size))
        except NotImplementedError:
            return  # An operation that the meta device lacks says nothing about the size.
        except Exception as error:  # whatever a forward pass of any of timm's families raises
            raise ModelError(
                f"{SOURCE}:{name} cannot process {images}: {_said(error)}; set another image_size"
            ) from error
    shape = tuple(getattr(outputs, "shape", ()))
    if shape != (1, num_classes):
        raise ModelError(
            f"{SOURCE}:{name} is no classifier: for one image it gives {shape or type(outputs).__name__}, "
            f"expected (1, {num_classes})"
        )


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
