"""Which points are not beaten by any other, and how much of the objective space they cover."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from neglora.objectives import METRICS, Direction

Points = Sequence[Sequence[float | None]] | np.ndarray

#: So many points are compared with a front at a time: quick, and memory stays small for thousands.
_ROWS = 128


def front(points: Points, directions: Sequence[Direction]) -> list[int]:
    """Indices of the points that no other point dominates, in the order given.

    A point dominates another if it is at least as good in every objective and better in one; so equal points do not
    dominate each other, and all of them are kept. A point with a value that was not measured (None or NaN) is never on
    a front and dominates nothing.

    Args:
        points: n rows of one value per objective; may be empty.
        directions: "maximize" or "minimize" for every objective.

    Raises:
        ValueError: an unknown direction, or rows of another width than `directions`.
    """
    losses = _losses(points, directions)
    measured = np.flatnonzero(~np.isnan(losses).any(axis=1))
    # In lexicographic order what dominates a point comes before it, and is itself on the front or behind one that is.
    order = measured[np.lexsort(losses[measured].T[::-1])]
    found = np.empty(0, dtype=int)
    for start in range(0, len(order), _ROWS):
        mine = order[start : start + _ROWS]
        found = np.concatenate([found, mine])
        rivals, block = losses[found], losses[mine, None]
        dominated = np.any(np.all(rivals <= block, axis=2) & np.any(rivals < block, axis=2), axis=1)
        found = np.concatenate([found[: -len(mine)], mine[~dominated]])
    return sorted(found.tolist())


def beaten(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which points of a plane are dominated by one of the others, smaller being better: booleans (n,).

    Args:
        points: (n, 2).
        others: (m, 2). A row with NaN, in either, is not dominated and dominates nothing.
    """
    others = others[~np.isnan(others).any(axis=1)]
    if not len(others) or not len(points):
        return np.zeros(len(points), dtype=bool)
    ordered = others[np.argsort(others[:, 0])]
    # By how many others come first in x: the best y among them.
    lowest = np.concatenate([[np.inf], np.minimum.accumulate(ordered[:, 1])])
    as_good = np.searchsorted(ordered[:, 0], points[:, 0], side="right")
    better = np.searchsorted(ordered[:, 0], points[:, 0], side="left")
    dominated = (lowest[as_good] < points[:, 1]) | ((better > 0) & (lowest[better] <= points[:, 1]))
    return dominated & ~np.isnan(points).any(axis=1)


def hypervolume(points: Points, reference: Sequence[float], directions: Sequence[Direction]) -> float:
    """Exact volume between the points and a reference point: the share of the space that the front dominates.

    Points that are not better than the reference in every objective add nothing, nor do points with a value that was
    not measured (None or NaN). A point that is infinitely good makes the volume infinite.

    Args:
        points: n rows of one value per objective; may be empty.
        reference: the worst acceptable value of every objective, finite.
        directions: "maximize" or "minimize" for every objective.

    Returns:
        A volume >= 0 in the product of the objectives' units; 0 for no points.

    Raises:
        ValueError: an unknown direction, rows of another width, or a reference that is not finite.
    """
    corner = _losses([list(reference)], directions)[0]
    if not np.isfinite(corner).all():
        raise ValueError(f"the reference point should be finite, got {list(reference)!r}")
    losses = _losses(points, directions)
    # A comparison with NaN is false, which leaves unmeasured points out.
    losses = losses[(losses < corner).all(axis=1)]
    if len(losses) == 0:
        return 0.0
    if np.isinf(losses).any():
        return float("inf")
    return _volume(corner - losses)


def reference_point(objectives: Sequence[str]) -> list[float]:
    """The worst value of every objective: 0 where more is better, 1 where less is (as slow or as far as can be)."""
    return [0.0 if METRICS[name].direction == "maximize" else 1.0 for name in objectives]


def _losses(points: Points, directions: Sequence[Direction]) -> np.ndarray:
    """Points as an array (n, objectives) in which smaller is better."""
    for direction in directions:
        if direction not in ("maximize", "minimize"):
            raise ValueError(f"a direction should be 'maximize' or 'minimize', got {direction!r}")
    if len(directions) == 0:
        raise ValueError("at least one direction is needed")
    if len(points) == 0:
        return np.empty((0, len(directions)))
    if any(len(row) != len(directions) for row in points):
        raise ValueError(f"every point should have {len(directions)} values, one for each direction")
    # numpy turns None into NaN when the type is float.
    values = np.array([list(row) for row in points], dtype=float)
    return values * np.array([1.0 if direction == "minimize" else -1.0 for direction in directions])


def _volume(sizes: np.ndarray) -> float:
    """Volume of the union of the boxes [0, size], sizes (n, d) positive and finite."""
    dimensions = sizes.shape[1]
    if dimensions == 1:
        return float(sizes.max())
    if dimensions == 2:
        return _area_steps(sizes)
    if dimensions == 3:
        return _volume_sweep(sizes)
    sizes = np.unique(sizes, axis=0)
    sizes = sizes[front(sizes, ["maximize"] * dimensions)]
    # Slice along the last objective, from the highest box down; in each slice, what reaches it is one dimension less.
    order = np.argsort(-sizes[:, -1], kind="stable")
    sizes = sizes[order]
    heights = np.append(sizes[:, -1], 0.0)
    total = 0.0
    for reached in range(1, len(sizes) + 1):
        thickness = heights[reached - 1] - heights[reached]
        if thickness > 0:
            total += thickness * _volume(sizes[:reached, :-1])
    return float(total)


def _area_steps(sizes: np.ndarray) -> float:
    """Area of a union of rectangles [0, x] x [0, y]: at every x, the highest of those that reach it."""
    ordered = sizes[np.argsort(sizes[:, 0])]
    widths = np.diff(ordered[:, 0], prepend=0.0)
    heights = np.maximum.accumulate(ordered[::-1, 1])[::-1]
    return float((widths * heights).sum())


def _volume_sweep(sizes: np.ndarray) -> float:
    """Volume in three dimensions: sweep the third downwards and keep the staircase of the first two.

    The staircase is two sorted lists, x rising and y falling; `area` is what lies under it.
    """
    xs: list[float] = []
    ys: list[float] = []
    area = total = 0.0
    rows = sizes[np.argsort(-sizes[:, 2], kind="stable")].tolist()
    for index, (x, y, z) in enumerate(rows):
        at = bisect_left(xs, x)
        if at == len(xs) or ys[at] < y:
            # The new point covers the steps first..last-1; from there to x the next step, if any, was the height.
            last = at + 1 if at < len(xs) and xs[at] == x else at
            first = at
            while first > 0 and ys[first - 1] <= y:
                first -= 1
            left = xs[first - 1] if first > 0 else 0.0
            beyond = ys[last] if last < len(ys) else 0.0
            covered, edge = 0.0, left
            for step in range(first, last):
                covered += (xs[step] - edge) * ys[step]
                edge = xs[step]
            covered += (x - edge) * beyond
            area += (x - left) * y - covered
            xs[first:last] = [x]
            ys[first:last] = [y]
        below = rows[index + 1][2] if index + 1 < len(rows) else 0.0
        total += area * (z - below)
    return total
