"""Where models are cut, what comes of the two parts, and what is kept of the first."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from neglora import prefix
from neglora.data import TensorBatches
from neglora.evaluation import infer
from neglora.methods import METHODS
from neglora.models import build_model, family_of, match_targets
from neglora.prefix import ActivationBatches, Cut, PrefixCache, Through, entered, find_cut, run_prefix
from tests.neglora.small_models import SMALL, with_statistics

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


def data(batch_size: int = 10, seed: int | None = None, count: int = 24) -> TensorBatches:
    """Random images, by default three batches of which the last is smaller."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (count,), generator=generator)
    return TensorBatches(images, labels, mean=(0.5,) * 3, std=(0.25,) * 3, batch_size=batch_size, seed=seed)


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


@pytest.mark.parametrize("change", [hooked, watched, parametrized, replaced, with_another_weight])
def test_a_model_that_was_altered_is_not_cut(change: Callable[[nn.Module], None]):
    model = build("tinyvit_nano")
    assert find_cut(model, ["head.fc"])
    change(model)
    assert find_cut(model, ["head.fc"]) is None


# What comes of the two parts.


@every_model
def test_both_parts_are_the_model_bit_for_bit_at_every_depth(name):
    model = build(name)
    whole = infer(model, data()).logits
    steps = family_of(model).steps
    for depth in range(1, len(steps(model)) + 1):
        cut = Cut(steps, depth)
        with entered(model, cut):
            found = infer(model, Through(model, cut, data())).logits
        assert torch.equal(found, whole), depth


@every_case
def test_merged_models_give_the_same_bits_behind_the_base_s_prefix(name, targets):
    base = build(name)
    cut = cut_of(base, targets)
    cache = PrefixCache(10**9)
    for seed in (5, 6):
        model = unlearned("neglora", copy.deepcopy(base), targets, data(8, seed=seed))
        whole = infer(model, data()).logits
        assert not torch.equal(whole, infer(base, data()).logits)
        for _ in range(2):
            with entered(model, cut):
                found = infer(model, cache.batches("images", base, cut, data())).logits
            assert torch.equal(found, whole)
    assert cache.hits == 3


@every_case
@pytest.mark.parametrize("method", ["neglora", "partial_neggrad"])
def test_an_ascent_through_the_cut_is_that_through_the_model(method, name, targets):
    base = build(name)
    cut = cut_of(base, targets)
    whole = unlearned(method, copy.deepcopy(base), targets, data(8, seed=5))
    kept = list(Through(base, cut, data()))
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
    found = run_prefix(model, cut_of(model, "head"), next(iter(data()))[0])
    assert [module.training for module in model.modules()] == before
    assert torch.equal(model.bn1.running_mean, statistics)
    assert not found.requires_grad
    assert not found.is_inference(), "an ascent computes gradients behind it"


def test_activations_do_not_keep_what_they_are_a_part_of():
    model = build("timm:test_vit")
    found = run_prefix(model, cut_of(model, "head"), next(iter(data()))[0])
    assert found.untyped_storage().nbytes() == found.nbytes


def test_a_model_is_left_as_it_was_when_the_block_ends():
    model = build("resnet_nano")
    cut, deeper = cut_of(model, "last.conv"), cut_of(model, "head")
    images = next(iter(data()))[0]
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
    activations = run_prefix(model, cut, next(iter(data()))[0])
    with entered(model, cut):
        copied = copy.deepcopy(model)
        with torch.no_grad():
            copied.fc.weight.zero_()
            copied.fc.bias.zero_()
            assert copied(activations).abs().max() == 0
            assert model(activations).abs().max() > 0


# What is kept.


class Counted:
    """Batches that count how often they were iterated."""

    def __init__(self, batches: TensorBatches) -> None:
        self.batches, self.times = batches, 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.times += 1
        return iter(self.batches)


@pytest.fixture
def model() -> nn.Module:
    return build("resnet_nano")


@pytest.fixture
def cut(model: nn.Module) -> Cut:
    return cut_of(model, "head")


