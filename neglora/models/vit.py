"""Plain vision transformers (Dosovitskiy et al. 2020) from timm."""

from __future__ import annotations

from functools import partial

import timm
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from neglora.models.model import Family, ModelEntry, ModelError, Preset, Step

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


def steps(model: nn.Module) -> tuple[Step, ...]:
    """Patches with their positions, both halves of every block, what becomes the image's features, the classifier."""
    if type(model) is not VisionTransformer or model.grad_checkpointing:
        return ()
    embedding = ("patch_embed", "cls_token", "reg_token", "pos_embed", "pos_drop", "patch_drop", "norm_pre")
    return (
        Step(embedding, partial(_embed, model)),
        *(
            step
            for name, block in model.get_submodule("blocks").named_children()
            for step in _halves(f"blocks.{name}", block)
        ),
        Step(("norm", "attn_pool", "fc_norm"), partial(_pool, model)),
        Step(("head_drop", "head"), partial(_classify, model)),
    )


def _embed(model: VisionTransformer, images: Tensor) -> Tensor:
    return model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(images))))


def _pool(model: VisionTransformer, tokens: Tensor) -> Tensor:
    return model.fc_norm(model.pool(model.norm(tokens)))


def _classify(model: VisionTransformer, features: Tensor) -> Tensor:
    return model.head(model.head_drop(features))


def _halves(name: str, block: nn.Module) -> list[Step]:
    """Attention and feed-forward network of a block; one step for a block of another make."""
    if type(block) is not Block:
        return [Step((name,), block)]

    def modules(*parts: str) -> tuple[str, ...]:
        return tuple(f"{name}.{part}" for part in parts)

    return [
        Step(modules("norm1", "attn", "ls1", "drop_path1"), partial(_attend, block)),
        Step(modules("norm2", "mlp", "ls2", "drop_path2"), partial(_feed_forward, block)),
    ]


def _attend(block: Block, tokens: Tensor) -> Tensor:
    return tokens + block.drop_path1(block.ls1(block.attn(block.norm1(tokens))))


def _feed_forward(block: Block, tokens: Tensor) -> Tensor:
    return tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))


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
    steps=steps,
)

VIT_SMALL = ModelEntry(
    about="ViT-S, which the paper's parameter counts match: patch 16 at 128 pixels and more, 4 at 32",
    build=build_small,
    recipe="vit_paper",
    pretrained="vit_small_patch16_224",
)
