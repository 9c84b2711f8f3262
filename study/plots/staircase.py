"""What a front covers, as outlines: of two values that are both better when higher, the area below and left of it."""

from __future__ import annotations

from collections.abc import Sequence

Outline = tuple[list[float], list[float]]
Corner = tuple[float, float]


def corners(points: Sequence[Corner]) -> list[Corner]:
    """The points that no other one dominates, x rising and y falling, each once."""
    found: list[Corner] = []
    for x, y in sorted(set(points), reverse=True):
        if not found or y > found[-1][1]:
            found.append((x, y))
    return found[::-1]


def steps(staircase: Sequence[Corner], low: Corner) -> Outline:
    """The upper edge of what the corners dominate, from the left border to the lower one."""
    xs, ys = [low[0]], [staircase[0][1]]
    for index, (x, y) in enumerate(staircase):
        beyond = staircase[index + 1][1] if index + 1 < len(staircase) else low[1]
        xs += [x, x]
        ys += [y, beyond]
    return xs, ys


def covered(staircase: Sequence[Corner], low: Corner) -> Outline:
    """The outline of what the corners dominate down to the lower left corner of the plot."""
    xs, ys = steps(staircase, low)
    return [*xs, low[0], low[0]], [*ys, low[1], ys[0]]


def between(outer: Sequence[Corner], inner: Sequence[Corner], low: Corner) -> Outline:
    """The outline of what the outer corners dominate and the inner ones, which lie within, do not."""
    xs, ys = steps(outer, low)
    back_xs, back_ys = steps(inner, low)
    return [*xs, *back_xs[::-1], xs[0]], [*ys, *back_ys[::-1], ys[0]]
