"""What the attack's efficacy may be on all images, known from samples of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy
import torch
from numpy.typing import ArrayLike, NDArray

from neglora.intervals import Z_95
from neglora.metrics.gaussian_svm import expansion, fit
from neglora.metrics.mann_whitney import placements, spread
from neglora.metrics.mia import PENALTY, checked_sides, mia_efficacy
from neglora.seeds import derive_seed

Floats = NDArray[numpy.float64]

#: The smallest and the largest of so many draws hold one more of their kind in 1 - 2 / (DRAWS + 1) of all cases. 39
#: would make 95 percent, of which the draws' being draws from a sample takes some.
DRAWS = 59
#: Points a side that stand for the images.
BINS = 200


def efficacy_interval(
    *,
    retain: ArrayLike | torch.Tensor | Sequence[float],
    test: ArrayLike | torch.Tensor | Sequence[float],
    forget: ArrayLike | torch.Tensor | Sequence[float],
    seed: int,
    retain_total: int,
    test_total: int,
) -> tuple[float, float]:
    """Where the efficacy lies, at 95 percent, of the attack that is trained on all images.

    Args:
        retain, test: `[n]` true-label confidences of samples of the retained and the test images.
        forget: those of all of D_f.
        seed: that of `mia_efficacy`, from which the draws' seed is derived.
        retain_total, test_total: of how many images `retain` and `test` are samples.

    Returns:
        The smallest and the largest efficacy of bootstrapped attacks. No width where the samples are everything;
        [0, 1] where the attack on all images may be without signal, since its efficacy is noise then. The efficacy on
        the samples themselves may lie outside: fewer images make a smoother attack.

    Raises:
        ValueError: see `mia_efficacy`; a sample larger than its total, or several features an image.

    Source: Rubin 1981, "The Bayesian bootstrap". How much a side's draws vary accounts for the sample, for the
    balanced sample that the attack on all images draws from the larger side, and for what the two have in common.
    """
    checked = checked_sides(retain=retain, test=test, forget=forget)
    if checked["retain"].shape[1] != 1:
        raise ValueError(f"the interval is for attacks on one feature an image, got {checked['retain'].shape[1]}")
    sides = {name: values[:, 0] for name, values in checked.items()}
    drawn, total = [len(sides["retain"]), len(sides["test"])], [retain_total, test_total]
    for name, sample, all_of_it in zip(("retained", "test"), drawn, total, strict=True):
        if sample > all_of_it:
            raise ValueError(f"a sample of {sample} {name} images cannot be of {all_of_it}")
    if drawn == total:
        efficacy = mia_efficacy(retain=retain, test=test, forget=forget, seed=seed, exact=False).efficacy
        return efficacy, efficacy
    if _may_be_without_signal(sides["retain"], sides["test"], total):
        return 0.0, 1.0
    features = expansion(*sides.values())
    if features is None:
        return 0.0, 1.0
    generator = numpy.random.default_rng(derive_seed(seed, "mia", "interval"))
    count = min(total)
    points, limits = [], []
    for name, n, all_of_it in zip(("retain", "test"), drawn, total, strict=True):
        values, counts = binned(sides[name])
        points.append(values)
        # The variance of a mean's distance, in images: of the sample and of the balanced one, less what they share.
        noise = 1 / n + 1 / count - 2 / all_of_it
        shares = generator.gamma(counts / (n * noise), size=(DRAWS, len(counts))) if noise > 0 else counts[None] / n
        shares = numpy.maximum(shares, 1e-6 * shares.max())
        limits.append(PENALTY * count * numpy.broadcast_to(shares / shares.sum(1, keepdims=True), (DRAWS, len(counts))))
    signs = numpy.repeat([1.0, -1.0], [len(values) for values in points])
    fitted = fit(features(numpy.concatenate(points)), signs, numpy.hstack(limits))
    if fitted is None:
        return 0.0, 1.0
    weights, intercepts = fitted
    efficacies = (features(sides["forget"]) @ weights.T + intercepts <= 0).mean(0)
    return float(efficacies.min()), float(efficacies.max())


def _may_be_without_signal(retain: Floats, test: Floats, total: list[int]) -> bool:
    """Whether the interval of the AUC on all images may hold 0.5."""
    above, below = placements(retain, test)
    full = spread(above) / total[0] + spread(below) / total[1]
    sampling = spread(above) / len(above) + spread(below) / len(below) - full
    return abs(float(above.mean()) - 0.5) <= Z_95 * (math.sqrt(full) + math.sqrt(max(sampling, 0.0)))


def binned(values: Floats) -> tuple[Floats, Floats]:
    """The distinct values and their counts; of more than `BINS` the means of as many equal parts of the sorted ones."""
    distinct, counts = numpy.unique(values, return_counts=True)
    if len(distinct) <= BINS:
        return distinct, counts.astype(numpy.float64)
    starts = numpy.linspace(0, len(values), BINS, endpoint=False).astype(int)
    counts = numpy.diff(numpy.append(starts, len(values)))
    return numpy.add.reduceat(numpy.sort(values), starts) / counts, counts.astype(numpy.float64)
