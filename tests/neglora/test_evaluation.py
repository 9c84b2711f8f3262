import json
import math

import pytest
import torch
from torch import nn

from neglora.data import split
from neglora.evaluation import (
    DatasetOutputs,
    Outputs,
    evaluate_outputs,
    infer,
    infer_dataset,
    measure,
    with_reference,
)
from neglora.metrics import FEATURES, mia_efficacy, true_label_confidence
from neglora.models import build_model
from neglora.shape import DETAILS, misfit

ATTACKS = {"mia", "mia_correctness", "mia_entropy", "mia_modified_entropy", "mia_full"}


def outputs(count: int, strength: float, seed: int, label: int | None = None, classes: int = 4) -> Outputs:
    """Noisy logits that favour the label by `strength`."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=generator)
    if label is not None:
        labels[:] = label
    logits = torch.randn(count, classes, generator=generator)
    logits[torch.arange(count), labels] += strength
    return Outputs(logits, labels)


SIDES = {"forget": outputs(30, 0.0, 0, label=3), "retain": outputs(90, 4.0, 1), "test": outputs(60, 2.5, 2)}
TEST_FORGET = outputs(10, 1.0, 3, label=3)


def share_right(part: Outputs) -> float:
    rows = zip(part.logits.tolist(), part.labels.tolist(), strict=True)
    return sum(row.index(max(row)) == label for row, label in rows) / len(part)


class Counting(nn.Module):
    """Logits from an image's first pixels; counts the images that it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        assert not self.training
        self.seen += len(inputs)
        return inputs[:, 0, 14:18, 16] * torch.arange(1.0, 5.0)


def test_inference_keeps_the_order_and_restores_the_mode():
    model = build_model("resnet_nano", num_classes=4, image_size=32, channels=3, seed=0)
    images = torch.randn(11, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(11)
    batches = list(zip(images.split(4), labels.split(4), strict=True))
    with torch.no_grad():
        expected = model(images)
    model.train()
    statistics = model.bn1.running_mean.clone()
    found = infer(model, batches)
    assert torch.allclose(found.logits, expected, atol=1e-5)
    assert torch.equal(found.labels, labels)
    assert torch.equal(model.bn1.running_mean, statistics)
    assert all(module.training for module in model.modules())
    assert not infer(model.eval(), batches).logits.is_inference(), "it may be used where gradients are computed"
    assert not model.training


@pytest.mark.parametrize("training", [True, False])
def test_modes_that_differ_within_a_model_are_restored(training):
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()))
    model.train(training)
    model[1].train(not training)
    model[1][0].train(training)
    before = [module.training for module in model.modules()]
    infer(model, [(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))])
    assert [module.training for module in model.modules()] == before


def test_the_mode_is_restored_after_an_error():
    model = nn.Sequential(nn.Linear(2, 2)).train()
    with pytest.raises(RuntimeError):
        infer(model, [(torch.zeros(3, 5), torch.zeros(3, dtype=torch.long))])
    assert model.training


def test_every_image_is_inferred_once(tiny):
    model = Counting()
    found = infer_dataset(model, tiny, 50)
    assert model.seen == 240 + 120
    assert torch.equal(found.train.labels, tiny.train_labels)
    assert torch.equal(found.test.labels, tiny.test_labels)
    pixels = tiny.test_images[:, 0, 14:18, 16].double() / 255
    expected = (pixels - tiny.mean[0]) / tiny.std[0] * torch.arange(1.0, 5.0)
    assert torch.allclose(found.test.logits.double(), expected, atol=1e-4)


