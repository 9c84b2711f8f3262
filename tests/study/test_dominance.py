"""One front against another, by closed forms and by brute force."""

import itertools
import random

import handmade
import numpy as np
import pytest

from study.aggregate import trials_table
from study.dominance import DRAWS, EXACT, Front, coverage, draw_seed, duels, fronts, resamples, win_probability
from study.pareto import hypervolume

V = handmade.values
UP = ["maximize", "maximize"]
OBJECTIVES = ["ua", "ra"]


def test_coverage_by_hand():
    a, b = [[1.0, 0.5], [0.5, 1.0]], [[1.0, 0.4], [0.6, 0.6], [0.5, 1.0]]
    assert coverage(a, b, UP) == pytest.approx(2 / 3)
    assert coverage(b, a, UP) == pytest.approx(1 / 2)
    assert coverage(a, a, UP) == 1.0
    assert coverage(a, b, ["minimize", "minimize"]) == pytest.approx(1 / 3)
    assert coverage([], b, UP) == 0.0
    assert coverage(a, [], UP) is None
    assert coverage([[np.nan, 1.0]], [[0.0, 0.0]], UP) == 0.0


def test_coverage_by_brute_force():
    generator = random.Random(1)
    directions = ["maximize", "minimize", "maximize"]
    for _ in range(30):
        a, b = ([[generator.randint(0, 3) for _ in range(3)] for _ in range(generator.randint(1, 6))] for _ in range(2))
        covered = sum(any(x[0] >= y[0] and x[1] <= y[1] and x[2] >= y[2] for x in a) for y in b)
        assert coverage(a, b, directions) == pytest.approx(covered / len(b))


def test_win_probability_by_closed_forms():
    assert win_probability([1, 1], [1, 1]) == 0.5
    assert win_probability([3, 4], [1, 2]) == 1.0
    assert win_probability([1, 2], [3, 4]) == 0.0
    assert win_probability([1, 3], [2]) == 0.5
    first, second = [0.1, 0.4, 0.4], [0.4, 0.2]
    assert win_probability(first, second) + win_probability(second, first) == pytest.approx(1.0)
    assert win_probability(first, second) == pytest.approx((0 + 0 + 0.5 + 1 + 0.5 + 1) / 6)


@pytest.mark.parametrize("count", [1, 2, 3, EXACT])
def test_few_replicates_are_resampled_exactly(count):
    found = dict(resamples(count, 0))
    brute = {}
    for taken in itertools.product(range(count), repeat=count):
        counts = tuple(taken.count(index) for index in range(count))
        brute[counts] = brute.get(counts, 0) + 1 / count**count
    assert found == pytest.approx(brute)


def test_many_are_drawn_by_a_seed():
    found = resamples(EXACT + 1, 3)
    assert len(found) == DRAWS
    assert found == resamples(EXACT + 1, 3) != resamples(EXACT + 1, 4)
    assert {sum(counts) for counts, _ in found} == {EXACT + 1}
    assert sum(weight for _, weight in found) == pytest.approx(1.0)


def made(method, replicates):
    array = np.array(replicates, dtype=float)
    return Front(method, tuple(map(str, range(array.shape[1]))), array.mean(axis=0), array)


def test_equal_fronts_tie():
    points = [[[1.0, 0.5], [0.5, 1.0]], [[0.9, 0.6], [0.4, 1.0]]]
    (duel,) = duels([made("a", points), made("b", points)], OBJECTIVES, 0)
    assert (duel.probability, duel.ahead, duel.replicates) == (0.5, 1.0, 2)
    assert duel.covers == duel.covered == 1.0


def test_fronts_that_are_apart_are_sure():
    low, high = [[[0.2, 0.2]], [[0.3, 0.1]], [[0.1, 0.3]]], [[[0.8, 0.9]], [[0.9, 0.9]], [[0.7, 0.9]]]
    (duel,) = duels([made("low", low), made("high", high)], OBJECTIVES, 0)
    assert (duel.first, duel.second) == ("high", "low")
    assert (duel.probability, duel.ahead, duel.covers, duel.covered) == (pytest.approx(1.0), 3.0, 1.0, 0.0)


