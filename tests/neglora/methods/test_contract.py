"""What every method of the registry keeps to, on small models with fresh weights."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from neglora.data import TensorBatches
from neglora.methods import METHODS, Passing, Unlearned
from neglora.models import build_model, match_targets
from neglora.prune import measured_sparsity, prune
from neglora.train import Recipe
from tests.neglora.small_models import SMALL

FORGET = 3
RECIPE = Recipe(epochs=1, batch_size=8, warmup_epochs=0)
#: Settings under which each method takes a few steps.
SETTINGS: dict[str, dict[str, Any]] = {
    "retrain": {"recipe": RECIPE},
    "neggrad": {"lr": 1e-3},
    "partial_neggrad": {"lr": 1e-2},
    "neglora": {"lr": 1e-2, "rank": 4, "dropout": 0.1},
}
#: Every parameter a method declares to change, as targets of the model; None stands for all of them.
DECLARED = {
    "tinyvit_nano": {
        "retrain": None,
        "neggrad": None,
        "partial_neggrad": "head+last.block.ffn+last.block.attn_out",
        "neglora": "last.attn_out+ffn+head",
    },
    "resnet_nano": {"retrain": None, "neggrad": None, "partial_neggrad": "conv+head", "neglora": "last.conv+head"},
    "timm:test_vit": {
        "retrain": None,
        "neggrad": None,
        "partial_neggrad": "head+last.block.ffn+last.block.attn_out",
        "neglora": "last.attn_out+ffn+head",
    },
}
#: A window of one token: the softmax over it does not depend on its bias, so that an ascent has no gradient there.
WITHOUT_GRADIENT = {"stages.3.blocks.0.attn.attention_biases"}

ASCENTS = [name for name, method in METHODS.items() if method.starts_from == "base"]

every_method = pytest.mark.parametrize("method", METHODS)
every_ascent = pytest.mark.parametrize("method", ASCENTS)
every_model = pytest.mark.parametrize("model_name", SMALL)


def build(model_name: str, seed: int = 0) -> nn.Module:
    return build_model(model_name, num_classes=10, image_size=32, channels=3, seed=seed)


def data(need: str, seed: int = 0) -> TensorBatches:
    """A few random images: of the forget class, or of all the others."""
    images = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    labels = torch.full((20,), FORGET) if need == "forget" else (torch.arange(20) % 9 + FORGET + 1) % 10
    return TensorBatches(images, labels, mean=(0.5,) * 3, std=(0.25,) * 3, batch_size=8, seed=seed)


def run(
    method: str,
    model_name: str,
    model: nn.Module,
    *,
    seed: int = 0,
    masks: dict[str, Tensor] | None = None,
    passing: Passing | None = None,
    **changes: Any,
) -> Unlearned:
    chosen = METHODS[method]
    params = SETTINGS[method] | changes
    # Partial NegGrad's default means something on every model.
    if any(parameter.by_family for parameter in chosen.parameters):
        params = {"targets": DECLARED[model_name][method]} | params
    if chosen.parameters:
        params = chosen.resolve(params)
    handed: dict[str, Any] = {need: data(need) for need in chosen.needs}
    if passing:
        handed["passing"] = passing
    return chosen.unlearn(model, params=params, masks=masks or {}, seed=seed, **handed)


def declared(method: str, model_name: str, model: nn.Module) -> set[str]:
    targets = DECLARED[model_name][method]
    names = {name for name, _ in model.named_parameters()}
    if targets is None:
        return names
    layers = match_targets(model, targets)
    if method == "neglora":
        return {f"{layer}.weight" for layer in layers}
    return {name for name in names if name.rsplit(".", 1)[0] in layers}


def differing(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    assert set(before) == set(after)
    return {name for name in before if not torch.equal(before[name], after[name])}


def parameters_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def buffers_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def statistics_of(model: nn.Module) -> set[str]:
    names = ("running_mean", "running_var", "num_batches_tracked")
    layers = [layer for layer, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    return {f"{layer}.{name}" for layer in layers for name in names}


def forget_loss(model: nn.Module) -> float:
    [*batches] = data("forget")
    with torch.no_grad():
        logits = torch.cat([model.eval()(inputs) for inputs, _ in batches])
    return functional.cross_entropy(logits, torch.full((20,), FORGET)).item()


def test_the_registry_is_covered():
    assert len(METHODS) >= 4
    assert set(METHODS) == set(SETTINGS)
    assert set(DECLARED) == set(SMALL)
    for model_name in SMALL:
        assert set(DECLARED[model_name]) == set(METHODS)
    assert all(method.name == name and method.about for name, method in METHODS.items())


@every_method
def test_it_asks_for_what_it_declares(method):
    """Whatever data its function takes, it says so: nothing else is ever handed to it."""
    signature = inspect.signature(METHODS[method].unlearn).parameters
    keywords = {name for name, parameter in signature.items() if parameter.kind is inspect.Parameter.KEYWORD_ONLY}
    assert keywords - {"passing"} == {"params", "masks", "seed", *METHODS[method].needs}
    assert METHODS[method].needs == (("retain",) if method == "retrain" else ("forget",))


@every_model
@every_method
def test_exactly_the_declared_parameters_and_buffers_change(method, model_name):
    model = build(model_name)
    before, buffers = parameters_of(model), buffers_of(model)
    expected = declared(method, model_name, model)
    if method in ASCENTS:
        expected -= WITHOUT_GRADIENT
    assert expected
    unlearned = run(method, model_name, model)
    assert differing(before, parameters_of(unlearned.model)) == expected
    moved = differing(buffers, buffers_of(unlearned.model))
    assert moved == (statistics_of(model) if method == "retrain" else set())


@every_model
@every_ascent
def test_batchnorm_follows_only_where_it_is_asked_to(method, model_name):
    model = build(model_name)
    before = buffers_of(model)
    unlearned = run(method, model_name, model, batchnorm="update")
    assert differing(before, buffers_of(unlearned.model)) == statistics_of(unlearned.model)


@every_model
@every_method
def test_what_comes_back_is_ready_to_use(method, model_name):
    model = build(model_name)
    names = list(model.state_dict())
    unlearned = run(method, model_name, model)
    assert type(unlearned.model) is type(build(model_name))
    assert list(unlearned.model.state_dict()) == names
    assert not any(module.training for module in unlearned.model.modules())
    assert all(parameter.requires_grad for parameter in unlearned.model.parameters())


@every_model
@every_method
def test_trainable_parameters_are_counted(method, model_name):
    model = build(model_name)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    expected = sum(sizes[name] for name in declared(method, model_name, model))
    if method == "neglora":
        weights = [model.get_submodule(name).weight for name in match_targets(model, DECLARED[model_name][method])]
        expected = sum(4 * (weight.shape[0] + weight[0].numel()) for weight in weights)
    assert run(method, model_name, model).trainable_parameters == expected


@every_model
@every_ascent
def test_it_says_what_it_did(method, model_name):
    model = build(model_name)
    layers = DECLARED[model_name][method]
    expected = tuple(match_targets(model, layers)) if layers else ()
    unlearned = run(method, model_name, model, epochs=2)
    assert unlearned.ascent is not None
    assert (unlearned.ascent.steps, unlearned.ascent.epochs) == (6, 2)
    assert unlearned.layers == expected
    assert unlearned.sparsity_after_ascent == 0.0


@every_model
@every_method
def test_the_same_seed_gives_the_same_weights(method, model_name):
    """Whatever state torch's global generator is in, and without a trace in it."""
    results = []
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        results.append(run(method, model_name, build(model_name), seed=5).model.state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    assert differing(*results) == set()


@every_model
@every_ascent
@pytest.mark.parametrize("changes", [{}, {"sparsity": 0.75, "batchnorm": "update"}], ids=["dense", "sparse"])
def test_a_run_passes_through_shorter_ones(method, model_name, changes):
    """What it is on its way is what a run of so many epochs is, bit for bit; and it goes on as if nobody had asked."""

    def after(epochs: int, **given: Any) -> Unlearned:
        model = build(model_name)
        masks = prune(model, changes.get("sparsity", 0))
        return run(method, model_name, model, masks=masks, epochs=epochs, **changes, **given)

    on_the_way: dict[int, Unlearned] = {}

    def told(epochs: int, copied: Callable[[], Callable[[], Unlearned]]) -> None:
        unlearned = on_the_way[epochs] = copied()()
        # Whatever is done with it, and with torch's generator.
        unlearned.model(torch.randn(4, 3, 32, 32))

    whole = after(3, passing=Passing((1, 2), told))
    assert list(on_the_way) == [1, 2]
    for epochs, unlearned in (on_the_way | {3: whole}).items():
        alone = after(epochs)
        assert differing(alone.model.state_dict(), unlearned.model.state_dict()) == set()
        assert not any(module.training for module in unlearned.model.modules())
        assert all(parameter.requires_grad and parameter.grad is None for parameter in unlearned.model.parameters())
        if alone.adapter:
            assert differing(alone.adapter.tensors, unlearned.adapter.tensors) == set()
        assert replace(unlearned, model=None, adapter=None) == replace(alone, model=None, adapter=None)


@every_model
def test_another_seed_gives_other_adapters(model_name):
    first, other = (run("neglora", model_name, build(model_name), seed=seed).model.state_dict() for seed in (0, 1))
    assert differing(first, other) == declared("neglora", model_name, build(model_name))


@every_ascent
def test_the_seed_fixes_a_models_own_dropout(method):
    def unlearned(seed: int, state: int) -> dict[str, Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 10))
        torch.manual_seed(state)
        params = SETTINGS[method] | ({"targets": ["1", "4"]} if method == "neglora" else {})
        params = METHODS[method].resolve(params)
        done = METHODS[method].unlearn(model, params=params, masks={}, seed=seed, forget=data("forget"))
        return done.model.state_dict()

    assert differing(unlearned(0, state=1), unlearned(0, state=2)) == set()
    assert differing(unlearned(0, state=1), unlearned(7, state=1))


