import pytest
import timm
import torch
from torch import nn

from neglora.models import (
    MODELS,
    OPTIONS,
    ModelError,
    build_model,
    family_of,
    find_model,
    match_targets,
    model_names,
    model_shape,
    nearest_model,
    resolve_targets,
)
from neglora.recipes import RECIPES
from tests.neglora.small_models import SMALL

#: What timm calls a model, and how many parameters it has with 100 classes.
ELDERS = {
    "tinyvit_21m": ("tiny_vit_21m_224", 20_679_268),
    "vit_small": ("vit_small_patch16_224", 21_704_164),
    "resnet50": ("resnet50", 23_712_932),
}


def build(name, *, seed=0, num_classes=7, image_size=32, channels=3, options=None):
    return build_model(
        name, num_classes=num_classes, image_size=image_size, channels=channels, seed=seed, options=options
    )


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def test_there_are_models():
    assert {"tinyvit_nano", "resnet_nano", "tinyvit_21m", "vit_small", "resnet50"} <= set(MODELS)
    assert model_names() == [*MODELS, "timm:NAME"]


def test_every_family_has_a_small_member():
    def families(names):
        return {family_of(model_shape(name, num_classes=7, image_size=32)).name for name in names}

    assert families(MODELS) == families(SMALL)
    assert len(families(MODELS)) == len(SMALL) == 3


@pytest.mark.parametrize("name", MODELS)
def test_what_an_entry_names_is_there(name):
    entry = MODELS[name]
    assert entry.about
    assert entry.recipe in RECIPES
    assert set(entry.options) <= set(OPTIONS)
    assert entry.pretrained is None or timm.models.is_model_pretrained(entry.pretrained)


@pytest.mark.parametrize("name", SMALL)
def test_a_model_is_built_for_its_images(name):
    for channels, image_size in ((3, 32), (1, 48)):
        model = build(name, channels=channels, image_size=image_size)
        assert not model.training
        with torch.no_grad():
            assert model(torch.zeros(2, channels, image_size, image_size)).shape == (2, 7)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("channels", "image_size"), [(3, 32), (1, 64), (3, 224)])
def test_shapes_are_known_without_weights(name, channels, image_size):
    model = model_shape(name, num_classes=7, image_size=image_size, channels=channels)
    assert all(parameter.device.type == "meta" for parameter in model.parameters())
    assert not model.training
    with torch.no_grad():
        images = torch.empty(2, channels, image_size, image_size, device="meta")
        assert model(images).shape == (2, 7)


@pytest.mark.parametrize("name", SMALL)
def test_the_shape_is_that_of_the_model(name):
    assert shapes(build(name)) == shapes(model_shape(name, num_classes=7, image_size=32))


@pytest.mark.parametrize("name", ELDERS)
def test_the_elders_are_timms_at_224(name):
    stock, count = ELDERS[name]
    ours = model_shape(name, num_classes=100, image_size=224)
    with torch.device("meta"):
        theirs = timm.create_model(stock, num_classes=100)
    assert shapes(ours) == shapes(theirs)
    assert sum(parameter.numel() for parameter in ours.parameters()) == count


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_fixes_the_weights_and_leaves_the_global_generator(name):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build(name, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", MODELS)
def test_targets_are_resolved_by_name(name):
    layers = dict(model_shape(name, num_classes=7, image_size=32).named_modules())
    for targets in ("head", "conv", "paper_counts"):
        found = resolve_targets(name, targets, num_classes=7, image_size=32)
        assert found
        assert set(found) <= set(layers)


def test_an_unknown_model_gets_the_nearest_name():
    assert find_model("resnt50") is None
    assert nearest_model("timm:resnt50") == "timm:resnet50"
    assert nearest_model("Q") is None
    with pytest.raises(ModelError, match=r"unknown model 'resnt50'; did you mean 'resnet50'\?"):
        build("resnt50")
    with pytest.raises(ModelError, match=r"did you mean 'timm:resnet50'"):
        model_shape("timm:resnt50", num_classes=7, image_size=32)
    with pytest.raises(ModelError, match=r"models are tinyvit_nano, .*timm:NAME"):
        build("Q")


def test_options_that_a_model_does_not_take_are_passed_over():
    plain = build("resnet_nano", options={"windows": "padded", "stem": "plain"}).state_dict()
    assert all(torch.equal(value, plain[key]) for key, value in build("resnet_nano").state_dict().items())


@pytest.mark.parametrize("name", MODELS)
def test_the_layers_that_a_family_names_are_there(name):
    model = model_shape(name, num_classes=10, image_size=32)
    family = family_of(model)
    for targets in (family.partial, family.default_targets, *family.presets):
        assert match_targets(model, targets)
