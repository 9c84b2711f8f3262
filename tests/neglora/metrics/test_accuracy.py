import math

import pytest
import torch

from neglora.metrics import accuracy, mean_loss, runner_up_share

LOGITS = torch.tensor(
    [
        [3.0, 2.0, 1.0],  # right
        [2.0, 3.0, 1.0],  # own label second
        [1.0, 2.0, 3.0],  # own label last
        [3.0, 2.0, 2.5],  # right
    ]
)
LABELS = torch.tensor([0, 0, 0, 0])


def test_accuracy_by_hand():
    assert accuracy(LOGITS, LABELS) == 0.5
    assert accuracy(LOGITS, torch.tensor([2, 1, 2, 1])) == 0.5
    assert accuracy(LOGITS, torch.tensor([0, 1, 2, 0])) == 1.0


def test_runner_up_by_hand():
    assert runner_up_share(LOGITS, LABELS) == 0.25
    assert runner_up_share(LOGITS, torch.tensor([1, 0, 1, 2])) == 1.0
    assert runner_up_share(LOGITS, torch.tensor([0, 1, 2, 0])) == 0.0


def test_a_tie_at_the_top_is_no_second_place():
    tied = torch.tensor([[1.0, 1.0, 0.0]])
    assert runner_up_share(tied, torch.tensor([0])) == runner_up_share(tied, torch.tensor([1])) == 0.0
    assert runner_up_share(torch.tensor([[2.0, 1.0, 1.0]]), torch.tensor([2])) == 1.0


def test_a_row_with_nan_is_wrong():
    logits = torch.tensor([[math.nan, 0.0], [0.0, math.nan], [1.0, 0.0]])
    assert accuracy(logits, torch.tensor([0, 1, 0])) == pytest.approx(1 / 3)


def test_shares_of_many_rows_are_exact():
    """In half or single precision a mean of ones would stop counting."""
    count = 40_000
    logits = torch.zeros(count, 2)
    logits[:, 0] = 1.0
    labels = torch.zeros(count, dtype=torch.long)
    labels[0] = 1
    assert accuracy(logits, labels) == (count - 1) / count
    assert runner_up_share(logits, labels) == 1 / count


def test_mean_loss_by_hand():
    rows = [row.tolist() for row in LOGITS]
    expected = sum(math.log(sum(map(math.exp, row))) - row[0] for row in rows) / 4
    assert mean_loss(LOGITS, LABELS) == pytest.approx(expected, rel=1e-12)
    assert mean_loss(torch.tensor([[1e30, 0.0]]), torch.tensor([1])) == pytest.approx(1e30)


@pytest.mark.parametrize("metric", [accuracy, runner_up_share, mean_loss])
@pytest.mark.parametrize(
    ("logits", "labels"), [(LOGITS, LABELS[:3]), (LOGITS[0], LABELS[:3]), (LOGITS[:0], LABELS[:0])]
)
def test_what_does_not_fit_together_is_refused(metric, logits, labels):
    with pytest.raises(ValueError, match="expected logits"):
        metric(logits, labels)
