"""How sure a measured share is."""

from __future__ import annotations

import math

#: Standard normal quantile of a two-sided 95% interval.
Z_95 = 1.959963984540054


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95% score interval of a share measured on `count` images.

    Unlike the normal approximation it stays inside [0, 1] and has a width at shares of 0 and 1, where accuracies of
    unlearned models lie.

    Args:
        share: a fraction in [0, 1].
        count: on how many images it was measured, at least 1.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Raises:
        ValueError: a share outside [0, 1] or no images.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share should lie in [0, 1], got {share!r}")
    if count < 1:
        raise ValueError(f"an interval needs at least one image, got {count!r}")
    z2 = Z_95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)
