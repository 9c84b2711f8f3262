"""Methods ranked over many datasets and models: whether their average ranks differ by more than chance would."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

#: Fewer blocks or methods than these say nothing: with 4 blocks hardly any difference of ranks could be significant.
LEAST_BLOCKS, LEAST_METHODS = 5, 3
LEVEL = 0.05


@dataclass(frozen=True)
class Ranks:
    """Average ranks over blocks, best first.

    Attributes:
        methods: names by average rank.
        ranks: their average ranks, 1 is best.
        blocks: over how many datasets x models.
        statistic: Friedman's, corrected for ties.
        p: its probability if all methods were equally good.
        critical: two methods whose average ranks are further apart than this differ, at `LEVEL`.
    """

    methods: tuple[str, ...]
    ranks: tuple[float, ...]
    blocks: int
    statistic: float
    p: float
    critical: float

    def alike(self) -> list[tuple[str, ...]]:
        """The largest sets of methods, neighbours by rank, that the test cannot tell apart; sets of one left out."""
        found: list[tuple[str, ...]] = []
        for start in range(len(self.methods)):
            end = start
            while end + 1 < len(self.methods) and self.ranks[end + 1] - self.ranks[start] <= self.critical:
                end += 1
            group = self.methods[start : end + 1]
            if len(group) > 1 and not (found and set(group) <= set(found[-1])):
                found.append(group)
        return found


def compare_ranks(blocks: Sequence[Mapping[str, float | None]]) -> Ranks | None:
    """Friedman's test and Nemenyi's critical difference.

    Args:
        blocks: per dataset x model, each method's value, smaller is better; None where it was not measured. Only
            methods that some block has, and only blocks that have all of these, are ranked.

    Returns:
        None with fewer than `LEAST_BLOCKS` blocks or `LEAST_METHODS` methods.

    Source: Demsar 2006, "Statistical comparisons of classifiers over multiple data sets", section 3.2.2.
    """
    methods = methods_of(blocks)
    whole = complete(blocks)
    if len(whole) < LEAST_BLOCKS or len(methods) < LEAST_METHODS:
        return None
    values = np.array([[block[method] for method in methods] for block in whole], dtype=float)
    ranks = np.array([stats.rankdata(row) for row in values]).mean(axis=0)
    if np.all(values == values[:, :1]):
        # All are equal everywhere: the statistic is 0 over 0.
        statistic, p = 0.0, 1.0
    else:
        statistic, p = (float(number) for number in stats.friedmanchisquare(*values.T))
    order = sorted(range(len(methods)), key=lambda index: (ranks[index], index))
    return Ranks(
        tuple(methods[index] for index in order),
        tuple(float(ranks[index]) for index in order),
        len(whole),
        statistic,
        p,
        critical_difference(len(methods), len(whole)),
    )


def critical_difference(methods: int, blocks: int, level: float = LEVEL) -> float:
    """Nemenyi's: how far apart the average ranks of two of so many methods have to be, over so many blocks.

    q * sqrt(k (k + 1) / (6 N)), with q the studentized range for k groups and infinite degrees of freedom, over sqrt 2.

    Source: Demsar 2006, equation in section 3.2.2 and table 5.
    """
    q = float(stats.studentized_range.ppf(1 - level, methods, math.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * blocks))


def methods_of(blocks: Sequence[Mapping[str, float | None]]) -> list[str]:
    """Every method that has a value somewhere, in order of appearance."""
    return list(dict.fromkeys(name for block in blocks for name, value in block.items() if value is not None))


def complete(blocks: Sequence[Mapping[str, float | None]]) -> list[Mapping[str, float | None]]:
    """The blocks in which every method has a value."""
    methods = methods_of(blocks)
    return [block for block in blocks if all(block.get(method) is not None for method in methods)]