@every_model
@every_ascent
def test_the_loss_on_the_forget_set_rises(method, model_name):
    model = build(model_name)
    before = forget_loss(model)
    assert forget_loss(run(method, model_name, model, epochs=2).model) > before + 0.1


@every_model
@every_ascent
@pytest.mark.parametrize("mode", ["magnitude", "structured"])
def test_masks_survive(method, model_name, mode):
    model = build(model_name)
    masks = prune(model, 0.75, mode)
    pruned, before = measured_sparsity(model), parameters_of(model)
    changes = {"merge": "masked"} if method == "neglora" else {}
    unlearned = run(method, model_name, model, masks=masks, **changes)
    after = parameters_of(unlearned.model)
    for name, mask in masks.items():
        assert not after[name][~mask].any()
    assert measured_sparsity(unlearned.model) == unlearned.sparsity_after_ascent == pruned
    assert differing(before, after)


@every_model
def test_a_dense_merge_fills_the_masks(model_name):
    model = build(model_name)
    masks = prune(model, 0.75)
    pruned = measured_sparsity(model)
    unlearned = run("neglora", model_name, model, masks=masks, merge="dense")
    assert unlearned.sparsity_after_ascent == pruned
    assert measured_sparsity(unlearned.model) < pruned


@every_model
@pytest.mark.parametrize("method", ["neggrad", "partial_neggrad"])
def test_pruned_weights_are_not_counted_as_trainable(method, model_name):
    dense = build(model_name)
    whole = run(method, model_name, copy.deepcopy(dense)).trainable_parameters
    masks = prune(dense, 0.75)
    names = declared(method, model_name, dense)
    pruned = sum(int((~mask).sum()) for name, mask in masks.items() if name in names)
    assert run(method, model_name, dense, masks=masks).trainable_parameters == whole - pruned


@every_model
def test_retrain_learns_from_the_retained_images(model_name):
    unlearned = run("retrain", model_name, build(model_name))
    [epoch] = unlearned.curve
    assert epoch.epoch == 1
    assert unlearned.ascent is None
    assert METHODS["retrain"].starts_from == "fresh"
