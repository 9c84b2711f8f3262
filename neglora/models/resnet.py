"""ResNets with bottleneck blocks (He et al. 2015) from timm."""

from __future__ import annotations

from timm.models.resnet import Bottleneck, ResNet
from torch import nn

from neglora.models.model import Family, ModelEntry


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
    model.conv1 = nn.Conv2d(channels, model.conv1.out_channels, 3, stride=2, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model


def _last_stage(model: nn.Module) -> str:
    return max(name for name, _ in model.named_children() if name.startswith("layer")) + "."


def _last_block(model: nn.Module) -> str:
    prefix = _last_stage(model)
    blocks = [name for name, _ in model.get_submodule(prefix.rstrip(".")).named_children()]
    return f"{prefix}{blocks[-1]}."


FAMILY = Family(
    name="ResNet",
    layers={"head": r"fc"},
    last_stage=_last_stage,
    last_block=_last_block,
    partial="conv+head",
    default_targets="conv",
)

NANO = ModelEntry(about="ResNet with one bottleneck a stage for 32x32 images, ResNet50's layer names", build=build_nano)
