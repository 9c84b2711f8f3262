import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from neglora.metrics import FEATURES, modified_entropy, true_label_confidence
from neglora.metrics.confidence import correctness, entropy, full_softmax


@pytest.fixture(scope="module")
def logits() -> torch.Tensor:
    return torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) * 4


@pytest.fixture(scope="module")
def labels() -> torch.Tensor:
    return torch.randint(0, 7, (50,), generator=torch.Generator().manual_seed(1))


def from_probabilities(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def modified_entropy_by_definition(probabilities: np.ndarray, label: int) -> float:
    """Song and Mittal 2021, equation 8."""
    value = -(1 - probabilities[label]) * math.log(probabilities[label])
    for index, probability in enumerate(probabilities):
        if index != label:
            value -= probability * math.log(1 - probability)
    return value


def test_the_five_features(logits, labels):
    assert list(FEATURES) == ["mia", "mia_correctness", "mia_entropy", "mia_modified_entropy", "mia_full"]
    for name, feature in FEATURES.items():
        values = feature(logits, labels)
        assert values.dtype == torch.float64
        assert values.shape == ((50, 7) if name == "mia_full" else (50,))
        assert FEATURES["mia"] is true_label_confidence


def test_confidence_and_softmax_against_scipy(logits, labels):
    softmax = scipy.special.softmax(logits.double().numpy(), axis=1)
    np.testing.assert_allclose(full_softmax(logits, labels).numpy(), softmax, rtol=1e-12)
    own = [softmax[row, label] for row, label in enumerate(labels.tolist())]
    np.testing.assert_allclose(true_label_confidence(logits, labels).numpy(), own, rtol=1e-12)


def test_correctness_by_hand():
    found = correctness(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 1]))
    assert found.tolist() == [1.0, 0.0]


def test_entropy_against_scipy(logits, labels):
    softmax = scipy.special.softmax(logits.double().numpy(), axis=1)
    np.testing.assert_allclose(entropy(logits, labels).numpy(), scipy.stats.entropy(softmax, axis=1), rtol=1e-9)


def test_entropy_at_its_ends():
    assert entropy(torch.zeros(1, 8), torch.tensor([0])).item() == pytest.approx(math.log(8))
    assert entropy(torch.tensor([[500.0, 0.0]]), torch.tensor([0])).item() == pytest.approx(0.0, abs=1e-12)


def test_modified_entropy_in_closed_form():
    """Two classes: -(1 - p) log p for either summand, whichever class is the label's."""
    found = modified_entropy(from_probabilities([0.8, 0.2], [0.8, 0.2]), torch.tensor([0, 1]))
    assert found.tolist() == pytest.approx([-2 * 0.2 * math.log(0.8), -2 * 0.8 * math.log(0.2)])
    third = modified_entropy(from_probabilities([1 / 3] * 3), torch.tensor([1])).item()
    assert third == pytest.approx(2 / 3 * math.log(3) + 2 / 3 * math.log(1.5))


def test_modified_entropy_against_the_definition(logits, labels):
    softmax = scipy.special.softmax(logits.double().numpy(), axis=1)
    expected = [modified_entropy_by_definition(row, label) for row, label in zip(softmax, labels.tolist(), strict=True)]
    np.testing.assert_allclose(modified_entropy(logits, labels).numpy(), expected, rtol=1e-9)


def test_a_row_does_not_depend_on_the_others(logits, labels):
    """Unlearn-Sparse's code takes all rows against all label columns, so that it does."""
    whole = modified_entropy(logits, labels)
    alone = torch.cat([modified_entropy(logits[i : i + 1], labels[i : i + 1]) for i in range(len(labels))])
    assert torch.allclose(whole, alone, rtol=1e-12)


@pytest.mark.parametrize("margin", [5.0, 30.0, 45.0, 200.0, 5000.0])
def test_modified_entropy_of_sure_answers(margin):
    """Logits [margin, 0, 0]: where 1 - p rounds to 0 the value still follows the margin.

    With s = log(1 + 2 e^-margin), -log p of a loser is margin + s, and -log(1 - p) of the winner margin - log 2 + s.
    """
    logits = torch.tensor([[margin, 0.0, 0.0]])
    rest = math.exp(-margin)
    log_sum = math.log1p(2 * rest)
    own = rest / (1 + 2 * rest)
    wrong = (
        (1 - own) * (margin + log_sum)
        + (1 / (1 + 2 * rest)) * (margin - math.log(2) + log_sum)
        - own * math.log1p(-own)
    )
    right = 2 * own * log_sum - 2 * own * math.log1p(-own)
    assert modified_entropy(logits, torch.tensor([1])).item() == pytest.approx(wrong, rel=1e-9)
    assert modified_entropy(logits, torch.tensor([0])).item() == pytest.approx(right, rel=1e-6, abs=1e-20)


def test_every_feature_is_finite_for_extreme_logits():
    logits = torch.tensor([[1e30, -1e30, 0.0], [0.0, 0.0, 0.0], [-1e30, -1e30, -1e30]])
    for label in range(3):
        for feature in FEATURES.values():
            assert torch.isfinite(feature(logits, torch.full((3,), label))).all()
