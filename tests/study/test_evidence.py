"""What records keep of single images, and what a report makes of records that keep less or something else."""

import copy

import handmade
import pytest

from study.evidence import RECOMMENDED, RETRAIN, agreed, witnesses

ORACLE = handmade.retrain(seeds=(0, 1))


def trial(forgets=(3, 3), seeds=(0, 1), sparsity=0.0, **more):
    replicates = [
        handmade.replicate(handmade.values(), handmade.values(0.9, 0.99), forget, seed, **more)
        for forget, seed in zip(forgets, seeds, strict=True)
    ]
    return handmade.record(0, params={"sparsity": sparsity}, replicates=replicates)


@pytest.mark.parametrize(("sparsity", "base"), [(0.0, "Base"), (0.9, "Base, 90% sparse")])
def test_a_trial_stands_beside_its_own_base_and_retrain(sparsity, base):
    found = witnesses(trial(sparsity=sparsity), ORACLE)
    assert list(found.models) == [base, RETRAIN, RECOMMENDED]
    assert found.base == base
    assert found.method == "neglora"
    assert found.names == tuple(f"digit {index}" for index in range(10))
    level = next(one for one in ORACLE.replicates[1]["bases"] if one["sparsity"] == sparsity)
    assert list(found.models[base][1].right["train"]) == level["details"]["classes"]["train"]["right"]
    assert list(found.models[RETRAIN][0].called) == ORACLE.replicates[0]["details"]["called"]
    assert {len(several) for several in found.models.values()} == {2}
    assert (found.recommended[0].non_member, found.recommended[0].has_signal) == (((0.0, 0.42),), True)


def test_a_model_that_was_not_measured_on_every_replicate_is_left_out():
    found = witnesses(trial(seeds=(0, 2)), ORACLE)
    assert (list(found.models), found.base) == ([RECOMMENDED], None)
    assert list(witnesses(trial(sparsity=0.5), ORACLE).models) == [RETRAIN, RECOMMENDED]
    assert witnesses(trial(), None).names[3] == "class 3"


def test_older_records_say_nothing():
    record = trial()
    for replicate in record.replicates:
        for name in ("classes", "called", "confidences"):
            del replicate["details"][name]
    assert witnesses(record, ORACLE) is None
    assert witnesses(handmade.record(0, replicates=[]), ORACLE) is None


def test_replicates_that_say_nothing_are_counted():
    record = trial()
    record.replicates[0]["details"] = {}
    found = witnesses(record, ORACLE)
    assert (found.unseen, [seen.seed for seen in found.recommended]) == (1, [1])


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("called",), None),
        (("called",), [1] * 9),
        (("called",), [0] * 10),
        (("called",), [1.5] * 10),
        (("called",), [10**300] * 10),
        (("classes", "train", "right"), [10**6] * 10),
        (("classes", "test"), None),
        (("confidences", "retain"), [1]),
        (("confidences", "retain"), [-1] * 20),
    ],
)
def test_what_does_not_fit_together_is_not_shown(place, value):
    record = trial((3,), (0,))
    details = copy.deepcopy(record.replicates[0]["details"])
    inner = details
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    record.replicates[0]["details"] = details
    assert witnesses(record, ORACLE) is None
    assert witnesses(trial((3,), (0,)), ORACLE) is not None


@pytest.mark.parametrize("given", [None, [[0.5]], [[0.5, None]], [[0.6, 0.5]], [[0.1, 1.5]], [None]])
def test_stretches_that_are_none_are_not_shown(given):
    record = trial((3,), (0,))
    details = copy.deepcopy(record.replicates[0]["details"])
    details["attack"]["report"]["non_member"] = given
    record.replicates[0]["details"] = details
    assert witnesses(record, ORACLE).recommended[0].non_member is None


@pytest.mark.parametrize(
    ("forget", "classes"),
    [
        (3, (3,)),
        ("3", (3,)),
        ("digit 7", (7,)),
        ([1, "digit 2"], (1, 2)),
        ({"random": 0.1}, ()),
        ("digit 77", None),
        (12, None),
        (None, None),
    ],
)
def test_forgotten_classes_are_read_as_the_library_reads_them(forget, classes):
    found = witnesses(trial((forget,), (0,)), ORACLE)
    assert found.forgotten(found.recommended[0]) == classes


def test_where_several_attacks_agree():
    assert agreed([]) == ()
    assert agreed([((0.0, 0.5),)]) == ((0.0, 0.5),)
    assert agreed([((0.0, 0.5), (0.8, 1.0)), ((0.2, 0.9),)]) == ((0.2, 0.5), (0.8, 0.9))
    assert agreed([((0.0, 0.5),), ((0.5, 1.0),)]) == ()
    assert agreed([((0.0, 1.0),), (), ((0.0, 1.0),)]) == ()
