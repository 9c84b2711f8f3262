"""Attainment surfaces against their definition, and against closed forms."""

import itertools
import math
import random

import pytest

from study.attainment import Surfaces, attained, surfaces


def counted(runs, x, y):
    """How many runs attain a point, as the definition says it."""
    return sum(any(a >= x and b >= y for a, b in run) for run in runs)


def below(corners, x, y):
    return any(a >= x and b >= y for a, b in corners)


@pytest.mark.parametrize("seed", range(20))
def test_a_point_is_below_the_surface_where_so_many_runs_attain_it(seed):
    generator = random.Random(seed)
    # Few levels, so that ties in x, in y and in both are common.
    runs = [
        [(generator.randrange(6) / 5, generator.randrange(6) / 5) for _ in range(generator.randrange(1, 7))]
        for _ in range(generator.randrange(1, 6))
    ]
    grid = [step / 10 for step in range(-1, 12)]
    compared = set()
    for times in range(1, len(runs) + 1):
        corners = attained(runs, times)
        for x, y in itertools.product(grid, grid):
            expected = counted(runs, x, y) >= times
            assert below(corners, x, y) == expected
            compared.add(expected)
    assert compared == {True, False}


@pytest.mark.parametrize("times", [1, 2, 3])
def test_corners_are_a_staircase_without_spare_points(times):
    generator = random.Random(times)
    runs = [[(generator.random(), generator.random()) for _ in range(30)] for _ in range(3)]
    corners = attained(runs, times)
    assert len(corners) > 1
    assert all(a < c and b > d for (a, b), (c, d) in itertools.pairwise(corners))


def test_of_nested_fronts_the_kth_best_is_the_surface():
    """Runs whose front is the quarter circle of radius r: what k of them attain is the k-th largest circle."""
    angles = [step * math.pi / 40 for step in range(1, 20)]
    runs = [[(radius * math.sin(a), radius * math.cos(a)) for a in angles] for radius in (0.5, 1.0, 0.75)]
    for times, radius in ((1, 1.0), (2, 0.75), (3, 0.5)):
        corners = attained(runs, times)
        assert len(corners) == len(angles)
        assert all(math.hypot(x, y) == pytest.approx(radius) for x, y in corners)


def test_crossing_fronts_meet_where_both_attain():
    first, second = [(1.0, 0.2)], [(0.3, 1.0)]
    found = surfaces([first, second])
    assert found == Surfaces(2, [(0.3, 1.0), (1.0, 0.2)], [(0.3, 1.0), (1.0, 0.2)], [(0.3, 0.2)])


def test_the_median_of_an_odd_number_is_the_one_in_the_middle():
    found = surfaces([[(value, value)] for value in (0.9, 0.1, 0.4, 0.5, 0.8)])
    assert (found.best, found.median, found.worst) == ([(0.9, 0.9)], [(0.5, 0.5)], [(0.1, 0.1)])


def test_what_was_not_measured_attains_nothing():
    nan = float("nan")
    assert attained([[(nan, 1.0), (0.5, nan), (0.2, 0.3)], [(1.0, 1.0)]], 2) == [(0.2, 0.3)]
    assert attained([[], [(1.0, 1.0)]], 2) == []
    assert attained([[], []], 1) == []


def test_one_run_has_no_spread_and_levels_outside_are_refused():
    assert surfaces([[(1.0, 1.0)]]) is None
    assert surfaces([]) is None
    with pytest.raises(ValueError, match="from 1 to the number of runs, 1, got 2"):
        attained([[(1.0, 1.0)]], 2)
