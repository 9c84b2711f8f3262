"""Metrics: functions of logits, one idea per file."""

from neglora.metrics.accuracy import accuracy, mean_loss, runner_up_share
from neglora.metrics.confidence import FEATURES, modified_entropy, true_label_confidence
from neglora.metrics.counted import by_class, histogram, tally
from neglora.metrics.efficacy_interval import efficacy_interval
from neglora.metrics.mann_whitney import mann_whitney_auc
from neglora.metrics.mia import MembershipAttack, mia_efficacy

__all__ = [
    "FEATURES",
    "MembershipAttack",
    "accuracy",
    "by_class",
    "efficacy_interval",
    "histogram",
    "mann_whitney_auc",
    "mean_loss",
    "mia_efficacy",
    "modified_entropy",
    "runner_up_share",
    "tally",
    "true_label_confidence",
]