def test_measurements_by_hand():
    values, attack = measure(**SIDES, test_forget=TEST_FORGET, seed=4, attacks="confidence")
    confidences = {name: true_label_confidence(part.logits, part.labels).numpy() for name, part in SIDES.items()}
    by_hand = mia_efficacy(**confidences, seed=4)
    assert attack == by_hand
    seconds = sum(sorted(row, reverse=True).index(row[3]) == 1 for row in SIDES["forget"].logits.tolist())
    assert values == {
        "ua": pytest.approx(1 - share_right(SIDES["forget"])),
        "ra": pytest.approx(share_right(SIDES["retain"])),
        "ta": pytest.approx(share_right(SIDES["test"])),
        "ua_test": pytest.approx(1 - share_right(TEST_FORGET)),
        "runner_up": pytest.approx(seconds / 30),
        "mia": by_hand.efficacy,
        "mia_accuracy": by_hand.attack_accuracy,
        "mia_auc": by_hand.attack_auc,
        "mia_has_signal": by_hand.has_signal,
    }
    assert by_hand.has_signal


def test_all_attacks():
    values, _ = measure(**SIDES, test_forget=TEST_FORGET, seed=4, attacks="all")
    confidence, _ = measure(**SIDES, test_forget=TEST_FORGET, seed=4, attacks="confidence")
    assert set(values) - set(confidence) == ATTACKS - {"mia"}
    for name in ATTACKS:
        sides = {side: FEATURES[name](part.logits, part.labels) for side, part in SIDES.items()}
        assert values[name] == mia_efficacy(**sides, seed=4).efficacy


@pytest.mark.parametrize("test_forget", [None, Outputs(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))])
def test_without_test_images_of_the_forget_class(test_forget):
    values, _ = measure(**SIDES, test_forget=test_forget, seed=0, attacks="confidence")
    assert values["ua_test"] is None
    assert values["ua"] is not None


