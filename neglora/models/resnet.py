"""ResNets with bottleneck blocks (He et al. 2015) from timm."""

from __future__ import annotations

from functools import partial

import timm
from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn
from torch.nn import functional

from neglora.models.model import Family, ModelEntry, ModelError, Preset, Step

#: Images up to this width (and height), in pixels, get the small stem unless the option says otherwise.
SMALL_STEM_UP_TO = 64


def build_nano(num_classes: int, image_size: int, channels: int) -> nn.Module:
    """A small ResNet with ResNet50's layer names: one bottleneck block a stage, a quarter of the width.

    The stem is a 3x3 convolution of stride 2 without pooling, so that a study of small images takes minutes.
    """
    model = ResNet(
        Bottleneck,
        layers=(1, 1, 1, 1),
        channels=(16, 32, 64, 128),
        num_classes=num_classes,
        in_chans=channels,
        stem_width=16,
        zero_init_last=False,
    )
    _use_small_stem(model, channels, stride=2)
    return model


def build_resnet50(
    num_classes: int, image_size: int, channels: int, *, stem: str = "auto", pretrained: bool = False
) -> nn.Module:
    """ResNet50: 23.7M parameters with 100 classes, dropout of 0.1 before the classifier (the paper's Table 3).

    The option `stem`: `plain` is the published 7x7 convolution of stride 2 with max-pooling; `small` a 3x3 one of
    stride 1 without pooling, as work on 32-pixel images uses, since the plain stem leaves a 1x1 map of these; `auto`
    is small up to 64 pixels and plain above.

    Raises:
        ModelError: timm's weights are asked for with the small stem, which they do not have.
    """
    small = stem == "small" or (stem == "auto" and image_size <= SMALL_STEM_UP_TO)
    if small and pretrained:
        raise ModelError(
            f"timm's pretrained resnet50 has the plain stem, but images of {image_size} pixels get the small one here; "
            f"set 'stem: plain', or a larger image size"
        )
    model = timm.create_model(
        "resnet50", pretrained=pretrained, num_classes=num_classes, in_chans=channels, drop_rate=0.1
    )
    if small:
        _use_small_stem(model, channels, stride=1)
    return model


def _use_small_stem(model: nn.Module, channels: int, stride: int) -> None:
    width = len(model.get_parameter("conv1.weight"))
    conv = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    model.conv1 = conv
    model.maxpool = nn.Identity()


def _last_stage(model: nn.Module) -> str:
    return max(name for name, _ in model.named_children() if name.startswith("layer")) + "."


def _last_block(model: nn.Module) -> str:
    prefix = _last_stage(model)
    blocks = [name for name, _ in model.get_submodule(prefix.rstrip(".")).named_children()]
    return f"{prefix}{blocks[-1]}."


def steps(model: nn.Module) -> tuple[Step, ...]:
    """The stem, every block, pooling, and the classifier with the dropout before it."""
    if type(model) is not ResNet or model.grad_checkpointing:
        return ()
    stages = [(name, stage) for name, stage in model.named_children() if name.startswith("layer")]
    return (
        Step(("conv1", "bn1", "act1", "maxpool"), partial(_stem, model)),
        *(Step((f"{stage}.{name}",), block) for stage, blocks in stages for name, block in blocks.named_children()),
        Step(("global_pool",), partial(_pool, model)),
        Step(("fc",), partial(_classify, model)),
    )


def _stem(model: ResNet, images: Tensor) -> Tensor:
    return model.maxpool(model.act1(model.bn1(model.conv1(images))))


def _pool(model: ResNet, maps: Tensor) -> Tensor:
    return model.global_pool(maps)


def _classify(model: ResNet, features: Tensor) -> Tensor:
    if model.drop_rate:
        features = functional.dropout(features, p=float(model.drop_rate), training=model.training)
    return model.fc(features)


FAMILY = Family(
    name="ResNet",
    layers={"head": r"fc"},
    last_stage=_last_stage,
    last_block=_last_block,
    partial="conv+head",
    default_targets="conv",
    working_targets="head",
    presets={
        "paper_counts": Preset(
            "adapters on the blocks' convolutions, without stem and shortcuts, and on the head: of the published 608K "
            "the convolutions are 588,288 at rank 8; the rest is the full head of 10 classes, 20,490, which here gets "
            "an adapter of 16,464 instead",
            rank=8,
            targets="head",
            layers=r"layer\d+\.\d+\.conv\d+",
        ),
    },
    steps=steps,
)

NANO = ModelEntry(about="ResNet with one bottleneck a stage for 32x32 images, ResNet50's layer names", build=build_nano)

RESNET50 = ModelEntry(
    about="ResNet50, with a stride-1 stem for images up to 64 pixels",
    build=build_resnet50,
    options=("stem",),
    recipe="resnet50",
    pretrained="resnet50",
)
