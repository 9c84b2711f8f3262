"""Partial NegGrad trains every parameter of the layers that it is told, and nothing else."""

from __future__ import annotations

import pytest
import torch

from neglora.data import TensorBatches
from neglora.methods import METHODS
from neglora.models import TargetError, build_model, match_targets

METHOD = METHODS["partial_neggrad"]


def forget() -> TensorBatches:
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return TensorBatches(images, torch.full((8,), 3), mean=(0.5,) * 3, std=(0.25,) * 3, batch_size=8, seed=0)


@pytest.mark.parametrize(
    ("model_name", "targets"),
    [
        ("tinyvit_nano", "last.ffn"),
        ("resnet_nano", "head"),
        ("resnet_nano", ["layer4.0.conv3", "fc"]),
        ("timm:test_vit", "last.block.attn_out+head"),
    ],
)
def test_exactly_the_layers_that_it_is_told(model_name, targets):
    model = build_model(model_name, num_classes=10, image_size=32, channels=3, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layers = match_targets(model, targets)
    expected = {name for name, _ in model.named_parameters() if name.rpartition(".")[0] in layers}
    params = METHOD.resolve({"lr": 1e-2, "targets": targets})
    unlearned = METHOD.unlearn(model, params=params, masks={}, seed=0, forget=forget())
    after = unlearned.model.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == expected
    assert unlearned.layers == tuple(layers)
    assert unlearned.trainable_parameters == sum(before[name].numel() for name in expected)


def test_layers_that_a_model_lacks_are_refused():
    model = build_model("resnet_nano", num_classes=10, image_size=32, channels=3, seed=0)
    with pytest.raises(TargetError, match="matches no layer"):
        METHOD.unlearn(model, params=METHOD.resolve({"targets": "ffn"}), masks={}, seed=0, forget=forget())
