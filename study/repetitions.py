"""Studies that differ only in the seed of their search: the same question asked again, and how far answers vary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from study.budget import Curve

#: From so many repetitions on a band is that of the quartiles: fewer have none worth the name.
FOR_QUARTILES = 5
#: A band has at most so many points: figures stay small.
_POINTS = 200

#: What may differ beside `search.seed`: where a study runs and its data lies, and what the search never sees. The
#: budget may not: samplers draw as many random trials at first as the budget allows.
_ELSEWHERE = (("study",), ("resources",), ("confirm",), ("data", "root"), ("data", "workers"), ("data", "download"))


def repetitions(spaces: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Which of several resolved spaces ask the same question with different seeds of the search.

    Args:
        spaces: as `study.yaml` holds them.

    Returns:
        Sets of at least two indices into `spaces`, each ascending, by their first. Of studies with the same seed only
        the first counts: the same search again is no repetition.
    """
    sets: dict[str, dict[str, int]] = {}
    for index, space in enumerate(spaces):
        question, seed = _question(space), json.dumps((space.get("search") or {}).get("seed", 0))
        sets.setdefault(question, {}).setdefault(seed, index)
    return [list(found.values()) for found in sets.values() if len(found) > 1]


def _question(space: Mapping[str, Any]) -> str:
    """A space without what may differ, as text: equal for studies that are each other's repetitions."""
    left = _without(space, ("search", "seed"))
    for place in _ELSEWHERE:
        left = _without(left, place)
    return json.dumps(left, sort_keys=True, default=str)


def _without(space: Mapping[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    name, *inner = place
    if not inner:
        return {key: value for key, value in space.items() if key != name}
    own = space.get(name)
    return {**space, name: _without(own, tuple(inner))} if isinstance(own, Mapping) else dict(space)


@dataclass(frozen=True)
class Band:
    """Hypervolume over repetitions as spending grows.

    Attributes:
        method: whose.
        x: trials, or seconds.
        middle: the median over repetitions at each x.
        low, high: the ends of the band.
        repetitions: over how many.
    """

    method: str
    x: list[float]
    middle: list[float]
    low: list[float]
    high: list[float]
    repetitions: int


def band(curves: Sequence[Curve], against: Literal["trials", "seconds"]) -> Band:
    """The median of one method's curves and a band around it, as far as all of them go.

    The band is from the smallest to the largest of fewer than `FOR_QUARTILES` repetitions, else from the lower to the
    upper quartile (linear interpolation). Between two trials a curve stands still; before its first it is 0.

    Args:
        curves: of one method, one for each repetition; at least one.
        against: what spending is counted in.
    """
    spent = [np.asarray(getattr(curve, against), dtype=float) for curve in curves]
    end = min((own[-1] if len(own) else 0.0) for own in spent)
    grid = np.unique(np.concatenate(spent))
    grid = grid[grid <= end]
    if len(grid) > _POINTS:
        grid = grid[np.linspace(0, len(grid) - 1, _POINTS).round().astype(int)]
    values = np.stack([_at(own, curve.hypervolumes, grid) for own, curve in zip(spent, curves, strict=True)])
    low, middle, high = around(values)
    return Band(curves[0].method, grid.tolist(), middle.tolist(), low.tolist(), high.tolist(), len(curves))


def around(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower end, median and upper end over the first axis: all values of few, the quartiles of many."""
    ends = (0.25, 0.75) if len(values) >= FOR_QUARTILES else (0.0, 1.0)
    return np.quantile(values, ends[0], axis=0), np.median(values, axis=0), np.quantile(values, ends[1], axis=0)


def band_name(count: int) -> str:
    """What the ends of a band over so many repetitions are, in words."""
    return "from the lower to the upper quartile" if count >= FOR_QUARTILES else "from the smallest to the largest"


def _at(spent: np.ndarray, volumes: Sequence[float], grid: np.ndarray) -> np.ndarray:
    reached = np.searchsorted(spent, grid, side="right")
    return np.concatenate([[0.0], np.asarray(volumes, dtype=float)])[reached]
