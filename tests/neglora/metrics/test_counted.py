import numpy as np
import pytest
import torch

from neglora.metrics import by_class, histogram, tally


def test_right_answers_by_class_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    answers, labels = (torch.randint(0, 6, (200,), generator=generator) for _ in range(2))
    answers[::2] = labels[::2]
    found = by_class(answers, labels, 7)
    for index in range(7):
        own = [
            answer == index for answer, label in zip(answers.tolist(), labels.tolist(), strict=True) if label == index
        ]
        assert (found["right"][index], found["total"][index]) == (sum(own), len(own))
    assert 100 <= sum(found["right"]) < sum(found["total"]) == 200
    assert found["total"][6] == 0, "a class without images has its place"


def test_a_tally_has_every_class_in_plain_numbers():
    assert tally(torch.tensor([2, 0, 2]), 4) == [1, 0, 2, 0]
    assert tally(torch.zeros(0, dtype=torch.long), 2) == [0, 0]
    assert all(type(count) is int for count in tally(torch.tensor([1]), 3))


@pytest.mark.parametrize("bins", [20, 5])
def test_a_histogram_is_numpys(bins):
    values = np.random.default_rng(0).beta(0.5, 0.4, 3000)
    assert histogram(torch.tensor(values), bins) == np.histogram(values, bins, (0, 1))[0].tolist()


def test_the_ends_are_in_the_first_and_the_last_bin():
    found = histogram(torch.tensor([0.0, 1.0, 1 + 1e-15, 0.05, 0.0499], dtype=torch.float64))
    assert len(found) == 20
    assert (found[0], found[1], found[-1], sum(found)) == (2, 1, 2, 5)
