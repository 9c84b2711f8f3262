"""Wilson's interval against its defining equation."""

import math

import numpy
import pytest

from neglora.intervals import Z_95, of_population, wilson


@pytest.mark.parametrize(("share", "count"), [(0.3, 40), (0.5, 1), (0.97, 243), (1.0, 128), (0.0, 5)])
def test_bounds_solve_the_score_equation(share, count):
    """|share - p| = z * sqrt(p (1 - p) / n) at both ends."""
    for bound in wilson(share, count):
        assert abs(share - bound) == pytest.approx(Z_95 * math.sqrt(bound * (1 - bound) / count), abs=1e-9)


def test_a_perfect_score_still_has_a_width():
    low, high = wilson(1.0, 128)
    assert high == 1.0
    assert low == pytest.approx(128 / (128 + Z_95**2))


@pytest.mark.parametrize(("share", "count"), [(1.1, 10), (-0.1, 10), (math.nan, 10), (0.5, 0)])
def test_refuses_what_is_no_share_or_no_image(share, count):
    with pytest.raises(ValueError):
        wilson(share, count)


@pytest.mark.parametrize("total", [40, 41, 60, 400, 10**6])
@pytest.mark.parametrize("right", [0, 1, 20, 39, 40])
def test_the_share_of_a_population_lies_where_its_other_images_let_it(total, right):
    low, high = of_population(right / 40, 40, total)
    assert right / total - 1e-12 <= low <= right / 40 + 1e-12
    assert right / 40 - 1e-12 <= high <= (right + total - 40) / total + 1e-12
    wide = wilson(right / 40, 40)
    assert wide[0] <= low + 1e-12 or low == pytest.approx(right / total)
    assert high <= wide[1] + 1e-12


def test_all_images_leave_nothing_open_and_many_others_everything():
    assert of_population(0.3, 10, 10) == (0.3, 0.3)
    assert of_population(0.3, 10, 10**9) == pytest.approx(wilson(0.3, 10), abs=1e-6)
    with pytest.raises(ValueError, match="cannot be of 9"):
        of_population(0.3, 10, 9)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_the_share_of_a_population_is_covered(share):
    """Draws without replacement of a population whose share is known."""
    generator = numpy.random.default_rng(7)
    total, count = 1_000, 200
    right = round(share * total)
    drawn = generator.hypergeometric(right, total - right, count, size=4_000)
    bounds = [of_population(found / count, count, total) for found in drawn]
    covered = numpy.mean([low <= right / total <= high for low, high in bounds])
    assert covered > 0.94