@pytest.mark.parametrize("side", ["forget", "retain", "test"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_not_attacked(side, bad):
    logits = SIDES[side].logits.clone()
    logits[2, 1] = bad
    values, attack = measure(
        **SIDES | {side: Outputs(logits, SIDES[side].labels)}, test_forget=TEST_FORGET, seed=0, attacks="all"
    )
    assert attack is None
    assert {name for name, value in values.items() if value is None} == {
        "mia",
        "mia_accuracy",
        "mia_auc",
        "mia_has_signal",
    }


@pytest.fixture
def dataset_outputs(tiny):
    def noisy(labels: torch.Tensor, strength: float, seed: int) -> Outputs:
        logits = torch.randn(len(labels), 10, generator=torch.Generator().manual_seed(seed))
        logits[torch.arange(len(labels)), labels] += strength
        return Outputs(logits, labels)

    return DatasetOutputs(noisy(tiny.train_labels, 5.0, 0), noisy(tiny.test_labels, 3.0, 1))


def test_halves(tiny, dataset_outputs):
    """UA and RA come from D_f and D_r; TA and the attack's non-members from either half."""
    splits = split(tiny, 3, holdout=0.5, seed=1)
    found = evaluate_outputs(dataset_outputs, splits, seed=0, attacks="all")
    for values, half in ((found.metrics, splits.test), (found.report, splits.test_report)):
        expected, _ = measure(
            forget=dataset_outputs.train[splits.forget],
            retain=dataset_outputs.train[splits.retain],
            test=dataset_outputs.test[half],
            test_forget=dataset_outputs.test[splits.test_forget],
            seed=0,
            attacks="all",
        )
        assert values == {name: expected[name] for name in values}
    for name in ("ua", "ra", "ua_test", "runner_up"):
        assert found.metrics[name] == found.report[name]
    assert found.metrics["ta"] != found.report["ta"]
    assert set(found.report) - set(found.metrics) == ATTACKS - {"mia"}
    assert found.details["counts"] == splits.counts
    attack = found.details["attack"]["selection"]
    assert attack["n_per_side"] == min(len(splits.retain), len(splits.test))
    assert attack["auc"] == found.metrics["mia_auc"]
    assert attack["auc_low"] < attack["auc"] < attack["auc_high"]
    assert attack["accuracy"] == found.metrics["mia_accuracy"]
    assert attack["has_signal"] == found.metrics["mia_has_signal"]


def test_without_a_holdout_both_halves_are_the_same(tiny, dataset_outputs):
    found = evaluate_outputs(dataset_outputs, split(tiny, 3), seed=0, attacks="confidence")
    assert found.metrics == found.report


def test_what_was_not_attacked_has_no_details(tiny, dataset_outputs):
    dataset_outputs.train.logits[0, 0] = math.nan
    found = evaluate_outputs(dataset_outputs, split(tiny, 3), seed=0, attacks="all")
    assert found.details["attack"] == {"selection": None, "report": None}
    assert set(found.details) == {"counts", "attack"}


def answers(part: Outputs) -> list[tuple[int, int, float]]:
    """Label, answer and confidence of every image, one by one."""
    found = []
    for row, label in zip(part.logits.double().tolist(), part.labels.tolist(), strict=True):
        weights = [math.exp(value - max(row)) for value in row]
        found.append((label, row.index(max(row)), weights[label] / sum(weights)))
    return found


@pytest.mark.parametrize("forget", [3, [1, 8], {"random": 0.2, "seed": 1}], ids=["a class", "two", "a share"])
@pytest.mark.parametrize("holdout", [0.5, 0.0])
def test_what_became_of_single_images(tiny, dataset_outputs, forget, holdout):
    splits = split(tiny, forget, holdout=holdout, seed=1)
    details = evaluate_outputs(dataset_outputs, splits, seed=0, attacks="confidence").details
    parts = {
        "forget": answers(dataset_outputs.train[splits.forget]),
        "retain": answers(dataset_outputs.train[splits.retain]),
        "test": answers(dataset_outputs.test[splits.test_report]),
    }
    images = {
        "train": answers(dataset_outputs.train),
        "test": parts["test"] + answers(dataset_outputs.test[splits.test_forget]),
    }
    for name, known in images.items():
        for index in range(10):
            own = [label == answer for label, answer, _ in known if label == index]
            assert details["classes"][name]["right"][index] == sum(own)
            assert details["classes"][name]["total"][index] == len(own) > 0
    called = [answer for _, answer, _ in parts["forget"]]
    assert details["called"] == [called.count(index) for index in range(10)]
    assert sum(details["called"]) == len(splits.forget)
    for name, known in parts.items():
        bins = [min(int(20 * confidence), 19) for _, _, confidence in known]
        assert details["confidences"][name] == [bins.count(index) for index in range(20)]
    assert "non_member" not in details["attack"]["selection"]


def test_the_attack_calls_what_it_says_it_calls(tiny, dataset_outputs):
    splits = split(tiny, 3, holdout=0.5, seed=1)
    found = evaluate_outputs(dataset_outputs, splits, seed=0, attacks="all")
    forgotten = [confidence for _, _, confidence in answers(dataset_outputs.train[splits.forget])]
    stretches = found.details["attack"]["report"]["non_member"]
    called = [any(low <= confidence <= high for low, high in stretches) for confidence in forgotten]
    assert found.report["mia"] == pytest.approx(sum(called) / len(called))
    assert 0 < found.report["mia"] < 1, "a case that could fail"
    assert json.loads(json.dumps(found.details)) == found.details, "plain data, as a ledger holds it"
    assert misfit(found.details, DETAILS) is None


def test_of_the_selection_half_alone_single_images_are_not_kept(tiny, dataset_outputs):
    found = evaluate_outputs(dataset_outputs, split(tiny, 3), seed=0, attacks="confidence", report=False)
    assert set(found.details) == {"counts", "attack"}


def test_distances_to_retrain():
    values = {"ua": 1.0, "ra": 0.9, "ta": 0.8, "mia": 0.5}
    reference = {"ua": 0.9, "ra": 1.0, "ta": 0.95, "mia": 0.7}
    assert with_reference(values, reference) == values | {
        "gap": pytest.approx(0.1375),
        "tow": pytest.approx(0.9 * 0.9 * 0.85),
    }
    assert with_reference(values, None) == values | {"gap": None, "tow": None}
    without_attack = with_reference(values | {"mia": None}, reference)
    assert without_attack["gap"] is None
    assert without_attack["tow"] == pytest.approx(0.9 * 0.9 * 0.85)
