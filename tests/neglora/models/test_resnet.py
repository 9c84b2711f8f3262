import pytest
import torch
from torch import nn

from neglora.models import ModelError, match_targets, model_shape, pretrained_model


def layer_types(model: nn.Module) -> set[tuple[str, type]]:
    return {(name, type(module)) for name, module in model.named_modules()}


def test_it_has_the_layers_of_its_elder(nano_resnet, elder_resnet):
    nano = {layer for layer in layer_types(nano_resnet) if layer[0] != "maxpool"}
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


@pytest.mark.parametrize(
    ("image_size", "stem", "width"),
    [(32, "auto", 4), (64, "auto", 8), (65, "auto", 3), (224, "auto", 7), (32, "plain", 1), (224, "small", 28)],
)
def test_stems_of_resnet50(image_size, stem, width):
    """The last map is an eighth of the image with the small stem, a 32nd with the plain one."""
    model = model_shape("resnet50", num_classes=10, image_size=image_size, options={"stem": stem})
    with torch.no_grad():
        maps = model.forward_features(torch.empty(1, 3, image_size, image_size, device="meta"))
    assert maps.shape == (1, 2048, width, width)


def test_the_default_stem_is_auto():
    def kernel(image_size):
        return model_shape("resnet50", num_classes=10, image_size=image_size).conv1.kernel_size

    assert (kernel(32), kernel(224)) == ((3, 3), (7, 7))


def test_resnet50_drops_before_the_classifier(elder_resnet):
    assert elder_resnet.drop_rate == 0.1


def test_the_small_stem_has_no_pretrained_weights():
    with pytest.raises(ModelError, match=r"plain stem.*images of 32 pixels.*'stem: plain'"):
        pretrained_model("resnet50", num_classes=10, image_size=32, channels=3, seed=0)
