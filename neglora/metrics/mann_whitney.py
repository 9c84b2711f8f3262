"""How far two sides of scores can be told apart, without training anything."""

from __future__ import annotations

import math

import numpy
from numpy.typing import NDArray
from scipy.stats import rankdata

from neglora.intervals import Z_95


def placements(
    higher: NDArray[numpy.float64], lower: NDArray[numpy.float64]
) -> tuple[NDArray[numpy.float64], NDArray[numpy.float64]]:
    """For each value of `higher` the share of `lower` below it; for each of `lower` the share of `higher` above it.

    Ties count half. The mean of either is the AUC.

    Source: Sun and Xu 2014, from midranks.
    """
    m, n = len(higher), len(lower)
    together = rankdata(numpy.concatenate([higher, lower]))
    return (together[:m] - rankdata(higher)) / n, 1.0 - (together[m:] - rankdata(lower)) / m


def spread(values: NDArray[numpy.float64]) -> float:
    """The variance of one placement, estimated from `[n]` of them; 0 where there is but one."""
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def mann_whitney_auc(
    higher: NDArray[numpy.float64], lower: NDArray[numpy.float64]
) -> tuple[float, tuple[float, float]]:
    """The probability that a value of `higher` exceeds one of `lower`, with DeLong's 95 percent interval.

    Args:
        higher, lower: `[m]` and `[n]`; ties count half.

    Source: DeLong et al. 1988.
    """
    above, below = placements(higher, lower)
    auc = float(above.mean())
    half = Z_95 * math.sqrt(spread(above) / len(above) + spread(below) / len(below))
    return auc, (max(0.0, auc - half), min(1.0, auc + half))
