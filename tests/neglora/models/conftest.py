"""The models in nature's size, of which only the layers are looked at, and the small ones."""

import pytest
from torch import nn

from neglora.models import build_model, model_shape


@pytest.fixture(scope="session")
def elder_tinyvit() -> nn.Module:
    return model_shape("tinyvit_21m", num_classes=100, image_size=224)


@pytest.fixture(scope="session")
def elder_resnet() -> nn.Module:
    return model_shape("resnet50", num_classes=10, image_size=224)


@pytest.fixture(scope="session")
def elder_vit() -> nn.Module:
    return model_shape("vit_small", num_classes=100, image_size=224)


@pytest.fixture(scope="session")
def nano_tinyvit() -> nn.Module:
    return build_model("tinyvit_nano", num_classes=10, image_size=32, channels=3, seed=0)


@pytest.fixture(scope="session")
def nano_resnet() -> nn.Module:
    return build_model("resnet_nano", num_classes=10, image_size=32, channels=3, seed=0)


@pytest.fixture(scope="session")
def small_vit() -> nn.Module:
    return build_model("timm:test_vit", num_classes=10, image_size=32, channels=3, seed=0)
