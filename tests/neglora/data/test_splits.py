from collections import Counter
from dataclasses import replace

import pytest
import torch

from neglora.data import DatasetInfo, ForgetError, ForgetSet, ImageDataset, sampled, split


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


@pytest.mark.parametrize("forget", [[3, 5], [5, "3"], ("3", 5), ForgetSet((3, 5))])
def test_several_classes_are_forgotten_together(digits, forget):
    splits = split(digits, forget, holdout=0.5)
    found = sets(splits)
    labels, test_labels = digits.train_labels.tolist(), digits.test_labels.tolist()
    assert found["forget"] == {i for i, label in enumerate(labels) if label in (3, 5)}
    assert found["retain"] == set(range(1257)) - found["forget"]
    assert found["test_forget"] == {i for i, label in enumerate(test_labels) if label in (3, 5)}
    assert found["test"] | found["test_report"] == set(range(540)) - found["test_forget"]
    assert not found["test"] & found["test_report"]


def test_halves_are_the_same_for_one_class_and_for_several(digits):
    three, both = sets(split(digits, 3, holdout=0.5)), sets(split(digits, [3, 5], holdout=0.5))
    fives = {i for i, label in enumerate(digits.test_labels.tolist()) if label == 5}
    for half in ("test", "test_report"):
        assert both[half] == three[half] - fives


@pytest.mark.parametrize("share", [0.1, 0.5, 0.93])
def test_a_random_share_is_stratified(digits, share):
    splits = split(digits, {"random": share})
    found = sets(splits)
    assert not found["forget"] & found["retain"]
    assert found["forget"] | found["retain"] == set(range(1257))
    total = Counter(digits.train_labels.tolist())
    drawn = Counter(digits.train_labels[splits.forget].tolist())
    for label, count in total.items():
        assert abs(drawn[label] - share * count) <= 0.5


def test_a_random_share_forgets_no_test_image(digits):
    whole = split(digits, {"random": 0.1})
    assert len(whole.test_forget) == 0
    assert whole.test.tolist() == whole.test_report.tolist() == list(range(540))
    halves = sets(split(digits, {"random": 0.1}, holdout=0.5))
    assert halves["test"] | halves["test_report"] == set(range(540))
    assert not halves["test"] & halves["test_report"]
    three = sets(split(digits, 3, holdout=0.5))
    threes = {i for i, label in enumerate(digits.test_labels.tolist()) if label == 3}
    assert halves["test"] - threes == three["test"], "the halves are those of any forget set"


def test_the_seed_draws_the_random_share(digits):
    first, again, other = (split(digits, {"random": 0.1, "seed": seed}).forget.tolist() for seed in (0, 0, 1))
    assert first == again == split(digits, {"random": 0.1}).forget.tolist()
    assert first != other
    halved = split(digits, {"random": 0.1}, holdout=0.5, seed=7)
    assert halved.forget.tolist() == first, "the seed of the test set's halves does not matter"
    assert split(digits.to(torch.device("cpu")), ForgetSet(share=0.1)).forget.tolist() == first


def test_a_set_that_cannot_be_split_is_called_what_people_call_it():
    with pytest.raises(ForgetError, match=r"a random 1% \(seed 3\) holds none .* 6 training .*: a share is rounded"):
        split(PETS, ForgetSet(share=0.01, seed=3))
    with pytest.raises(ForgetError, match=r"^dog holds none or all of the 3 training images of pets$"):
        split(handmade([0, 2, 2], [0, 1]), ForgetSet((1,)))


def test_a_share_that_holds_no_image():
    for share in (0.1, 0.9):
        with pytest.raises(ForgetError, match="none or all"):
            split(PETS, {"random": share})
    assert split(PETS, {"random": 0.5}).counts["forget"] == 3


@pytest.mark.parametrize(("retain", "test"), [(200, 100), (37, 11), (9, 9), (None, 50), (10_000, 10_000)])
def test_a_sample_is_a_stratified_part(digits, retain, test):
    whole = split(digits, 3, holdout=0.5, seed=2)
    part = sampled(whole, digits, retain=retain, test=test, seed=5)
    assert torch.equal(part.forget, whole.forget)
    assert part.counts["test_report"] == 0
    for name, wanted, labels in (
        ("retain", retain, digits.train_labels),
        ("test", test, digits.test_labels),
        ("test_forget", test, digits.test_labels),
    ):
        found, all_of_them = getattr(part, name), getattr(whole, name)
        assert set(found.tolist()) <= set(all_of_them.tolist())
        assert found.tolist() == sorted(set(found.tolist()))
        count = len(all_of_them) if wanted is None else min(wanted, len(all_of_them))
        assert len(found) == count
        shares = Counter(labels[all_of_them].tolist())
        taken = Counter(labels[found].tolist())
        for label, members in shares.items():
            assert abs(taken[label] - members * count / len(all_of_them)) < 1


def test_a_sample_is_the_same_for_all_and_another_by_another_seed(digits):
    whole = split(digits, 3, holdout=0.5)
    first, again, other = (sampled(whole, digits, retain=50, test=30, seed=seed) for seed in (0, 0, 1))
    assert sets(first) == sets(again)
    assert not torch.equal(first.retain, other.retain)
    assert not torch.equal(first.test, other.test)
