"""TinyViT (Wu et al. 2022) from timm, with attention windows fitted to the feature map."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import timm
from timm.layers import NormMlpClassifierHead
from timm.models.tiny_vit import Attention, ConvLayer, TinyVit, TinyVitBlock, TinyVitStage
from torch import Tensor, nn
from torch.nn import functional

from neglora.models.model import Family, ModelEntry, Preset, Step

#: Windows of the stock model; the first stage is convolutional and has none.
STOCK_WINDOWS = (7, 7, 14, 7)
PATCH_STRIDE = 4


def clipped_windows(image_size: int) -> tuple[int, ...]:
    """Window sizes, one a stage, that fit each stage's feature map (for square images, in pixels).

    A map that its stock window covers gets one window of its own size: at 32x32 the maps are 8, 4, 2 and 1 wide, and
    stock windows pad the last three to 7, 14 and 7, which is up to 49 times the tokens. A wider map gets the window
    between two and four thirds of the stock one that pads it least, among equals the nearest to the stock one, then
    the larger: a map 8 wide is one window of 8 instead of four windows of 7 that see 14x14 tokens. So a window never
    costs more than 1.8 times the stock one's attention per token, and at 224x224, where the stock windows divide the
    maps, they are the stock ones, and the published weights fit.
    """
    first = -(-image_size // PATCH_STRIDE)
    fitted = (_window(-(-first // 2**stage), STOCK_WINDOWS[stage]) for stage in range(1, len(STOCK_WINDOWS)))
    return (STOCK_WINDOWS[0], *fitted)


def _window(width: int, stock: int) -> int:
    if width <= stock:
        return max(1, width)
    near = range(-(-2 * stock // 3), 4 * stock // 3 + 1)
    return min(near, key=lambda window: (-(-width // window) * window, abs(window - stock), -window))


def windows_of(image_size: int, windows: str) -> tuple[int, ...]:
    """The stage's window sizes under the option `windows`: `clipped` to the maps, or `padded` as stock models are."""
    return STOCK_WINDOWS if windows == "padded" else clipped_windows(image_size)


def build_nano(num_classes: int, image_size: int, channels: int, *, windows: str = "clipped") -> nn.Module:
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
        window_sizes=windows_of(image_size, windows),
        drop_path_rate=0.0,
    )
    for module in model.modules():
        if isinstance(module, Attention):
            nn.init.normal_(module.attention_biases, std=0.02)
    return model


def build_21m(
    num_classes: int, image_size: int, channels: int, *, windows: str = "clipped", pretrained: bool = False
) -> nn.Module:
    """TinyViT-21M: 20.7M parameters with 100 classes.

    Differs: no stochastic depth, where the published training drops paths at a rate of 0.2: the paper's Table 2 has
    none, and an ascent, which trains the model as it is, would climb with paths dropped.
    """
    return timm.create_model(
        "tiny_vit_21m_224",
        pretrained=pretrained,
        num_classes=num_classes,
        in_chans=channels,
        window_sizes=windows_of(image_size, windows),
        drop_path_rate=0.0,
    )


def _last_stage(model: nn.Module) -> str:
    stages = [name for name, _ in model.get_submodule("stages").named_children()]
    return f"stages.{stages[-1]}."


def _last_block(model: nn.Module) -> str:
    prefix = f"{_last_stage(model)}blocks."
    blocks = [name for name, _ in model.get_submodule(prefix.rstrip(".")).named_children()]
    return f"{prefix}{blocks[-1]}."


def steps(model: nn.Module) -> tuple[Step, ...]:
    """Patches, every stage's parts, what becomes the image's features, and the classifier."""
    if type(model) is not TinyVit or model.grad_checkpointing or type(model.head) is not NormMlpClassifierHead:
        return ()
    return (
        Step(("patch_embed",), partial(_embed, model)),
        *(
            step
            for name, stage in model.get_submodule("stages").named_children()
            for step in _stage_steps(f"stages.{name}", stage)
        ),
        Step(("head.global_pool", "head.norm", "head.flatten", "head.pre_logits"), partial(_pool, model.head)),
        Step(("head.drop", "head.fc"), partial(_classify, model.head)),
    )


def _stage_steps(name: str, stage: ConvLayer | TinyVitStage) -> Iterator[Step]:
    """Downsampling, and both halves of every block; maps are `[b, c, h, w]` between all of them."""
    blocks = [(f"{name}.blocks.{number}", block) for number, block in stage.blocks.named_children()]
    if isinstance(stage, ConvLayer):
        yield from (Step((own,), block) for own, block in blocks)
        return
    yield Step((f"{name}.downsample",), partial(_downsample, stage))
    for own, block in blocks:
        yield Step((f"{own}.attn", f"{own}.drop_path1", f"{own}.local_conv"), partial(_attend, block))
        yield Step((f"{own}.mlp", f"{own}.drop_path2"), partial(_feed_forward, block))


def _embed(model: TinyVit, images: Tensor) -> Tensor:
    return model.patch_embed(images)


def _pool(head: NormMlpClassifierHead, maps: Tensor) -> Tensor:
    return head.pre_logits(head.flatten(head.norm(head.global_pool(maps))))


def _classify(head: NormMlpClassifierHead, features: Tensor) -> Tensor:
    return head.fc(head.drop(features))


def _downsample(stage: TinyVitStage, maps: Tensor) -> Tensor:
    return stage.downsample(maps)


def _attend(block: TinyVitBlock, maps: Tensor) -> Tensor:
    """A block's first half: attention within windows, which may pad the map, and the local convolution."""
    maps = maps.permute(0, 2, 3, 1)
    batch, height, width, channels = maps.shape
    size = block.window_size
    below, right = -height % size, -width % size
    padded = functional.pad(maps, (0, 0, 0, right, 0, below)) if below or right else maps
    rows, columns = (height + below) // size, (width + right) // size
    windows = padded.reshape(batch, rows, size, columns, size, channels).transpose(2, 3)
    attended = block.attn(windows.reshape(batch * rows * columns, size * size, channels))
    attended = attended.view(batch, rows, columns, size, size, channels).transpose(2, 3)
    attended = attended.reshape(padded.shape)[:, :height, :width].contiguous()
    return block.local_conv((maps + block.drop_path1(attended)).permute(0, 3, 1, 2))


def _feed_forward(block: TinyVitBlock, maps: Tensor) -> Tensor:
    """A block's second half: the feed-forward network, at every place by itself."""
    batch, channels, height, width = maps.shape
    places = maps.reshape(batch, channels, height * width).transpose(1, 2)
    places = places + block.drop_path2(block.mlp(places))
    return places.view(batch, height, width, channels).permute(0, 3, 1, 2)


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
    presets={
        "paper_text": Preset("rank-16 adapters on the feed-forward layers, as the text says", rank=16, targets="ffn"),
        "paper_counts": Preset(
            "the layers that the ViT's count of 20K implies, attention output of the last block and head: wider here, "
            "29,248 at 100 classes",
            rank=16,
            targets="last.block.attn_out+head",
        ),
    },
    steps=steps,
)

NANO = ModelEntry(
    about="TinyViT of 0.55M parameters for 32x32 images, with its elders' layer names",
    build=build_nano,
    options=("windows",),
)

TINYVIT_21M = ModelEntry(
    about="TinyViT-21M, which the paper's text names; windows fitted to the images",
    build=build_21m,
    options=("windows",),
    recipe="vit_paper",
    pretrained="tiny_vit_21m_224",
)