def test_one_replicate_gives_no_probability():
    (duel,) = duels([made("a", [[[0.5, 0.5]]]), made("b", [[[0.4, 0.9]]])], OBJECTIVES, 0)
    assert duel.probability is duel.ahead is None
    assert (duel.first, duel.volumes) == ("b", pytest.approx((0.36, 0.25)))


def test_the_probability_by_brute_force():
    generator = np.random.default_rng(5)
    a, b = generator.random((3, 3, 2)), generator.random((3, 3, 2))
    (duel,) = duels([made("a", a), made("b", b)], OBJECTIVES, 0)
    won = 0.0
    for taken in itertools.product(range(3), repeat=3):
        volumes = {name: hypervolume(own[list(taken)].mean(axis=0), [0, 0], UP) for name, own in (("a", a), ("b", b))}
        won += volumes[duel.first] > volumes[duel.second]
    assert 0 < won < 27
    assert duel.probability == pytest.approx(won / 27)


def two(number, method, values, seeds=(0, 1)):
    replicates = [handmade.replicate(V(*own), V(*own), seed=seed) for seed, own in zip(seeds, values, strict=True)]
    return handmade.record(number, method=method, replicates=replicates)


def fronts_of(records, objectives=OBJECTIVES):
    by_trial = {record.trial: record for record in records if record.fidelity == "full"}
    return fronts(trials_table(records), by_trial, objectives)


def test_fronts_hold_what_is_shown_of_each_methods_front():
    records = [
        handmade.retrain(),
        two(0, "neglora", [(1.0, 0.8), (0.8, 0.8)]),
        two(1, "neglora", [(0.5, 0.5), (0.5, 0.5)]),
        two(0, "neggrad", [(0.7, 0.9), (0.9, 0.9)]),
        handmade.record(1, method="neggrad", status="diverged", reason="nan"),
    ]
    first, second = fronts_of(records)
    assert (first.method, len(first.trials), second.method) == ("neglora", 1, "neggrad")
    assert first.points.tolist() == [[pytest.approx(0.9), pytest.approx(0.8)]]
    assert first.replicates.tolist() == [[[1.0, 0.8]], [[0.8, 0.8]]]
    assert second.replicates.shape == (2, 1, 2)


def test_only_replicates_that_all_have_are_drawn_again():
    records = [two(0, "neglora", [(1.0, 0.8), (0.8, 0.8)]), two(0, "neggrad", [(0.7, 0.9), (0.9, 0.9)], seeds=(1, 2))]
    assert [front.replicates.shape for front in fronts_of(records)] == [(1, 1, 2), (1, 1, 2)]


def test_a_method_without_a_measured_front_is_left_out():
    records = [handmade.record(0), handmade.record(0, method="neggrad", metrics=V(mia=None), report=V(mia=None))]
    assert [front.method for front in fronts_of(records, ["ua", "mia"])] == ["neglora"]
    assert fronts_of([]) == []
    assert duels([], OBJECTIVES, 0) == []


def test_a_grids_duels_are_the_same_every_time():
    records = handmade.searched(8, (0, 1, 2))
    objectives = ["ua", "ra", "ta", "mia"]
    found = duels(fronts_of(records, objectives), objectives, draw_seed(0, "digits", "tinyvit_nano"))
    assert found == duels(fronts_of(records, objectives), objectives, draw_seed(0, "digits", "tinyvit_nano"))
    assert [duel.replicates for duel in found] == [3, 3, 3]
    assert all(0 <= duel.probability <= 1 for duel in found)
    assert all(duel.volumes[0] >= duel.volumes[1] for duel in found)
