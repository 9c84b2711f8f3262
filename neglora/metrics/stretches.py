"""Where on a line something holds that can only be asked for at points: stretches between sign changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy
from numpy.typing import NDArray

#: Points of the grid on which changes are looked for, less one, and the decimals to which they are then found.
STEPS, DECIMALS = 1000, 6

Values = NDArray[numpy.float64]


def stretches(holds: Callable[[Values], NDArray[numpy.bool_]], low: float, high: float) -> list[tuple[float, float]]:
    """The stretches of [low, high] on which something holds, ascending.

    It is asked for on a grid of `STEPS`, and where two neighbours differ, the change between them is found by bisection
    to `DECIMALS`. What comes and goes between two neighbours is not seen.

    Args:
        holds: of values `[n]`, which of them it holds for, `[n]`.
        low, high: the ends.
    """
    grid = numpy.linspace(low, high, STEPS + 1)
    inside = holds(grid)
    changes = numpy.flatnonzero(inside[1:] != inside[:-1])
    left, right = grid[changes], grid[changes + 1]
    while len(changes) and (right - left).max() > 10.0**-DECIMALS / 2:
        middle = (left + right) / 2
        as_left = holds(middle) == inside[changes]
        left, right = numpy.where(as_left, middle, left), numpy.where(as_left, right, middle)
    ends = [round(float(end), DECIMALS) for end in (left + right) / 2]
    ends = [*([low] if inside[0] else []), *ends, *([high] if inside[-1] else [])]
    return list(zip(ends[::2], ends[1::2], strict=True))
