import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from neglora.audits import Material, Pool, material_of, run_audits
from neglora.audits.relearn import SHOTS, STEPS, fine_tuned, relearn, value
from neglora.data import split
from neglora.models import build_model
from neglora.prerequisites import base_of, retrain_of
from neglora.seeds import derive_seed
from tests.neglora.conftest import FORGET, FORGET_SET, SPARSITY
from tests.neglora.small_models import SMALL, random_images, with_statistics


@pytest.fixture(scope="module")
def material(tiny):
    return material_of(tiny, split(tiny, FORGET, holdout=0.5), 64)


@pytest.fixture(scope="module")
def base(session, setting):
    return session.get(base_of(setting, 0, 0.0)).model


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(model.state_dict())


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_one_seed_gives_one_answer_and_another_seed_another_draw(base, material):
    first = relearn(base, material, seed=0)
    torch.manual_seed(99)
    assert relearn(base, material, seed=0) == first
    shown = [next(iter(material.forget.drawn(3, seed)))[0] for seed in (0, 0, 1)]
    assert torch.equal(shown[0], shown[1])
    assert not torch.equal(shown[0], shown[2])


def test_a_larger_draw_holds_the_smaller(material):
    few, more = (next(iter(material.forget.drawn(count, 5)))[0] for count in (2, 6))
    assert torch.equal(more[:2], few)


def test_a_model_that_knows_the_class_is_told_from_retrain(base, session, setting, material):
    retrain = session.get(retrain_of(setting, 0, FORGET_SET)).model
    known, unknown = (relearn(model, material, seed=0) for model in (base, retrain))
    assert value(known) >= 0.9
    assert value(unknown) <= 0.1


def test_what_is_asked_and_what_there_is(base, material):
    """The class has 24 training images here: 100 shots are all of them, and the answer says so."""
    found = relearn(base, material, seed=0)
    total = len(material.forget)
    assert 10 < total < 100
    assert [shot["asked"] for shot in found["shots"]] == list(SHOTS)
    assert [shot["images"] for shot in found["shots"]] == [1, 10, total]
    assert (found["test_images"], found["steps"]) == (len(material.test_forget), STEPS)
    assert found["retained_images"] == len(material.retain)
    assert value(found) == found["shots"][1]["accuracy"]


def test_only_a_copy_is_changed(base, material):
    before, modes = state(base), [module.training for module in base.modules()]
    relearn(base, material, seed=0)
    assert equal(before, base.state_dict())
    assert [module.training for module in base.modules()] == modes
    assert all(parameter.grad is None for parameter in base.parameters())


def test_all_weights_move_and_statistics_stay(base, material):
    shots = material.forget.drawn(10, 0)
    tuned = fine_tuned(base, shots, 10)
    moved = [
        name for name, old in base.named_parameters() if not torch.equal(old, dict(tuned.named_parameters())[name])
    ]
    assert moved == [name for name, _ in base.named_parameters()]
    buffers = dict(tuned.named_buffers())
    assert buffers
    assert all(torch.equal(old, buffers[name]) for name, old in base.named_buffers())


def test_masks_are_held_where_weights_are_zero(session, setting, material):
    kept = session.get(base_of(setting, 0, SPARSITY))
    shots = material.forget.drawn(10, 0)
    tuned = dict(fine_tuned(kept.model, shots, 10, masks=kept.masks).named_parameters())
    free = dict(fine_tuned(kept.model, shots, 10).named_parameters())
    assert kept.masks
    for name, mask in kept.masks.items():
        assert (tuned[name][~mask] == 0).all()
    assert any((free[name][~mask] != 0).any() for name, mask in kept.masks.items())


def test_weights_that_a_dense_update_filled_stay_filled(session, setting, material):
    kept = session.get(base_of(setting, 0, SPARSITY))
    filled = copy.deepcopy(kept.model)
    name, mask = next(iter(kept.masks.items()))
    with torch.no_grad():
        filled.get_parameter(name)[~mask] += 0.5
    tuned = fine_tuned(filled, material.forget.drawn(10, 0), 10, masks=kept.masks)
    assert (tuned.get_parameter(name)[~mask] != 0).all()


def test_a_step_is_one_of_all_shots_however_they_are_batched(base, tiny):
    """Gradients of batches add up to that of their mean."""
    index = split(tiny, FORGET).forget[:12]
    whole, parts = (fine_tuned(base, tiny.train(index, batch_size=size), 12, steps=1) for size in (12, 5))
    # Adam's first step is the gradient's sign times the rate: rounding may turn the sign of what is about 0.
    far = [
        (left - right).abs().gt(1e-6).double().mean().item()
        for left, right in zip(whole.parameters(), parts.parameters(), strict=True)
    ]
    assert sum(far) / len(far) < 0.01


@pytest.mark.parametrize("name", SMALL)
def test_every_family_can_be_asked(name):
    model = with_statistics(build_model(name, num_classes=10, image_size=32, channels=3, seed=0)).eval()
    images = random_images(count=24)
    pool = Pool(images.labels, lambda places: replace_index(images, places))
    found = run_audits(["relearn", "probe"], model, Material(pool, pool, pool, pool), seed=0)
    assert set(found.values) == {"relearn", "probe"}
    assert all(0 <= number <= 1 for number in found.values.values())


def replace_index(images, places):
    copied = copy.copy(images)
    copied.index = places
    return copied


def test_without_test_images_nothing_is_made_up(base, material):
    empty = Pool(torch.empty(0, dtype=torch.int64), lambda places: iter(()))
    found = run_audits(["relearn", "probe"], base, replace(material, test_forget=empty), seed=0)
    assert found.values == {"relearn": None, "probe": None}
    assert all(shot["ra"] is not None for shot in found.details["relearn"]["shots"])


def test_dropout_is_seeded_and_torchs_own_stream_left_alone(material):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.LazyLinear(10))
    inputs, _ = next(iter(material.forget.drawn(4, 0)))
    model(inputs)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    shots = material.forget.drawn(4, 0)
    first, second = (fine_tuned(model, shots, 4, seed=derive_seed(0, "a")) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert equal(first.state_dict(), second.state_dict())
    third = fine_tuned(model, shots, 4, seed=derive_seed(1, "a"))
    assert not equal(first.state_dict(), third.state_dict())


def test_a_model_of_half_precision_is_fine_tuned_in_float32(base, material):
    half = copy.deepcopy(base).bfloat16()
    found = run_audits(["relearn"], half, material, seed=0)
    assert found.values["relearn"] == pytest.approx(relearn(base, material, seed=0)["shots"][1]["accuracy"], abs=0.2)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}


def test_logits_that_are_not_finite_have_no_accuracy(base, material):
    broken = copy.deepcopy(base)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    found = run_audits(["relearn", "probe"], broken, material, seed=0)
    assert found.values == {"relearn": None, "probe": None}
