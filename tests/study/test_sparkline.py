"""A curve as one line of text."""

import pytest

from study.sparkline import ASCII, BLOCKS, sparkline


def test_from_the_least_to_the_greatest():
    assert sparkline(range(8), 8) == BLOCKS
    assert sparkline([0.25, 0.25, 0.75], 8) == BLOCKS[0] * 2 + BLOCKS[-1]
    assert sparkline([3, 2, 1], 3) == BLOCKS[7] + BLOCKS[4] + BLOCKS[0]


def test_many_values_are_parts_that_end_with_the_last():
    shown = sparkline([0] * 99 + [1], 10)
    assert shown == BLOCKS[0] * 9 + BLOCKS[-1]
    assert sparkline(range(1000), 8) == BLOCKS
    assert len(sparkline(range(11), 10)) == 10


def test_few_and_equal_values():
    assert sparkline([], 8) == ""
    assert sparkline([1.0], 8) == sparkline([0.0], 8) == BLOCKS[0]
    assert sparkline([0.5] * 20, 4) == BLOCKS[0] * 4


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "no-such-encoding"])
def test_a_terminal_that_lacks_blocks_has_others(encoding):
    assert sparkline(range(8), 8, encoding=encoding) == ASCII
    assert ASCII.isascii()
    assert len(ASCII) == len(BLOCKS) == len(set(ASCII)) == 8
