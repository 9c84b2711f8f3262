import pytest
import timm
import torch

from neglora.models import ModelError, build_model, family_of, find_model, match_targets, model_shape


def shape(name, image_size=32, num_classes=7):
    return model_shape(f"timm:{name}", num_classes=num_classes, image_size=image_size)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("test_vit", "ViT"),
        ("test_resnet", "ResNet"),
        ("resnet18.a1_in1k", "ResNet"),
        ("tiny_vit_5m_224", "TinyViT"),
        ("deit_tiny_distilled_patch16_224", "ViT"),
        ("test_convnext", "other"),
        ("mobilenetv3_small_050", "other"),
        ("swin_tiny_patch4_window7_224", "other"),
    ],
)
def test_families_of_timms_models(name, family):
    model = shape(name, image_size=64)
    assert family_of(model).name == family
    assert match_targets(model, family_of(model).default_targets)
    assert match_targets(model, family_of(model).partial)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext"])
def test_it_is_what_timm_builds(name):
    model = build_model(f"timm:{name}", num_classes=7, image_size=160, channels=1, seed=0)
    theirs = timm.create_model(name, num_classes=7, in_chans=1, img_size=160 if name == "test_vit" else None).eval()
    theirs.load_state_dict(model.state_dict())
    images = torch.randn(2, 1, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(images), theirs(images))


def test_a_transformer_is_built_for_the_size_of_the_images():
    assert shape("vit_tiny_patch16_224").pos_embed.shape[1] == 1 + 2 * 2
    assert shape("vit_tiny_patch16_224", image_size=64).pos_embed.shape[1] == 1 + 4 * 4


def test_pretrained_weights_are_those_of_the_name():
    assert find_model("timm:resnet50.a1_in1k").pretrained == "resnet50.a1_in1k"
    assert find_model("timm:no_such_net") is None
    assert find_model("timm:") is None
    assert find_model("timm:hf-hub:somebody/something") is None, "nothing that a hub names"


@pytest.mark.parametrize(
    ("name", "size", "why"),
    [
        ("resnet50.nonsense", 32, "timm cannot build resnet50.nonsense .*tag"),
        ("vit_tiny_patch16_224", 8, "timm:vit_tiny_patch16_224 cannot process images of 8 pixels|timm cannot build"),
        ("vgg11", 16, "cannot process images of 16 pixels and 3 channels: .*; set another image_size"),
    ],
)
def test_what_cannot_be_built_says_why(name, size, why):
    for make in (
        shape,
        lambda name, size: build_model(f"timm:{name}", num_classes=7, image_size=size, channels=3, seed=0),
    ):
        with pytest.raises(ModelError, match=why):
            make(name, size)


def test_what_is_no_classifier_is_refused():
    with pytest.raises(ModelError, match="no classifier"):
        shape("test_vit", num_classes=0)
