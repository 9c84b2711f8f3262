"""Accuracy of logits, and where the true label ranks."""

from __future__ import annotations

import torch
from torch import Tensor


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of rows whose largest logit is the label's.

    Args:
        logits: `[n, classes]`, n > 0. A row that holds NaN counts as wrong.
        labels: `[n]`.
    """
    _check(logits, labels)
    correct = (logits.argmax(1) == labels) & ~logits.isnan().any(1)
    return correct.double().mean().item()


def runner_up_share(logits: Tensor, labels: Tensor) -> float:
    """Share of rows whose label has exactly one logit above it: forgotten by a hair.

    Args:
        logits: `[n, classes]`, n > 0.
        labels: `[n]`.
    """
    _check(logits, labels)
    own = logits.gather(1, labels.unsqueeze(1))
    return ((logits > own).sum(1) == 1).double().mean().item()


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or len(logits) != len(labels) or not len(labels):
        raise ValueError(f"expected logits [n, classes] and labels [n], n > 0; got {logits.shape}, {labels.shape}")


def mean_loss(logits: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy in nats."""
    _check(logits, labels)
    return torch.nn.functional.cross_entropy(logits.double(), labels).item()
