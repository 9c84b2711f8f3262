"""Fronts and hypervolume against closed forms, brute force and Optuna."""

import math
import random

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume

from study.pareto import beaten, front, hypervolume

UP, DOWN = "maximize", "minimize"


def test_front_keeps_what_nothing_dominates():
    assert front([[1, 1], [2, 0], [0, 2], [0, 0], [1, 0]], [UP, UP]) == [0, 1, 2]


def test_front_follows_directions():
    assert front([[1, 1], [2, 0], [0, 2], [2, 2]], [UP, DOWN]) == [1]


def test_front_keeps_duplicates():
    assert front([[1, 0], [0, 0], [1, 0]], [UP, UP]) == [0, 2]


def test_unmeasured_points_are_not_on_a_front_and_dominate_nothing():
    assert front([[9, None], [1, 1], [math.nan, 9]], [UP, UP]) == [1]


def test_front_of_nothing_is_empty():
    assert front([], [UP, DOWN]) == []
    assert front([[None, None]], [UP, DOWN]) == []


def test_front_with_infinite_values():
    assert front([[math.inf, 0], [-math.inf, 5], [0, -math.inf]], [UP, UP]) == [0, 1]


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4])
def test_front_equals_the_definition(dimensions):
    generator = random.Random(dimensions)
    points = [[generator.randrange(4) for _ in range(dimensions)] for _ in range(60)]

    def dominates(a, b):
        return all(x >= y for x, y in zip(a, b, strict=True)) and a != b

    expected = [i for i, p in enumerate(points) if not any(dominates(q, p) for q in points)]
    assert expected
    assert front(points, [UP] * dimensions) == expected


@pytest.mark.parametrize("seed", range(20))
def test_beaten_equals_the_definition(seed):
    """Coarse values make ties; some are infinite or were not measured."""
    generator = np.random.default_rng(seed)
    points, others = (np.round(generator.random((int(generator.integers(0, 40)), 2)) * 5) for _ in range(2))
    for rows in (points, others):
        rows[generator.random(rows.shape) < 0.1] = math.nan
        rows[generator.random(rows.shape) < 0.1] = math.inf
    expected = [any(all(o <= p) and any(o < p) for o in others) for p in points]
    assert beaten(points, others).tolist() == expected


@pytest.mark.parametrize(("points", "directions"), [([[1, 2]], [UP]), ([[1]], [UP, UP]), ([[1]], ["up"]), ([], [])])
def test_front_refuses_what_does_not_fit(points, directions):
    with pytest.raises(ValueError):
        front(points, directions)


@pytest.mark.parametrize(
    ("points", "reference", "directions", "volume"),
    [
        ([[0.3]], [0.0], [UP], 0.3),
        ([[0.5, 0.5]], [0, 0], [UP, UP], 0.25),
        ([[1, 0.5], [0.5, 1]], [0, 0], [UP, UP], 0.75),
        ([[1, 0.5], [0.5, 0]], [0, 1], [UP, DOWN], 0.75),
        ([[1, 1, 0.5], [0.5, 0.5, 1]], [0, 0, 0], [UP] * 3, 0.625),
        ([[0.5] * 4, [1, 0.1, 0.1, 0.1]], [0] * 4, [UP] * 4, 0.0625 + 0.0005),
    ],
)
def test_hypervolume_closed_forms(points, reference, directions, volume):
    assert hypervolume(points, reference, directions) == pytest.approx(volume, abs=1e-15)


def test_hypervolume_ignores_duplicates_dominated_and_unmeasured_points():
    one = [[0.5, 0.5]]
    more = [[0.5, 0.5], [0.5, 0.5], [0.2, 0.5], [None, 1.0], [1.0, math.nan]]
    assert hypervolume(more, [0, 0], [UP, UP]) == hypervolume(one, [0, 0], [UP, UP]) == 0.25


def test_hypervolume_of_nothing_is_zero():
    assert hypervolume([], [0, 0], [UP, UP]) == 0.0
    assert hypervolume([[None, None]], [0, 0], [UP, UP]) == 0.0


def test_points_at_or_beyond_the_reference_add_nothing():
    assert hypervolume([[0.0, 1.0], [-1.0, 5.0], [-math.inf, 1.0]], [0, 0], [UP, UP]) == 0.0


def test_an_infinitely_good_point_makes_the_volume_infinite():
    assert hypervolume([[math.inf, 0.1]], [0, 0], [UP, UP]) == math.inf
    assert hypervolume([[math.inf, -0.1]], [0, 0], [UP, UP]) == 0.0


def test_hypervolume_refuses_an_infinite_reference():
    with pytest.raises(ValueError, match="finite"):
        hypervolume([[1.0]], [math.inf], [DOWN])


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("coarse", [False, True])
def test_hypervolume_equals_optunas(dimensions, coarse):
    """Coarse values make many ties and duplicates."""
    generator = np.random.default_rng(dimensions)
    for _ in range(20):
        losses = generator.random((int(generator.integers(1, 25)), dimensions))
        if coarse:
            losses = np.round(losses * 4) / 4
        signs = np.where(generator.random(dimensions) < 0.5, 1.0, -1.0)
        ours = hypervolume(losses * signs, list(signs), [DOWN if sign > 0 else UP for sign in signs])
        assert ours == pytest.approx(compute_hypervolume(losses, np.ones(dimensions)), abs=1e-12)


def test_hypervolume_agrees_with_optuna_on_points_with_infinite_values():
    losses = np.array([[-np.inf, 0.5], [0.2, 0.2]])
    assert hypervolume(losses, [1, 1], [DOWN, DOWN]) == compute_hypervolume(losses, np.ones(2)) == math.inf
