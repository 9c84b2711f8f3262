"""Dimensions: what they contain, how large their product is, and how its points are numbered and shuffled."""

from __future__ import annotations

from collections import Counter

import pytest

from neglora.record import configuration_key
from study.dimensions import Choice, Dimension, Range, point, shuffled, size_of

SPACE: dict[str, Dimension] = {
    "rank": Choice((2, 4, 8)),
    "epochs": Range(1, 2, integer=True),
    "targets": Choice(("ffn", ("a", "b"))),
}


@pytest.mark.parametrize(
    ("dimension", "inside", "outside"),
    [
        (Choice((2, 4, 8)), [2, 4.0, 8], [3, "2", None, True]),
        (Choice((True, 1)), [True, 1, 1.0], [False, 0]),
        (Choice(("ffn", ("a", "b"))), ["ffn", ["a", "b"], ("a", "b")], ["a", ["b", "a"]]),
        (Range(1, 3, integer=True), [1, 2, 3.0], [0, 1.5, 4, True, "2"]),
        (Range(1e-4, 1e-2, log=True), [1e-4, 0.005, 1e-2], [0, 1, float("nan"), None, "0.005"]),
    ],
)
def test_contains(dimension: Dimension, inside: list[object], outside: list[object]) -> None:
    assert all(dimension.contains(value) for value in inside)
    assert not any(dimension.contains(value) for value in outside)


def test_sizes() -> None:
    assert size_of(SPACE) == 3 * 2 * 2
    assert size_of({}) == 1
    assert size_of(SPACE | {"lr": Range(0.1, 0.2)}) is None
    assert size_of({"lr": Range(0.1, 0.1)}) == 1


def test_points_number_every_configuration_once() -> None:
    points = [point(SPACE, index) for index in range(12)]
    assert points[0] == {"rank": 2, "epochs": 1, "targets": "ffn"}
    assert points[1] == {"rank": 2, "epochs": 1, "targets": ("a", "b")}
    assert points[-1] == {"rank": 8, "epochs": 2, "targets": ("a", "b")}
    assert len({configuration_key(params) for params in points}) == 12
    assert point({}, 0) == {}


@pytest.mark.parametrize(("space", "index"), [(SPACE, 12), (SPACE, -1), ({"lr": Range(0.1, 0.2)}, 0)])
def test_there_is_no_point_beyond_a_finite_space(space: dict[str, Dimension], index: int) -> None:
    with pytest.raises(ValueError, match="expected a finite space"):
        point(space, index)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 100, 1000])
def test_shuffling_is_a_permutation(size: int) -> None:
    assert sorted(shuffled(place, size, seed=3) for place in range(size)) == list(range(size))


def test_shuffling_depends_on_the_seed_and_mixes() -> None:
    orders = [[shuffled(place, 50, seed) for place in range(50)] for seed in range(40)]
    assert len({tuple(order) for order in orders}) == 40
    # No value is at home at the first place: 40 orders start with many different ones.
    assert Counter(order[0] for order in orders).most_common(1)[0][1] <= 6


def test_a_space_of_billions_is_not_listed() -> None:
    places = [shuffled(place, 10**12, seed=0) for place in range(1000)]
    assert len(set(places)) == 1000
    assert max(places) < 10**12


def test_no_place_beyond_the_end() -> None:
    with pytest.raises(ValueError, match=r"\[0, 5\)"):
        shuffled(5, 5, seed=0)
