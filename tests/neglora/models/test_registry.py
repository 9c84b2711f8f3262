import pytest
import torch

from neglora.models import MODELS, build_model, resolve_targets


def build(name, *, seed=0, num_classes=7, image_size=32, channels=3):
    return build_model(name, num_classes=num_classes, image_size=image_size, channels=channels, seed=seed)


def test_there_are_models():
    assert {"tinyvit_nano", "resnet_nano"} <= set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_built_for_its_images(name):
    for channels, image_size in ((3, 32), (1, 48)):
        model = build(name, channels=channels, image_size=image_size)
        assert not model.training
        with torch.no_grad():
            assert model(torch.zeros(2, channels, image_size, image_size)).shape == (2, 7)


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_fixes_the_weights_and_leaves_the_global_generator(name):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build(name, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", MODELS)
def test_targets_are_resolved_by_name(name):
    layers = dict(build(name).named_modules())
    for targets in ("head", "conv", "last.conv+head"):
        found = resolve_targets(name, targets, num_classes=7, image_size=32)
        assert found
        assert set(found) <= set(layers)
