"""MIA-Efficacy: what share of the forget set a membership attack takes for images that were never trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.svm import SVC

from neglora.metrics.gaussian_svm import expansion, fit
from neglora.metrics.mann_whitney import mann_whitney_auc
from neglora.metrics.stretches import stretches
from neglora.seeds import derive_seed

#: The attack's C; its gamma is 1 on one feature.
PENALTY = 3.0
#: Decisions nearer to 0 than this are too small for their sign to be sure after rounding. On its border LIBSVM says
#: 'member'.
UNSURE = 1e-6

Values = NDArray[numpy.float64]


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
        non_member: the stretches of the feature, ascending, on which an image is called 'not in the training set' by
            more than rounding; None unless asked for, and of an attack that is not exact or has several features.
    """

    efficacy: float
    attack_accuracy: float
    attack_auc: float | None
    auc_interval: tuple[float, float] | None
    has_signal: bool | None
    n_per_side: int
    non_member: tuple[tuple[float, float], ...] | None = None


def mia_efficacy(
    *,
    retain: ArrayLike | torch.Tensor | Sequence[float],
    test: ArrayLike | torch.Tensor | Sequence[float],
    forget: ArrayLike | torch.Tensor | Sequence[float],
    seed: int = 0,
    exact: bool = True,
    between: tuple[float, float] | None = None,
) -> MembershipAttack:
    """Train the attack on features of retained and test images and apply it to the forget set's.

    Args:
        retain: members, `[n]` true-label confidences (or `[n, features]`).
        test: non-members: test images without the forget class, same width.
        forget: the forget set, same width.
        seed: draws the larger side's sample, so that both sides have as many.
        exact: fit with LIBSVM, as a report wants it. Otherwise the same attack on one feature is fitted through
            `gaussian_svm`, some hundred times faster at 9,000 images a side; on several features it is always exact.
        between: within which values of the feature it is to be told what the attack calls non-members.

    Returns:
        The efficacy with what is needed to judge it.

    Raises:
        ValueError: a side is empty, the widths differ or a value is not finite.

    Source: paper, Section "Detailed Evaluation Metrics", after Jia et al. 2024: `SVC(C=3, gamma="auto", kernel="rbf")`
    on the true-label softmax confidence, without scaling.
    Differs: members are a seeded sample instead of the first ones in the dataset's order.
    """
    sides = checked_sides(retain=retain, test=test, forget=forget)
    members, others = sides["retain"], sides["test"]
    count = min(len(members), len(others))
    sample = numpy.concatenate([_sample(members, count, seed, "retain"), _sample(others, count, seed, "test")])
    is_member = numpy.repeat([1, 0], count)
    auc, interval, has_signal, non_member = None, None, None, None
    if members.shape[1] > 1:
        called_member = _machine(sample, is_member).predict
    else:
        auc, interval = mann_whitney_auc(members[:, 0], others[:, 0])
        has_signal = not interval[0] <= 0.5 <= interval[1]
        if exact:
            attack = _machine(sample, is_member)
            called_member = _answers(attack, sample, sides["forget"])
            non_member = _called_non_member(attack, sample, between) if between else None
        else:
            called_member = _fast(sample, is_member, sides["forget"])
    return MembershipAttack(
        efficacy=float((called_member(sides["forget"]) == 0).mean()),
        attack_accuracy=float((called_member(sample) == is_member).mean()),
        attack_auc=auc,
        auc_interval=interval,
        has_signal=has_signal,
        n_per_side=count,
        non_member=non_member,
    )


def checked_sides(**sides: ArrayLike | torch.Tensor | Sequence[float]) -> dict[str, Values]:
    """The sides as `[n, features]`, in their order.

    Raises:
        ValueError: see `mia_efficacy`.
    """
    checked = {name: _features(values) for name, values in sides.items()}
    width = next(iter(checked.values())).shape[1]
    for name, values in checked.items():
        if not len(values):
            raise ValueError(f"the attack needs images on every side; {name} has none")
        if not numpy.isfinite(values).all():
            raise ValueError(f"{name} holds values that are not finite")
        if values.shape[1] != width:
            raise ValueError(f"{name} has {values.shape[1]} features an image, {next(iter(checked))} {width}")
    return checked


def _machine(sample: Values, is_member: NDArray[numpy.int64]) -> SVC:
    return SVC(C=PENALTY, gamma="auto", kernel="rbf").fit(sample, is_member)


def _answers(attack: SVC, *domain: Values) -> Callable[[Values], Values]:
    """What LIBSVM's attack on one feature calls values between the least and the greatest of some.

    Its answers are LIBSVM's to the last one. But LIBSVM sums a kernel value for every support vector and image, which
    takes longer than the fit; the expansion gives the same decisions up to rounding, and only those too close to 0
    for that are left to it.
    """
    features = expansion(*domain)
    if features is None:
        return attack.predict
    weights = attack.dual_coef_[0] @ features(attack.support_vectors_[:, 0])

    def called_member(values: Values) -> Values:
        distinct, where = numpy.unique(values[:, 0], return_inverse=True)
        decisions = features(distinct) @ weights + attack.intercept_[0]
        called = (decisions > 0).astype(numpy.int64)
        unsure = abs(decisions) < UNSURE
        if unsure.any():
            called[unsure] = attack.predict(distinct[unsure, None])
        return called[where]

    return called_member


def _called_non_member(attack: SVC, sample: Values, between: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    """The stretches of values on which the attack says 'non-member', and not by rounding."""
    features = expansion(sample, numpy.array(between))
    if features is None:
        return tuple(stretches(lambda values: attack.decision_function(values[:, None]) < -UNSURE, *between))
    weights, intercept = attack.dual_coef_[0] @ features(attack.support_vectors_[:, 0]), attack.intercept_[0]
    return tuple(stretches(lambda values: features(values) @ weights + intercept < -UNSURE, *between))


def _fast(sample: Values, is_member: NDArray[numpy.int64], forget: Values) -> Callable[[Values], Values]:
    """The same attack, fitted to its optimum through the expansion; the exact one where values lie too far apart."""
    features = expansion(sample, forget)
    if features is None:
        return _answers(_machine(sample, is_member), sample, forget)
    members, others = (numpy.unique(sample[is_member == side, 0], return_counts=True) for side in (1, 0))
    points, counts = (numpy.concatenate(parts) for parts in zip(members, others, strict=True))
    signs = numpy.repeat([1.0, -1.0], [len(members[0]), len(others[0])])
    fitted = fit(features(points), signs, PENALTY * counts[None])
    if fitted is None:
        return _answers(_machine(sample, is_member), sample, forget)
    weights, intercepts = fitted

    def called_member(values: Values) -> Values:
        return features(values[:, 0]) @ weights[0] + intercepts[0] > -UNSURE

    return called_member


def _features(values: ArrayLike | torch.Tensor | Sequence[float]) -> Values:
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else numpy.asarray(values)
    array = array.astype(numpy.float64)
    return array.reshape(-1, 1) if array.ndim == 1 else array


def _sample(values: Values, count: int, seed: int, side: str) -> Values:
    if len(values) == count:
        return values
    generator = numpy.random.default_rng(derive_seed(seed, "mia", side))
    return values[generator.choice(len(values), size=count, replace=False)]
