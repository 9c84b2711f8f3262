"""Ranks over datasets, against the worked example of the paper that they are from."""

import math

import pytest

from study.ranks import Ranks, compare_ranks, complete, critical_difference

#: Demsar 2006, table 6: AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 datasets. On `voting` the last two are printed as
#: equal but ranked 2 and 3.
AUC = """
0.763 0.768 0.771 0.798
0.599 0.591 0.590 0.569
0.954 0.971 0.968 0.967
0.628 0.661 0.654 0.657
0.882 0.888 0.886 0.898
0.936 0.931 0.916 0.931
0.661 0.668 0.609 0.685
0.583 0.583 0.563 0.625
0.775 0.838 0.866 0.875
1.000 1.000 1.000 1.000
0.940 0.962 0.965 0.962
0.619 0.666 0.614 0.669
0.972 0.981 0.975 0.9749
0.957 0.978 0.946 0.970
"""
NAMES = ("c45", "m", "cf", "m+cf")
# Smaller is better here.
BLOCKS = [
    {name: 1 - float(value) for name, value in zip(NAMES, line.split(), strict=True)}
    for line in AUC.strip().splitlines()
]


def test_demsars_example():
    found = compare_ranks(BLOCKS)
    assert len(BLOCKS) == found.blocks == 14
    assert dict(zip(found.methods, found.ranks, strict=True)) == {
        "m+cf": pytest.approx(1.964, abs=5e-4),
        "m": pytest.approx(2.000, abs=5e-4),
        "cf": pytest.approx(2.893, abs=5e-4),
        "c45": pytest.approx(3.143, abs=5e-4),
    }
    assert list(found.ranks) == sorted(found.ranks)
    # The paper's statistic, 9.28, leaves out the correction for ties, which makes it larger.
    plain = 12 * 14 / (4 * 5) * (sum(rank**2 for rank in found.ranks) - 4 * 25 / 4)
    assert plain == pytest.approx(9.28, abs=5e-3)
    assert found.statistic > plain
    assert 0.01 < found.p < 0.05
    # No two are further apart than 1.25 at 5%, as the paper finds; at 10% C4.5 and C4.5+m+cf are (1.12).
    assert found.critical == pytest.approx(1.25, abs=0.005)
    assert critical_difference(4, 14, 0.10) == pytest.approx(1.12, abs=0.005)
    assert found.alike() == [("m+cf", "m", "cf", "c45")]


@pytest.mark.parametrize(
    ("methods", "q"),
    [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)],
)
def test_the_papers_table_of_critical_values(methods, q):
    blocks = 10
    assert critical_difference(methods, blocks) / math.sqrt(methods * (methods + 1) / (6 * blocks)) == pytest.approx(
        q, abs=1.5e-3
    )


def test_too_few_say_nothing():
    assert compare_ranks(BLOCKS[:4]) is None
    assert compare_ranks([{"a": 0.1, "b": 0.2}] * 9) is None
    assert compare_ranks([]) is None
    assert compare_ranks(BLOCKS[:5]).blocks == 5


def test_only_blocks_that_have_every_method_count():
    blocks = [*BLOCKS[:5], {"c45": 0.1, "m": 0.2, "cf": None, "m+cf": 0.1}, {"c45": 0.1}]
    assert len(complete(blocks)) == 5
    assert compare_ranks(blocks) == compare_ranks(BLOCKS[:5])


def test_a_method_that_was_never_measured_is_not_ranked():
    found = compare_ranks([{**block, "new": None} for block in BLOCKS])
    assert set(found.methods) == set(NAMES)


def test_methods_that_are_always_equal_share_a_rank():
    found = compare_ranks([{"a": 0.1, "b": 0.1, "c": 0.1}] * 6)
    assert (found.methods, found.ranks, found.p) == (("a", "b", "c"), (2.0, 2.0, 2.0), 1.0)


def test_sets_that_cannot_be_told_apart():
    def alike(*ranks):
        return Ranks(tuple("abcd"[: len(ranks)]), ranks, 9, 1.0, 0.01, 1.0).alike()

    assert alike(1.0, 1.5, 2.4, 4.0) == [("a", "b"), ("b", "c")]
    assert alike(1.0, 3.0) == []
    assert alike(1.0, 1.5, 2.0, 4.0) == [("a", "b", "c")]
