"""Scaling an ascent's update back: the closed form, the ends, and what is looked at."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from neglora.data import TensorBatches
from neglora.lora import Merged, adapter_of, attach, inject, merge
from neglora.methods import METHODS, Passing, Unlearned
from neglora.models import build_model
from neglora.prune import prune
from neglora.retract import Between, kept, retract, smallest, unlearning_accuracy
from tests.neglora.small_models import SMALL

TARGETS = {"tinyvit_nano": "ffn+head", "resnet_nano": "last.conv+head", "timm:test_vit": "ffn+head"}
ASCENTS = [name for name, method in METHODS.items() if method.starts_from == "base"]


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    assert len(one) > 3
    return all(torch.equal(one[name], other[name]) for name in one)


class Counted:
    """Batches that count how often they are begun."""

    def __init__(self, batches: TensorBatches, begun: list[int]) -> None:
        self.batches, self.begun = batches, begun

    def __copy__(self) -> Counted:
        return Counted(copy.copy(self.batches), self.begun)

    def __iter__(self):
        self.begun.append(1)
        return iter(self.batches)


def images(model: nn.Module, *, right: bool, seed: int = 0) -> TensorBatches:
    """Random images with labels that the model gives them, or that it does not."""
    pixels = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    batches = TensorBatches(pixels, torch.zeros(20, dtype=torch.long), mean=(0.5,) * 3, std=(0.25,) * 3, batch_size=20)
    with torch.no_grad():
        called = copy.deepcopy(model).eval()(next(iter(batches))[0]).argmax(1)
    labels = called if right else (called + 1) % 10
    return TensorBatches(pixels, labels, mean=(0.5,) * 3, std=(0.25,) * 3, batch_size=8, seed=seed)


def build(name: str) -> nn.Module:
    return build_model(name, num_classes=10, image_size=32, channels=3, seed=0)


def run(method: str, name: str, model: nn.Module, forget, *, masks=None, passing=None, **params) -> Unlearned:
    own = {"targets": TARGETS[name]} if method != "neggrad" else {}
    resolved = METHODS[method].resolve(own | {"lr": 1e-3, "epochs": 2} | params)
    extra = {"passing": passing} if passing else {}
    return METHODS[method].unlearn(model, params=resolved, masks=masks or {}, seed=0, forget=forget, **extra)


@pytest.mark.parametrize("target", [0.1, 0.5, 0.9, 1.0])
def test_on_a_linear_model_the_scale_is_the_closed_form(target):
    """Image i has one pixel u_i: logits (1, s u_i), so that it is lost where s > 1 / u_i."""
    u = torch.tensor([1.3, 1.9, 2.4, 3.1, 4.7, 5.3, 7.7, 11.0, 19.0, 37.0])
    model = nn.Linear(2, 2, bias=False)
    base = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    update = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    with torch.no_grad():
        model.weight.copy_(base + update)
    between = Between(model, {"weight": base})
    forget = [(torch.stack([torch.ones(10), u], 1), torch.zeros(10, dtype=torch.long))]
    found = retract(model, between.at, forget, target)
    lost = sorted((1 / u).tolist())
    needed = lost[math.ceil(target * 10) - 1]
    assert found.scale == math.ceil(needed * 256) / 256
    assert found.reached
    assert found.monotone
    assert torch.allclose(model.weight, base + found.scale * update)
    assert all(ua == sum(s < scale for s in lost) / 10 for scale, ua in found.looked)


def test_where_no_scale_forgets_everything_is_kept_and_said():
    found, looked = smallest(lambda scale: 0.5 * scale, 0.9)
    assert found is None
    assert [scale for scale, _ in looked] == [step / 16 for step in range(17)]


def test_where_the_base_forgets_already_it_is_all_that_is_looked_at():
    assert smallest(lambda scale: 1.0, 0.99) == (0.0, ((0.0, 1.0),))


def test_of_several_crossings_the_first_is_taken():
    found, looked = smallest(lambda scale: 1.0 if 0.3 <= scale <= 0.4 or scale > 0.8 else 0.0, 0.99)
    assert found == math.ceil(0.3 * 256) / 256
    values = [ua for _, ua in looked]
    assert values != sorted(values)
    assert len(looked) == 17 + 4


@pytest.mark.parametrize("target", [0.0, 1.5, float("nan")])
def test_a_target_out_of_bounds_is_refused(target):
    with pytest.raises(ValueError, match="UA to keep"):
        retract(nn.Linear(1, 2), lambda scale: None, [(torch.ones(1, 1), torch.zeros(1))], target)


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="gave no batch"):
        unlearning_accuracy(nn.Linear(1, 2), [])


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("method", ASCENTS)
@pytest.mark.parametrize("batchnorm", ["frozen", "update"])
def test_nothing_of_the_update_is_the_base_and_all_of_it_the_ascent(name, method, batchnorm, monkeypatch):
    base = build(name)
    plain = run(method, name, copy.deepcopy(base), images(base, right=True), batchnorm=batchnorm)
    seen: dict[float, bool] = {}

    def looked(measured, target):
        """As if no scale reached the target, after some were looked at: what `measured` sees is the model at them."""
        return None, tuple((scale, measured(scale)) for scale in (0.3, 1.0, 0.0))

    def accuracy(model, forget):
        seen[len(seen)] = equal(state(model), state(base))
        return 0.0

    monkeypatch.setattr("neglora.retract.smallest", looked)
    monkeypatch.setattr("neglora.retract.unlearning_accuracy", accuracy)
    whole = run(method, name, copy.deepcopy(base), images(base, right=True), retract=1.0, batchnorm=batchnorm)
    assert (whole.retraction.scale, whole.retraction.reached, whole.retraction.already) == (1.0, False, False)
    assert list(seen.values()) == [False, False, True]
    assert plain.retraction is None
    assert equal(state(whole.model), state(plain.model))
    assert not whole.model.training
    assert all(parameter.requires_grad for parameter in whole.model.parameters())


@pytest.mark.parametrize("method", ASCENTS)
def test_a_set_that_the_base_gets_wrong_already_keeps_the_whole_ascent(method):
    base = build("resnet_nano")
    plain = run(method, "resnet_nano", copy.deepcopy(base), images(base, right=False))
    found = run(method, "resnet_nano", copy.deepcopy(base), images(base, right=False), retract=0.5)
    assert (found.retraction.scale, found.retraction.already, found.retraction.evaluations) == (1.0, True, 1)
    assert equal(state(found.model), state(plain.model))


@pytest.mark.parametrize("method", ASCENTS)
def test_only_the_forget_set_is_looked_at_and_counted(method):
    base, begun = build("resnet_nano"), []
    found = run(method, "resnet_nano", copy.deepcopy(base), Counted(images(base, right=True), begun), retract=0.9)
    assert METHODS[method].needs == ("forget",)
    assert len(begun) == 2 + found.retraction.evaluations
    assert found.retraction.evaluations in (17, 21)


@pytest.mark.parametrize("method", ASCENTS)
def test_it_leaves_the_scale_that_it_says(method):
    base = build("resnet_nano")
    forget = images(base, right=True)
    found = run(method, "resnet_nano", copy.deepcopy(base), forget, lr=1e-2, retract=0.9)
    assert found.retraction.reached
    assert 0 < found.retraction.scale < 1
    looked = dict(found.retraction.looked)
    assert unlearning_accuracy(found.model, forget) == looked[found.retraction.scale] >= 0.9
    assert looked[found.retraction.scale - 1 / 256] < 0.9
    full = run(method, "resnet_nano", copy.deepcopy(base), images(base, right=True), lr=1e-2).model.state_dict()
    for key, tensor in state(found.model).items():
        expected = torch.lerp(base.state_dict()[key], full[key], found.retraction.scale)
        assert torch.allclose(tensor, expected, atol=1e-5)


@pytest.mark.parametrize("method", ASCENTS)
def test_what_is_passed_on_the_way_is_what_a_shorter_run_gives(method):
    base, stopped = build("resnet_nano"), []
    passing = Passing((1,), lambda epochs, copied: stopped.append(copied()()))
    settings = {"lr": 1e-2, "retract": 0.9}
    whole = run(method, "resnet_nano", copy.deepcopy(base), images(base, right=True), passing=passing, **settings)
    alone = run(method, "resnet_nano", copy.deepcopy(base), images(base, right=True), **settings)
    shorter = run(method, "resnet_nano", copy.deepcopy(base), images(base, right=True), **settings, epochs=1)
    assert equal(state(whole.model), state(alone.model))
    assert equal(state(stopped[0].model), state(shorter.model))
    assert stopped[0].retraction.scale == shorter.retraction.scale


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("held", ["dense", "masked"])
def test_a_kept_adapter_with_its_scale_is_the_model(name, held):
    base = build(name)
    masks = prune(base, 0.9)
    found = run("neglora", name, copy.deepcopy(base), images(base, right=True), masks=masks, merge=held, retract=0.9)
    assert found.adapter.scale == found.retraction.scale
    again = merge(attach(copy.deepcopy(base), found.adapter), masks if held == "masked" else None)
    assert equal(state(again), state(found.model))
    assert found.adapter.config.lora_alpha == found.adapter.alpha * found.adapter.scale


@pytest.mark.parametrize("method", ASCENTS)
def test_masks_are_kept_at_every_scale(method):
    base = build("resnet_nano")
    masks = prune(base, 0.9)
    merged = {"merge": "masked"} if method == "neglora" else {}
    found = run(
        method, "resnet_nano", copy.deepcopy(base), images(base, right=True), masks=masks, retract=0.5, **merged
    )
    assert masks
    for key, mask in masks.items():
        assert not found.model.state_dict()[key][~mask.bool()].any()


@pytest.mark.parametrize("name", SMALL)
def test_a_point_of_the_dial_is_what_is_merged_by_itself(name):
    from neglora.models import match_targets

    base = build(name)
    layers = match_targets(base, TARGETS[name])
    adapted = inject(copy.deepcopy(base), layers, rank=4, alpha=8, dropout=0.0, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, parameter in adapted.named_parameters():
            if "lora_B" in key:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    adapter = adapter_of(adapted, layers)
    dial = Merged(copy.deepcopy(adapted))
    whole = state(merge(copy.deepcopy(adapted)))
    inputs = torch.randn(4, 3, 32, 32, generator=generator)
    for scale in (0.0, 1.0, 0.3, 0.75, 1.0, 0.0):
        dial.at(scale)
        alone = merge(attach(copy.deepcopy(base), replace(adapter, scale=scale)))
        with torch.no_grad():
            assert torch.allclose(dial.model.eval()(inputs), alone.eval()(inputs), atol=1e-5)
        if scale in (0.0, 1.0):
            assert equal(state(dial.model), whole if scale else state(base))


def test_what_is_kept_are_copies():
    model = nn.BatchNorm1d(3)
    found = kept(model)
    assert set(found) == {"weight", "bias", "running_mean", "running_var"}
    with torch.no_grad():
        model.weight.zero_()
    assert found["weight"].sum() == 3
