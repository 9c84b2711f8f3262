"""Whether shares fell by more than chance: against exact fractions, scipy and a simulation."""

import random
from fractions import Fraction
from itertools import product
from math import comb

import pytest
from scipy.stats import fisher_exact

from study.drops import LEVEL, fisher_drop, holm


def by_fractions(before, after):
    """The hypergeometric tail, counted out."""
    (right, total), (kept, tried) = before, after
    every, images = right + kept, total + tried
    ways = [comb(tried, count) * comb(total, every - count) for count in range(kept + 1) if every >= count]
    return float(Fraction(sum(ways), comb(images, every)))


@pytest.mark.parametrize("totals", [(1, 1), (4, 7), (9, 5)])
def test_it_is_counted_out_for_every_table(totals):
    tables = list(product(range(totals[0] + 1), range(totals[1] + 1)))
    assert len(tables) > 3
    for right, kept in tables:
        before, after = (right, totals[0]), (kept, totals[1])
        assert fisher_drop(before, after) == pytest.approx(by_fractions(before, after), rel=1e-10)


@pytest.mark.parametrize(
    ("before", "after"),
    [((125, 125), (119, 125)), ((4990, 5000), (4950, 5000)), ((40, 50), (45, 50)), ((0, 9), (0, 9))],
)
def test_it_is_scipys(before, after):
    rows = [[before[0], before[1] - before[0]], [after[0], after[1] - after[0]]]
    expected = fisher_exact(rows, alternative="greater").pvalue
    assert fisher_drop(before, after) == pytest.approx(expected, rel=1e-8)


def test_of_a_thousand_million_images_it_is_found_at_once():
    whole = 10**9
    assert fisher_drop((whole - 10**8, whole), (whole - 10**8 - 10**6, whole)) < 1e-99
    assert fisher_drop((whole // 2, whole), (whole // 2, whole)) == pytest.approx(0.5, abs=1e-3)
    # A drop of one standard deviation: the normal tail.
    assert fisher_drop((5 * 10**8, whole), (5 * 10**8 - 22361, whole)) == pytest.approx(0.1587, abs=2e-3)
    assert fisher_drop((0, whole), (whole, whole)) == pytest.approx(1.0)


def test_what_rose_or_stayed_is_no_drop():
    assert fisher_drop((40, 50), (45, 50)) > 0.5
    assert fisher_drop((50, 50), (50, 50)) == 1.0
    assert fisher_drop((50, 50), (30, 50)) < 1e-6


@pytest.mark.parametrize(("before", "after"), [((1, 0), (0, 1)), ((2, 1), (0, 1)), ((1, 1), (-1, 1)), ((1, 1), (0, 0))])
def test_what_is_no_share_is_refused(before, after):
    with pytest.raises(ValueError, match="expected 0 <= right <= total"):
        fisher_drop(before, after)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.001, 0.9]) == pytest.approx([1.0, 0.003, 1.0])
    assert holm([]) == []


def test_among_many_shares_that_did_not_fall_few_studies_name_one():
    """18 comparisons of 100 images with the same share: any is named in at most 5% of the cases."""
    generator = random.Random(0)
    named = 0
    for _ in range(300):
        pairs = [[sum(generator.random() < 0.9 for _ in range(100)) for _ in range(2)] for _ in range(18)]
        named += min(holm([fisher_drop((a, 100), (b, 100)) for a, b in pairs])) <= LEVEL
    assert named <= 0.05 * 300 + 8


def test_a_real_drop_among_them_is_named():
    p_values = [fisher_drop((98, 100), (97, 100)) for _ in range(17)] + [fisher_drop((98, 100), (80, 100))]
    adjusted = holm(p_values)
    assert [value <= LEVEL for value in adjusted] == [False] * 17 + [True]
