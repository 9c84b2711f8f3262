"""Plain vision transformers (Dosovitskiy et al. 2020) from timm."""

from __future__ import annotations

import timm
from torch import nn

from neglora.models.model import Family, ModelEntry, ModelError, Preset

PATCHES = (16, 8, 4, 2)
#: Fewer patches a side leave attention little to attend to.
LEAST_PATCHES = 8


def patch_size(image_size: int) -> int:
    """The largest patch, in pixels, of which an image has at least 8 a side: 16 at 224, 8 at 64 and 96, 4 at 32.

    So the number of tokens stays near that of the published model, 14x14 at 224, for images of any size.

    Raises:
        ModelError: no patch is small enough, or the patches do not fill the image.
    """
    patch = next((patch for patch in PATCHES if image_size >= LEAST_PATCHES * patch), None)
    if patch is None:
        raise ModelError(f"images of {image_size} pixels are too small for vit_small, which needs 16 or more")
    if image_size % patch:
        nearest = round(image_size / patch) * patch
        raise ModelError(
            f"images of {image_size} pixels are no whole number of the {patch}-pixel patches of vit_small; "
            f"{nearest} would do (set image_size)"
        )
    return patch


def build_small(num_classes: int, image_size: int, channels: int, *, pretrained: bool = False) -> nn.Module:
    """ViT-S: 21.7M parameters with 100 classes at 224 pixels, the count of the paper's ViT rows. No dropout.

    Raises:
        ModelError: see `patch_size`.
    """
    return timm.create_model(
        "vit_small_patch16_224",
        pretrained=pretrained,
        num_classes=num_classes,
        in_chans=channels,
        img_size=image_size,
        patch_size=patch_size(image_size),
    )


def _last_block(model: nn.Module) -> str:
    blocks = [name for name, _ in model.get_submodule("blocks").named_children()]
    return f"blocks.{blocks[-1]}."


FAMILY = Family(
    name="ViT",
    layers={
        "ffn": r"blocks\.\d+\.mlp\.fc[12](_[gx])?",
        "attn": r"blocks\.\d+\.attn\.(qkv|proj)",
        "attn_out": r"blocks\.\d+\.attn\.proj",
        "head": r"head",
    },
    last_stage=_last_block,
    last_block=_last_block,
    partial="head+last.block.ffn+last.block.attn_out",
    default_targets="ffn",
    presets={
        "paper_text": Preset("rank-16 adapters on the feed-forward layers, as the text says", rank=16, targets="ffn"),
        "paper_counts": Preset(
            "rank-16 adapters on the last block's attention output and the head: 20,032 at 100 classes, the published "
            "20K; the last feed-forward network alone would be 61,440",
            rank=16,
            targets="last.block.attn_out+head",
        ),
    },
)

VIT_SMALL = ModelEntry(
    about="ViT-S, which the paper's parameter counts match: patch 16 at 128 pixels and more, 4 at 32",
    build=build_small,
    recipe="vit_paper",
    pretrained="vit_small_patch16_224",
)
