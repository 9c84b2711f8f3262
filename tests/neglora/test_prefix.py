"""Where models are cut, and what comes of the two parts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from neglora.activations import ActivationBatches, PrefixCache, Through
from neglora.evaluation import infer
from neglora.methods import METHODS
from neglora.models import build_model, family_of, match_targets
from neglora.prefix import Cut, entered, find_cut, run_prefix
from tests.neglora.small_models import SMALL, random_images, with_statistics

#: For each small model, targets and the first step that has some of their layers.
FIRST = {
    "tinyvit_nano": {
        "ffn": "stages.1.blocks.0.mlp",
        "attn": "stages.1.blocks.0.attn",
        "last.conv": "stages.3.downsample",
        "last.attn_out+head": "stages.3.blocks.0.attn",
        "last.ffn": "stages.3.blocks.0.mlp",
        "partial": "stages.3.blocks.0.attn",
        "head": "head.fc",
    },
    "resnet_nano": {"last.conv": "layer4.0", "last.conv+head": "layer4.0", "paper_counts": "layer1.0", "head": "fc"},
    "timm:test_vit": {
        "ffn": "blocks.0.mlp",
        "attn": "blocks.0.attn",
        "last.ffn": "blocks.5.mlp",
        "partial": "blocks.5.attn",
        "head": "head",
    },
}
CASES = [(name, targets) for name, known in FIRST.items() for targets in known]
every_case = pytest.mark.parametrize(("name", "targets"), CASES)
every_model = pytest.mark.parametrize("name", SMALL)


def build(name: str) -> nn.Module:
    return with_statistics(build_model(name, num_classes=10, image_size=32, channels=3, seed=0))


def cut_of(model: nn.Module, targets: str) -> Cut:
    cut = find_cut(model, match_targets(model, targets))
    assert cut is not None
    return cut


def unlearned(method: str, model: nn.Module, targets: str, forget: Any) -> nn.Module:
    params = {"targets": targets, "lr": 1e-2, "epochs": 2, "batch_size": 8}
    if method == "neglora":
        params |= {"rank": 4, "dropout": 0.1}
    resolved = METHODS[method].resolve(params)
    return METHODS[method].unlearn(model, params=resolved, masks={}, seed=0, forget=forget).model


def equal(left: list[tuple[Tensor, Tensor]], right: list[tuple[Tensor, Tensor]]) -> bool:
    pairs = zip(left, right, strict=True)
    return all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


# Where a model is cut.


@every_case
def test_a_model_is_cut_before_the_first_step_that_changes(name, targets):
    model = build(name)
    cut = cut_of(model, targets)
    steps = family_of(model).steps(model)
    assert FIRST[name][targets] in steps[cut.depth].modules
    assert all(FIRST[name][targets] not in step.modules for step in steps[: cut.depth])


def test_a_cut_is_the_same_for_all_models_of_a_kind():
    one, other = build("tinyvit_nano"), build("tinyvit_nano")
    assert len({cut_of(one, "ffn"), cut_of(other, "ffn"), cut_of(one, "last.ffn")}) == 2


@every_model
def test_there_is_no_cut_where_everything_changes_or_the_first_layer(name):
    model = build(name)
    assert find_cut(model, None) is None
    assert find_cut(model, match_targets(model, "conv")) is None


def test_there_is_no_cut_below_statistics_that_change():
    for name, possible in (("tinyvit_nano", False), ("resnet_nano", False), ("timm:test_vit", True)):
        model = build(name)
        found = find_cut(model, match_targets(model, "head"), batchnorm="update")
        assert (found is not None) == possible, name


def test_a_family_that_is_not_known_has_no_cut():
    model = build_model("timm:test_convnext", num_classes=10, image_size=32, channels=3, seed=0)
    assert find_cut(model, match_targets(model, "head")) is None
    assert find_cut(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), ["1"]) is None


def test_what_is_drawn_in_training_stays_out_of_the_prefix():
    model = build("tinyvit_nano")
    whole = cut_of(model, "head")
    block = model.stages[2].blocks[1]
    for module, rate, part in (("drop_path2", DropPath(0.0), None), ("drop_path2", DropPath(0.1), "mlp")):
        setattr(block, module, rate)
        cut = cut_of(model, "head")
        if part is None:
            assert cut == whole
        else:
            assert family_of(model).steps(model)[cut.depth].modules[0] == f"stages.2.blocks.1.{part}"
    block.attn.qkv = nn.Sequential(block.attn.qkv, nn.Dropout(0.2))
    cut = cut_of(model, "head")
    assert family_of(model).steps(model)[cut.depth].modules[0] == "stages.2.blocks.1.attn"

    with_head_dropout = build_model("resnet50", num_classes=10, image_size=32, channels=3, seed=0)
    assert with_head_dropout.drop_rate > 0
    assert find_cut(with_head_dropout, ["fc"]) is not None, "it comes after the cut"


def hooked(model: nn.Module) -> None:
    model.stages[0].blocks[0].register_forward_hook(lambda module, inputs, outputs: outputs)


def watched(model: nn.Module) -> None:
    model.register_forward_pre_hook(lambda module, inputs: None)


def parametrized(model: nn.Module) -> None:
    parametrizations.weight_norm(model.stages[2].blocks[0].mlp.fc1)


def replaced(model: nn.Module) -> None:
    block = model.stages[3].blocks[0]
    block.forward = block.forward


def with_another_weight(model: nn.Module) -> None:
    model.stages[1].scale = nn.Parameter(torch.ones(1))


def tied(model: nn.Module) -> None:
    first, second = model.stages[2].blocks
    second.mlp.fc1.weight = first.mlp.fc1.weight


@pytest.mark.parametrize("change", [hooked, watched, parametrized, replaced, with_another_weight, tied])
def test_a_model_that_was_altered_is_not_cut(change: Callable[[nn.Module], None]):
    model = build("tinyvit_nano")
    assert find_cut(model, ["head.fc"])
    change(model)
    assert find_cut(model, ["head.fc"]) is None


# What comes of the two parts.


@every_model
def test_both_parts_are_the_model_bit_for_bit_at_every_depth(name):
    model = build(name)
    whole = infer(model, random_images()).logits
    steps = family_of(model).steps
    for depth in range(1, len(steps(model)) + 1):
        cut = Cut(steps, depth)
        with entered(model, cut):
            found = infer(model, Through(model, cut, random_images())).logits
        assert torch.equal(found, whole), depth


@every_case
def test_merged_models_give_the_same_bits_behind_the_base_s_prefix(name, targets):
    base = build(name)
    cut = cut_of(base, targets)
    cache = PrefixCache(10**9)
    for seed in (5, 6):
        model = unlearned("neglora", copy.deepcopy(base), targets, random_images(8, seed=seed))
        whole = infer(model, random_images()).logits
        assert not torch.equal(whole, infer(base, random_images()).logits)
        for _ in range(2):
            with entered(model, cut):
                found = infer(model, cache.batches("images", base, cut, random_images())).logits
            assert torch.equal(found, whole)
    assert cache.hits == 3


@every_case
@pytest.mark.parametrize("method", ["neglora", "partial_neggrad"])
def test_an_ascent_through_the_cut_is_that_through_the_model(method, name, targets):
    base = build(name)
    cut = cut_of(base, targets)
    whole = unlearned(method, copy.deepcopy(base), targets, random_images(8, seed=5))
    kept = list(Through(base, cut, random_images()))
    before = copy.deepcopy(kept)
    activations, labels = (torch.cat(part) for part in zip(*kept, strict=True))
    model = copy.deepcopy(base)
    with entered(model, cut):
        through = unlearned(method, model, targets, ActivationBatches(activations, labels, batch_size=8, seed=5))
    assert equal(kept, before)
    assert through.state_dict().keys() == whole.state_dict().keys()
    for key, value in whole.state_dict().items():
        assert torch.allclose(through.state_dict()[key], value, rtol=0, atol=1e-5), key
    moved = [not torch.equal(value, base.state_dict()[key]) for key, value in whole.state_dict().items()]
    assert any(moved)


def test_the_base_s_modes_stay_and_nothing_is_drawn():
    model = build("resnet_nano").train()
    model.layer1.eval()
    before = [module.training for module in model.modules()]
    statistics = model.bn1.running_mean.clone()
    found = run_prefix(model, cut_of(model, "head"), next(iter(random_images()))[0])
    assert [module.training for module in model.modules()] == before
    assert torch.equal(model.bn1.running_mean, statistics)
    assert not found.requires_grad
    assert not found.is_inference(), "an ascent computes gradients behind it"


def test_activations_do_not_keep_what_they_are_a_part_of():
    model = build("timm:test_vit")
    found = run_prefix(model, cut_of(model, "head"), next(iter(random_images()))[0])
    assert found.untyped_storage().nbytes() == found.nbytes


def test_a_model_is_left_as_it_was_when_the_block_ends():
    model = build("resnet_nano")
    cut, deeper = cut_of(model, "last.conv"), cut_of(model, "head")
    images = next(iter(random_images()))[0]
    with torch.no_grad():
        whole = model(images)
        with entered(model, cut):
            with entered(model, deeper):
                assert torch.equal(model(run_prefix(model, deeper, images)), whole)
            assert torch.equal(model(run_prefix(model, cut, images)), whole)
        assert torch.equal(model(images), whole)
    with pytest.raises(KeyError), entered(model, cut):
        raise KeyError
    assert "forward" not in vars(model)


def test_a_copy_of_an_entered_model_runs_its_own_layers():
    model = build("resnet_nano")
    cut = cut_of(model, "head")
    activations = run_prefix(model, cut, next(iter(random_images()))[0])
    with entered(model, cut):
        copied = copy.deepcopy(model)
        with torch.no_grad():
            copied.fc.weight.zero_()
            copied.fc.bias.zero_()
            assert copied(activations).abs().max() == 0
            assert model(activations).abs().max() > 0
