import torch
from torch import nn

from neglora.models import match_targets


def layer_types(model: nn.Module) -> set[tuple[str, type]]:
    return {(name, type(module)) for name, module in model.named_modules()}


def test_it_has_the_layers_of_its_elder(nano_resnet, elder_resnet):
    nano = layer_types(nano_resnet) - {("maxpool", nn.Identity)}
    assert len(nano) > 50
    assert nano <= layer_types(elder_resnet)


def test_small_images_keep_a_feature_map(nano_resnet):
    with torch.no_grad():
        assert nano_resnet.forward_features(torch.zeros(1, 3, 32, 32)).shape == (1, 512, 2, 2)


def test_last_stage_and_block_of_both(nano_resnet, elder_resnet):
    assert match_targets(nano_resnet, "last.conv") == match_targets(nano_resnet, "last.block.conv")
    stage = match_targets(elder_resnet, "last.conv")
    assert len(stage) == 10, "three blocks of three convolutions and one shortcut"
    assert all(name.startswith("layer4.") for name in stage)
    assert match_targets(elder_resnet, "last.block.conv") == [f"layer4.2.conv{number}" for number in (1, 2, 3)]
