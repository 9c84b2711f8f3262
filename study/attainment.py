"""How far a front reaches in each of several runs: what every run attains, half of them, and at least one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Corners of a staircase, x rising and y falling; both are to be maximized.
Corners = list[tuple[float, float]]


@dataclass(frozen=True)
class Surfaces:
    """Empirical attainment surfaces over runs.

    Attributes:
        runs: how many there are.
        best: what at least one run attains.
        median: what at least half of the runs attain.
        worst: what every run attains.
    """

    runs: int
    best: Corners
    median: Corners
    worst: Corners


def attained(runs: Sequence[Sequence[tuple[float, float]]], times: int) -> Corners:
    """The boundary of what at least `times` of the runs attain, of two values that are to be maximized.

    A run attains a point when one of its own points is at least as good in both values. At every x, the boundary is the
    `times`-th highest of the runs' own staircases.

    Args:
        runs: the points (x, y) of each; a point with NaN attains nothing.
        times: from 1 (what the best attain together) to the number of runs (what all of them attain).

    Returns:
        The corners, x rising and y falling; none where fewer than `times` runs have points.

    Raises:
        ValueError: `times` is none of these numbers.

    Source: Fonseca and Fleming 1996, "On the performance assessment and comparison of stochastic multiobjective
    optimizers"; the k%-attainment surfaces of Lopez-Ibanez, Paquete and Stutzle 2010, "Exploratory analysis of
    stochastic local search algorithms in biobjective optimization".
    """
    if not 1 <= times <= len(runs):
        raise ValueError(f"times should be from 1 to the number of runs, {len(runs)}, got {times}")
    measured = [np.array([point for point in run if not np.isnan(point).any()], dtype=float) for run in runs]
    xs = np.unique(np.concatenate([points[:, 0] for points in measured if len(points)] or [np.empty(0)]))
    if not len(xs):
        return []
    heights = np.sort(np.stack([_height(points, xs) for points in measured]), axis=0)[-times]
    # From the right, a corner is where the boundary rises above all that came before.
    beyond = np.append(np.maximum.accumulate(heights[::-1])[::-1][1:], -np.inf)
    corners = heights > beyond
    return [(float(x), float(y)) for x, y in zip(xs[corners], heights[corners], strict=True)]


def surfaces(runs: Sequence[Sequence[tuple[float, float]]]) -> Surfaces | None:
    """The best, median and worst attainment surfaces; None for fewer than two runs, which vary in nothing.

    Args:
        runs: as `attained` takes them.
    """
    if len(runs) < 2:
        return None
    half = math.ceil(len(runs) / 2)
    return Surfaces(len(runs), attained(runs, 1), attained(runs, half), attained(runs, len(runs)))


def _height(points: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """The highest y of the points that reach each x; minus infinity where none does."""
    if not len(points):
        return np.full(len(xs), -np.inf)
    ordered = points[np.argsort(points[:, 0], kind="stable")]
    highest = np.append(np.maximum.accumulate(ordered[::-1, 1])[::-1], -np.inf)
    return highest[np.searchsorted(ordered[:, 0], xs, side="left")]
