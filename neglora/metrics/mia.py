"""MIA-Efficacy: what share of the forget set a membership attack takes for images that were never trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.svm import SVC

from neglora.seeds import derive_seed

#: Two-sided 95 percent point of the normal distribution.
Z95 = 1.959963984540054


@dataclass(frozen=True)
class MembershipAttack:
    """An attack trained to tell retained training images from test images, applied to the forget set.

    Attributes:
        efficacy: share of D_f called 'not in the training set', TN / |D_f|, in [0, 1].
        attack_accuracy: the attack's accuracy on the balanced sample that it was trained on; 0.5 is guessing.
        attack_auc: the probability that a retained image scores above a test image (Mann-Whitney, ties count half);
            None for features of more than one dimension.
        auc_interval: its 95 percent interval (DeLong).
        has_signal: the interval excludes 0.5. Without signal the efficacy is noise; None where there is no AUC.
        n_per_side: members and non-members in the balanced sample.
    """

    efficacy: float
    attack_accuracy: float
    attack_auc: float | None
    auc_interval: tuple[float, float] | None
    has_signal: bool | None
    n_per_side: int


def mia_efficacy(
    *,
    retain: ArrayLike | torch.Tensor | Sequence[float],
    test: ArrayLike | torch.Tensor | Sequence[float],
    forget: ArrayLike | torch.Tensor | Sequence[float],
    seed: int = 0,
) -> MembershipAttack:
    """Train the attack on features of retained and test images and apply it to the forget set's.

    Args:
        retain: members, `[n]` true-label confidences (or `[n, features]`).
        test: non-members: test images without the forget class, same width.
        forget: the forget set, same width.
        seed: draws the larger side's sample, so that both sides have as many.

    Returns:
        The efficacy with what is needed to judge it.

    Raises:
        ValueError: a side is empty, the widths differ or a value is not finite.

    Source: paper, Section "Detailed Evaluation Metrics", after Jia et al. 2024: `SVC(C=3, gamma="auto", kernel="rbf")`
    on the true-label softmax confidence, without scaling.
    Differs: members are a seeded sample instead of the first ones in the dataset's order.
    """
    sides = {"retain": _features(retain), "test": _features(test), "forget": _features(forget)}
    for name, values in sides.items():
        if not len(values):
            raise ValueError(f"the attack needs images on every side; {name} has none")
        if not numpy.isfinite(values).all():
            raise ValueError(f"{name} holds values that are not finite")
        if values.shape[1] != sides["retain"].shape[1]:
            raise ValueError(f"{name} has {values.shape[1]} features an image, retain {sides['retain'].shape[1]}")
    members, others = sides["retain"], sides["test"]
    count = min(len(members), len(others))
    sample = numpy.concatenate([_sample(members, count, seed, "retain"), _sample(others, count, seed, "test")])
    is_member = numpy.repeat([1, 0], count)
    attack = SVC(C=3, gamma="auto", kernel="rbf").fit(sample, is_member)
    auc = interval = has_signal = None
    if members.shape[1] == 1:
        auc, interval = mann_whitney_auc(members[:, 0], others[:, 0])
        has_signal = not interval[0] <= 0.5 <= interval[1]
    return MembershipAttack(
        efficacy=float((attack.predict(sides["forget"]) == 0).mean()),
        attack_accuracy=float(attack.score(sample, is_member)),
        attack_auc=auc,
        auc_interval=interval,
        has_signal=has_signal,
        n_per_side=count,
    )


def mann_whitney_auc(
    higher: NDArray[numpy.float64], lower: NDArray[numpy.float64]
) -> tuple[float, tuple[float, float]]:
    """The probability that a value of `higher` exceeds one of `lower`, with DeLong's 95 percent interval.

    Args:
        higher, lower: `[m]` and `[n]`; ties count half.

    Source: DeLong et al. 1988, with the placement values computed from midranks (Sun and Xu 2014).
    """
    m, n = len(higher), len(lower)
    together = rankdata(numpy.concatenate([higher, lower]))
    above = (together[:m] - rankdata(higher)) / n
    below = 1.0 - (together[m:] - rankdata(lower)) / m
    auc = float(above.mean())
    variance = (above.var(ddof=1) / m if m > 1 else 0.0) + (below.var(ddof=1) / n if n > 1 else 0.0)
    half = Z95 * math.sqrt(variance)
    return auc, (max(0.0, auc - half), min(1.0, auc + half))


def _features(values: ArrayLike | torch.Tensor | Sequence[float]) -> NDArray[numpy.float64]:
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else numpy.asarray(values)
    array = array.astype(numpy.float64)
    return array.reshape(-1, 1) if array.ndim == 1 else array


def _sample(values: NDArray[numpy.float64], count: int, seed: int, side: str) -> NDArray[numpy.float64]:
    if len(values) == count:
        return values
    generator = numpy.random.default_rng(derive_seed(seed, "mia", side))
    return values[generator.choice(len(values), size=count, replace=False)]
