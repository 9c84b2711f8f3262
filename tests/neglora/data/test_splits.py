from collections import Counter
from dataclasses import replace

import pytest
import torch

from neglora.data import DatasetInfo, ForgetError, ImageDataset, forget_class, split


def handmade(train: list[int], test: list[int], classes: tuple[str, ...] = ("cat", "dog", "eel")) -> ImageDataset:
    def images(labels: list[int]) -> torch.Tensor:
        return torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8)

    return ImageDataset(
        DatasetInfo("pets", classes, 2, 1),
        images(train),
        torch.tensor(train),
        images(test),
        torch.tensor(test),
        (0.5,),
        (0.5,),
    )


PETS = handmade([0, 1, 2, 1, 0, 2], [0, 1, 1, 2, 2, 0, 2, 1])


def sets(splits):
    return {name: set(getattr(splits, name).tolist()) for name in splits.counts}


@pytest.mark.parametrize("forget", range(10))
def test_training_images_are_forgotten_or_retained(digits, forget):
    found = sets(split(digits, forget, holdout=0.5))
    labels = digits.train_labels.tolist()
    assert found["forget"] == {i for i, label in enumerate(labels) if label == forget}
    assert found["retain"] == set(range(1257)) - found["forget"]


@pytest.mark.parametrize("holdout", [0.5, 0.25, 0.9])
def test_test_images_are_disjoint_and_covered(digits, holdout):
    splits = split(digits, 3, holdout=holdout)
    found = sets(splits)
    names = ("test", "test_report", "test_forget")
    assert set.union(*(found[name] for name in names)) == set(range(540))
    assert sum(splits.counts[name] for name in names) == 540
    assert found["test_forget"] == {i for i, label in enumerate(digits.test_labels.tolist()) if label == 3}


@pytest.mark.parametrize("holdout", [0.5, 0.25])
def test_halves_are_stratified(digits, holdout):
    splits = split(digits, 3, holdout=holdout)
    total = Counter(digits.test_labels.tolist())
    report = Counter(digits.test_labels[splits.test_report].tolist())
    assert set(report) == set(range(10)) - {3}
    for label, count in report.items():
        assert abs(count - holdout * total[label]) <= 0.5


def test_halves_do_not_depend_on_the_forget_class(digits):
    """What the search may see of a class is the same whichever class is forgotten."""
    three, seven = sets(split(digits, 3, holdout=0.5)), sets(split(digits, 7, holdout=0.5))
    others = {i for i, label in enumerate(digits.test_labels.tolist()) if label not in (3, 7)}
    for half in ("test", "test_report"):
        assert three[half] & others == seven[half] & others


def test_seed_draws_the_halves(digits):
    first, again, other = (sets(split(digits, 3, holdout=0.5, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first["test"] != other["test"]
    assert first["retain"] == other["retain"]


def test_without_a_holdout_both_are_the_whole_test_set(digits):
    found = sets(split(digits, 3))
    assert found["test"] == found["test_report"] == set(range(540)) - found["test_forget"]


def test_labels_stay_as_they_are(digits):
    before = digits.fingerprint
    split(digits, 3, holdout=0.5)
    assert replace(digits).fingerprint == before


@pytest.mark.parametrize(("forget", "index"), [(1, 1), ("dog", 1), ("2", 2), (0, 0)])
def test_class_by_index_or_name(forget, index):
    assert forget_class(PETS.info, forget) == index


def test_a_name_of_digits_is_a_name_first():
    assert forget_class(DatasetInfo("swapped", ("1", "0"), 2, 1), "1") == 0


@pytest.mark.parametrize("forget", [3, -1, "3", "-1", "cow", "", "1.0", True, 1.0, None])
def test_a_class_that_is_not_there_is_named_with_those_that_are(forget):
    with pytest.raises(ForgetError) as raised:
        forget_class(PETS.info, forget)
    assert repr(forget) in str(raised.value)
    if isinstance(forget, int | str) and not isinstance(forget, bool):
        assert "cat, dog, eel" in str(raised.value)


def test_the_only_class_cannot_be_forgotten():
    with pytest.raises(ForgetError, match="only class"):
        split(handmade([0, 0], [0], ("cat",)), 0)


@pytest.mark.parametrize("train", [[0, 2, 2], [1, 1]])
def test_a_class_with_none_or_all_of_the_images(train):
    with pytest.raises(ForgetError, match="none or all"):
        split(handmade(train, [0, 1, 2]), "dog")


@pytest.mark.parametrize(("test", "holdout"), [([0, 2], 0.1), ([0, 2], 0.9), ([1, 1], 0.0)])
def test_an_empty_half_is_refused(test, holdout):
    with pytest.raises(ForgetError, match="empty"):
        split(handmade([0, 1, 2], test), "dog", holdout=holdout)
