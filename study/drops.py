"""Whether shares fell by more than chance, one or many at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: The probability with which any share is wrongly said to have fallen.
LEVEL = 0.05
#: So many standard deviations and images beyond the mean nothing is left; a term that is this share of the largest adds
#: nothing.
_DEVIATIONS, _IMAGES, _NOTHING = 12, 20, 1e-20


def fisher_drop(before: tuple[int, int], after: tuple[int, int]) -> float:
    """How likely a drop as large as that from `before` to `after` is if both are samples of one share.

    Args:
        before, after: (right, total) each, totals of at least 1.

    Returns:
        The p-value of Fisher's exact test, one-sided: small for a drop that chance does not explain, above one half
        for what did not fall.

    Source: Fisher 1935, "The logic of inductive inference".

    Raises:
        ValueError: a total below 1, or a count of right ones that is not within it.
    """
    for right, total in (before, after):
        if total < 1 or not 0 <= right <= total:
            raise ValueError(f"expected 0 <= right <= total with total > 0, got {right} of {total}")
    (right, total), (kept, tried) = before, after
    every, images = right + kept, total + tried
    whole = _log_choose(images, every)
    # Of all right answers, how many fall to the second sample: hypergeometric, about this mean.
    mean = every * tried / images
    deviation = math.sqrt(mean * (total / images) * (images - every) / max(1, images - 1))
    highest = min(kept, math.ceil(mean + _DEVIATIONS * deviation) + _IMAGES)
    ways: list[float] = []
    largest = 0.0
    for count in range(highest, max(0, every - total) - 1, -1):
        ways.append(math.exp(_log_choose(tried, count) + _log_choose(total, every - count) - whole))
        largest = max(largest, ways[-1])
        if count < mean and ways[-1] <= _NOTHING * largest:
            break
    return min(1.0, math.fsum(ways))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several, in their order: those at most `LEVEL` are rejected, however they depend.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    adjusted, reached = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        reached = max(reached, (len(p_values) - rank) * p_values[place])
        adjusted[place] = min(1.0, reached)
    return adjusted


def _log_choose(among: int, count: int) -> float:
    return math.lgamma(among + 1) - math.lgamma(count + 1) - math.lgamma(among - count + 1)
