"""The models in nature's size, with fresh weights: only their layers are looked at."""

import pytest
import timm
from torch import nn

from neglora.models import build_model


@pytest.fixture(scope="session")
def elder_tinyvit() -> nn.Module:
    return timm.create_model("tiny_vit_21m_224", pretrained=False).eval()


@pytest.fixture(scope="session")
def elder_resnet() -> nn.Module:
    return timm.create_model("resnet50", pretrained=False, num_classes=10).eval()


@pytest.fixture(scope="session")
def nano_tinyvit() -> nn.Module:
    return build_model("tinyvit_nano", num_classes=10, image_size=32, channels=3, seed=0)


@pytest.fixture(scope="session")
def nano_resnet() -> nn.Module:
    return build_model("resnet_nano", num_classes=10, image_size=32, channels=3, seed=0)
