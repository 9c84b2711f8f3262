"""How sure a measured share is."""

from __future__ import annotations

import math

#: Standard normal quantile of a two-sided 95% interval.
Z_95 = 1.959963984540054


def wilson(share: float, count: float) -> tuple[float, float]:
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


def of_population(share: float, count: int, total: int) -> tuple[float, float]:
    """Where the share among all `total` images lies at 95%, given that among `count` of them.

    Wilson's interval for a sample that is not replaced: it counts as `count * (total - 1) / (total - count)` images. It
    has no width where all were measured, and holds the sample's own images to what they are.

    Args:
        share: among the sample, a fraction in [0, 1].
        count: images of the sample, at least 1.
        total: of which it is a sample.

    Source: Cochran 1977, "Sampling Techniques", section 2.6 (the finite population correction).

    Raises:
        ValueError: see `wilson`; or fewer images than in the sample.
    """
    if total < count:
        raise ValueError(f"a sample of {count} images cannot be of {total}")
    if total == count:
        return share, share
    low, high = wilson(share, count * (total - 1) / (total - count))
    known, rest = share * count, total - count
    return max(low, known / total), min(high, (known + rest) / total)
