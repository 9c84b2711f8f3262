"""Every family's steps are its models' own forward pass."""

import pytest
import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn

from neglora.models import MODELS, build_model, family_of, model_shape
from tests.neglora.small_models import SMALL, with_statistics

#: Others of these families: padded windows, other stems and shortcuts, pooling, registers, normalizations.
RELATED = [
    "timm:tiny_vit_5m_224",
    "timm:resnet18",
    "timm:resnet26t",
    "timm:ecaresnet26t",
    "timm:test_vit2",
    "timm:test_vit3",
    "timm:test_vit4",
    "timm:deit3_small_patch16_224",
]


def build(name: str, options: dict[str, str] | None = None) -> nn.Module:
    return with_statistics(build_model(name, num_classes=10, image_size=48, channels=3, seed=0, options=options))


def images(seed: int = 0) -> Tensor:
    return torch.randn(5, 3, 48, 48, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", [*SMALL, "vit_small", *RELATED])
def test_steps_in_order_are_the_model_bit_for_bit(name):
    model = build(name)
    steps = family_of(model).steps(model)
    assert len(steps) > 5
    with torch.no_grad():
        found = images()
        for step in steps:
            found = step.run(found)
        assert torch.equal(found, model(images()))


def test_windows_that_pad_the_map_too():
    model = build("tinyvit_nano", {"windows": "padded"})
    with torch.no_grad():
        found = images()
        for step in family_of(model).steps(model):
            found = step.run(found)
        assert torch.equal(found, model(images()))


@pytest.mark.parametrize("name", [*MODELS, *RELATED])
def test_every_weight_belongs_to_one_step(name):
    model = model_shape(name, num_classes=10, image_size=64)
    owners = [module for step in family_of(model).steps(model) for module in step.modules]
    states = [*model.state_dict(), *(name for name, _ in model.named_buffers())]
    assert len(states) > 50
    for state in states:
        assert sum(f"{state}.".startswith(f"{owner}.") for owner in owners) == 1, state


def test_dropout_before_the_classifier_is_that_of_the_model():
    model = with_statistics(build_model("timm:resnet18", num_classes=10, image_size=48, channels=3, seed=0))
    model.drop_rate = 0.5
    model.fc.train()
    model.training = True
    torch.manual_seed(3)
    whole = model(images())
    torch.manual_seed(3)
    found = images()
    for step in family_of(model).steps(model):
        found = step.run(found)
    assert torch.equal(found, whole)
    assert not torch.equal(found, model.eval()(images()))


def test_nothing_is_claimed_of_what_is_not_known():
    class Different(ResNet):
        def forward_features(self, x: Tensor) -> Tensor:
            return super().forward_features(x) + 1

    different = build("resnet_nano")
    different.__class__ = Different
    assert family_of(different).name == "ResNet"
    assert family_of(different).steps(different) == ()

    for name in SMALL:
        checkpointing = build(name)
        checkpointing.grad_checkpointing = True
        assert family_of(checkpointing).steps(checkpointing) == ()

    other = build_model("timm:test_convnext", num_classes=10, image_size=48, channels=3, seed=0)
    assert family_of(other).steps(other) == ()
