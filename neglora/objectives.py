"""What each metric is called, which way is better, and what it is measured in.

This is the one place that knows directions. Values are fractions in [0, 1] in code and in files; percent only where
people read them. No torch here: a report can be made on a machine that has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Metric:
    """A named measurement of one unlearned model.

    Attributes:
        name: the key in records, tables and search spaces.
        label: what a figure's axis says.
        direction: which way is better when the metric is searched on.
        unit: "fraction" (shown as percent) or "ratio" (shown as it is).
        about: one sentence for `neglora list` and for reports.
        timed: the value comes from a clock, so that it differs from run to run.
    """

    name: str
    label: str
    direction: Direction
    unit: Literal["fraction", "ratio"]
    about: str
    timed: bool = False


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("ua", "Unlearning accuracy", "maximize", "fraction", "1 - accuracy on the forget set D_f"),
        Metric("ra", "Retain accuracy", "maximize", "fraction", "accuracy on the retained training images D_r"),
        Metric("ta", "Test accuracy", "maximize", "fraction", "accuracy on test images of the remaining classes"),
        Metric(
            "mia",
            "MIA-Efficacy",
            "maximize",
            "fraction",
            "share of D_f that a membership attack on confidences calls 'not in the training set'",
        ),
        Metric(
            "ua_test",
            "Unlearning accuracy on test images",
            "maximize",
            "fraction",
            "1 - accuracy on test images of the forget class",
        ),
        Metric(
            "runner_up",
            "Runner-up share",
            "minimize",
            "fraction",
            "share of D_f whose own label comes second: forgetting that is only at the surface",
        ),
        Metric(
            "gap",
            "Gap to Retrain",
            "minimize",
            "fraction",
            "mean absolute distance to Retrain over UA, RA, TA and MIA",
        ),
        Metric(
            "tow",
            "Tug-of-war",
            "maximize",
            "fraction",
            "product of 1 - |distance to Retrain| over UA, RA and TA (Zhao et al. 2024, RUM)",
        ),
        Metric(
            "relearn",
            "Relearned accuracy",
            "minimize",
            "fraction",
            "accuracy on unseen images of the forget class after fine-tuning on 10 images of D_f for a few steps; "
            "Retrain's value is the mark (measured where a space asks for `audits`)",
        ),
        Metric(
            "probe",
            "Linear probe",
            "minimize",
            "fraction",
            "accuracy on unseen images of the forget class of a linear probe on penultimate features; Retrain's value "
            "is the mark (measured where a space asks for `audits`)",
        ),
        Metric("rte", "Run-time ratio", "minimize", "ratio", "unlearning seconds / retraining seconds", True),
        Metric(
            "rte_epoch",
            "Run-time ratio per epoch",
            "minimize",
            "ratio",
            "seconds of one unlearning epoch / seconds of one retraining epoch (as the paper's tables print it)",
            True,
        ),
        Metric("speedup", "Speed-up", "maximize", "ratio", "1 / rte (the paper's formula)", True),
    )
}

#: Measured only where they are asked for: the names of `neglora.audits.AUDITS`, which a test compares.
AUDIT_METRICS = ("relearn", "probe")
#: The four values over which the distance to Retrain is taken.
GAP_METRICS = ("ua", "ra", "ta", "mia")
#: The three accuracies of the tug-of-war score.
TOW_METRICS = ("ua", "ra", "ta")

Values = Mapping[str, float | None]


def oriented(name: str, value: float) -> float:
    """Return `value` so that smaller is better, whatever the metric's own direction is."""
    return value if METRICS[name].direction == "minimize" else -value


def gap_to_reference(values: Values, reference: Values) -> float | None:
    """Mean absolute distance to the reference over UA, RA, TA and MIA.

    Args:
        values: metrics of the unlearned model, fractions.
        reference: metrics of Retrain on the same splits.

    Returns:
        A fraction, 0 at Retrain; None where one of the eight values was not measured.
    """
    distances = _distances(values, reference, GAP_METRICS)
    return None if distances is None else sum(distances) / len(distances)


def tug_of_war(values: Values, reference: Values) -> float | None:
    """Tug-of-war score: the product of 1 - |distance to Retrain| over UA, RA and TA.

    Source: Zhao et al. 2024, "What makes unlearning hard and what to do about it" (RUM), equation for ToW, where the
    distances are those of the accuracies on forget, retain and test sets. UA = 1 - accuracy has the same distance.

    Returns:
        A fraction, 1 at Retrain; None where one of the six values was not measured.
    """
    distances = _distances(values, reference, TOW_METRICS)
    if distances is None:
        return None
    score = 1.0
    for distance in distances:
        score *= 1.0 - distance
    return score


def _distances(values: Values, reference: Values, names: tuple[str, ...]) -> list[float] | None:
    distances = []
    for name in names:
        value, target = values.get(name), reference.get(name)
        if value is None or target is None:
            return None
        distances.append(abs(value - target))
    return distances