def bytes_of(model: nn.Module, cut: Cut) -> int:
    return sum(tensor.nbytes for batch in Through(model, cut, data()) for tensor in batch)


def test_activations_are_computed_once(model, cut):
    cache, source = PrefixCache(10**9), Counted(data())
    fresh = list(Through(model, cut, data()))
    assert [len(labels) for _, labels in fresh] == [10, 10, 4]
    for _ in range(3):
        assert equal(list(cache.batches("images", model, cut, source)), fresh)
    assert (source.times, cache.hits) == (1, 2)
    assert cache.held_bytes == bytes_of(model, cut)
    cache.clear()
    assert cache.held_bytes == 0
    assert equal(list(cache.batches("images", model, cut, source)), fresh)
    assert source.times == 2


def test_batches_can_be_iterated_again_before_and_after_they_are_kept(model, cut):
    cache = PrefixCache(10**9)
    batches = cache.batches("images", model, cut, data())
    assert equal(list(batches), list(batches))
    assert cache.hits == 1


def test_what_was_not_computed_to_its_end_is_not_kept(model, cut):
    cache, source = PrefixCache(10**9), Counted(data())
    next(iter(cache.batches("images", model, cut, source)))
    assert cache.held_bytes == 0
    with pytest.raises(KeyError):
        cache.seconds("images")
    assert len(list(cache.batches("images", model, cut, source))) == 3
    assert source.times == 2


def test_the_least_recently_used_goes_first(model, cut):
    size = bytes_of(model, cut)
    cache = PrefixCache(2 * size)
    sources = {key: Counted(data()) for key in "abc"}

    def use(key: str) -> None:
        list(cache.batches(key, model, cut, sources[key]))
        assert cache.held_bytes <= cache.budget_bytes

    for key in "abacab":
        use(key)
    assert {key: source.times for key, source in sources.items()} == {"a": 1, "b": 2, "c": 1}


def test_while_computing_no_more_is_held_than_the_budget(model, cut):
    size = bytes_of(model, cut)
    cache = PrefixCache(size)
    list(cache.batches("a", model, cut, data()))
    fresh = iter(cache.batches("b", model, cut, data()))
    next(fresh)
    assert cache.held_bytes == 0


def test_what_is_too_large_alone_is_computed_each_time_with_the_same_bits(model, cut):
    small = data(count=5)
    cache, source = PrefixCache(bytes_of(model, cut) - 1), Counted(data())
    fresh = list(Through(model, cut, data()))
    assert equal(list(cache.batches("large", model, cut, source)), fresh)
    list(cache.batches("small", model, cut, small))
    held = cache.held_bytes
    assert held > 0
    assert equal(list(cache.batches("large", model, cut, source)), fresh)
    assert source.times == 2
    assert cache.held_bytes == held, "what fits is not driven out by what does not"


def test_seconds_are_those_of_the_first_time(model, cut, monkeypatch):
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr(prefix.time, "perf_counter", lambda: float(next(now)))
    cache = PrefixCache(0)
    for _ in range(2):
        list(cache.batches("images", model, cut, data()))
        assert cache.seconds("images") == 30.0, (
            "ten for each of three batches, and what is done with them does not count"
        )


# What an ascent draws.


@pytest.mark.parametrize(("count", "batch_size"), [(45, 16), (41, 20), (7, 16), (33, 16), (1, 4)])
def test_an_ascent_draws_the_order_and_sizes_that_images_would_have(count, batch_size):
    images = data(batch_size, seed=9, count=count)
    images.labels = torch.arange(count)
    activations = ActivationBatches(
        torch.arange(count)[:, None] * 1.0, torch.arange(count), batch_size=batch_size, seed=9
    )
    assert len(activations) == len(images)
    for _ in range(3):
        drawn = list(activations)
        for (inputs, labels), (_, expected) in zip(drawn, images, strict=True):
            assert torch.equal(labels, expected)
            assert torch.equal(inputs[:, 0], labels.float())
    assert not torch.equal(torch.cat([labels for _, labels in drawn]), torch.arange(count)) or count == 1
