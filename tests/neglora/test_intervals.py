"""Wilson's interval against its defining equation."""

import math

import pytest

from neglora.intervals import Z_95, wilson


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
