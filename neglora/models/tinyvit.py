"""TinyViT (Wu et al. 2022) from timm, with attention windows clipped to the feature map."""

from __future__ import annotations

from timm.models.tiny_vit import Attention, TinyVit
from torch import nn

from neglora.models.model import Family, ModelEntry

#: Windows of the stock model; the first stage is convolutional and has none.
STOCK_WINDOWS = (7, 7, 14, 7)
PATCH_STRIDE = 4


def clipped_windows(image_size: int) -> tuple[int, ...]:
    """Window sizes no larger than each stage's feature map.

    At 32x32 the maps are 8, 4, 2 and 1 wide. Stock windows pad them to 7, 14 and 7, which is up to 49 times the tokens.
    """
    first = -(-image_size // PATCH_STRIDE)
    return tuple(min(stock, max(1, -(-first // 2**stage))) for stage, stock in enumerate(STOCK_WINDOWS))


def build_nano(num_classes: int, image_size: int, channels: int) -> nn.Module:
    """A TinyViT of 0.55M parameters with its elders' layer names: widths 32/64/96/128, depths 1/1/2/1.

    Differs: attention biases start at N(0, 0.02) instead of 0. A window of one token gives its bias no gradient, so
    that a bias of 0 would be the same in a base model and in Retrain, and 'every parameter was drawn anew' could not
    be checked.
    """
    model = TinyVit(
        in_chans=channels,
        num_classes=num_classes,
        embed_dims=(32, 64, 96, 128),
        depths=(1, 1, 2, 1),
        num_heads=(1, 2, 3, 4),
        window_sizes=clipped_windows(image_size),
        drop_path_rate=0.0,
    )
    for module in model.modules():
        if isinstance(module, Attention):
            nn.init.normal_(module.attention_biases, std=0.02)
    return model


def _last_stage(model: nn.Module) -> str:
    stages = [name for name, _ in model.get_submodule("stages").named_children()]
    return f"stages.{stages[-1]}."


def _last_block(model: nn.Module) -> str:
    prefix = f"{_last_stage(model)}blocks."
    blocks = [name for name, _ in model.get_submodule(prefix.rstrip(".")).named_children()]
    return f"{prefix}{blocks[-1]}."


FAMILY = Family(
    name="TinyViT",
    layers={
        "ffn": r"stages\.\d+\.blocks\.\d+\.mlp\.fc[12]",
        "attn": r"stages\.\d+\.blocks\.\d+\.attn\.(qkv|proj)",
        "attn_out": r"stages\.\d+\.blocks\.\d+\.attn\.proj",
        "head": r"head\.fc",
    },
    last_stage=_last_stage,
    last_block=_last_block,
    partial="head+last.block.ffn+last.block.attn_out",
    default_targets="ffn",
)

NANO = ModelEntry(about="TinyViT of 0.55M parameters for 32x32 images, with its elders' layer names", build=build_nano)
