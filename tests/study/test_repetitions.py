"""Studies that differ only in the seed of their search."""

import handmade
import numpy as np
import pytest

from study.budget import Curve
from study.repetitions import around, band, band_name, repetitions


def space(seed=0, **changes):
    return handmade.study(search={"sampler": "tpe", "trials": 16, "seed": seed, "batch": 4}) | changes


def test_only_the_seed_and_the_name_may_differ():
    spaces = [
        space(0, study="a"),
        space(0, study="other", objectives=["ua"]),
        space(1, study="b"),
        space(2, study="a"),
        space(3, replicates={"forget": [4], "seeds": [0]}),
        space(4) | {"search": {"sampler": "tpe", "trials": 32, "seed": 4, "batch": 4}},
    ]
    assert repetitions(spaces) == [[0, 2, 3]]


@pytest.mark.parametrize(
    "change",
    [
        {"resources": {"cpus": 4, "gpus": 1}},
        {"confirm": {"forget": [5], "seeds": [0]}},
        {"data": {"root": "/elsewhere", "workers": 3}},
    ],
)
def test_where_it_ran_does_not_matter(change):
    base = {"data": {"root": None, "workers": None}}
    assert repetitions([space(0, **base), space(1, **base) | change]) == [[0, 1]]


def test_what_the_data_is_does():
    assert repetitions([space(0, data={"seed": 0}), space(1, data={"seed": 1})]) == []


def test_the_same_search_twice_is_no_repetition():
    assert repetitions([space(0), space(0)]) == []
    assert repetitions([space(1), space(1), space(2)]) == [[0, 2]]


def test_sets_come_in_order_and_are_apart():
    first, second = {"axes": {"rank": [2]}}, {"axes": {"rank": [4]}}
    spaces = [space(0, **second), space(0, **first), space(1, **first), space(1, **second)]
    assert repetitions(spaces) == [[0, 3], [1, 2]]
    assert repetitions([]) == []


def curve(volumes, seconds=None):
    trials = list(range(1, len(volumes) + 1))
    ids = [f"t-{number:04d}" for number in trials]
    return Curve("m", "m", {}, ids, trials, seconds or [float(number) for number in trials], volumes)


def test_few_repetitions_have_a_band_from_the_smallest_to_the_largest():
    own = band([curve([0.1, 0.2, 0.9]), curve([0.3, 0.4]), curve([0.2, 0.6, 0.7])], "trials")
    assert own.x == [1, 2]
    assert (own.low, own.middle, own.high) == ([0.1, 0.2], [0.2, 0.4], [0.3, 0.6])
    assert own.repetitions == 3
    assert "smallest" in band_name(4)


def test_five_have_one_of_quartiles():
    own = band([curve([value]) for value in (0.5, 0.1, 0.2, 0.3, 0.4)], "trials")
    assert (own.low, own.middle, own.high) == ([pytest.approx(0.2)], [pytest.approx(0.3)], [pytest.approx(0.4)])
    assert "quartile" in band_name(5)


def test_against_seconds_a_curve_stands_still_between_its_trials():
    own = band([curve([0.2, 0.6], [1.0, 4.0]), curve([0.4, 0.8], [2.0, 3.0])], "seconds")
    # As far as both go; the first is 0 before its first trial, and so is the second.
    assert own.x == [1.0, 2.0, 3.0]
    assert own.low == [0.0, 0.2, 0.2]
    assert own.high == [0.2, 0.4, 0.8]


def test_long_bands_are_thinned_but_end_where_they_end():
    own = band([curve([index / 1000 for index in range(1000)])] * 2, "trials")
    assert len(own.x) <= 200
    assert (own.x[0], own.x[-1]) == (1, 1000)
    assert own.middle[-1] == pytest.approx(0.999)


def test_around_is_numpys_quantile():
    values = np.arange(10.0)[:, None]
    assert [float(end[0]) for end in around(values)] == [2.25, 4.5, 6.75]
