"""What becomes of single images, in counts: right answers by class, what images are called, how sure the model is."""

from __future__ import annotations

import torch
from torch import Tensor

#: Bins of a histogram of confidences, all as wide.
BINS = 20


def by_class(answers: Tensor, labels: Tensor, classes: int) -> dict[str, list[int]]:
    """How many images of each class there are, and how many are called what they are.

    Args:
        answers: the class that each image is called, `[n]`.
        labels: what it is, `[n]`.
        classes: how many there are.

    Returns:
        `right` and `total`, each `[classes]`.
    """
    return {"right": tally(labels[answers == labels], classes), "total": tally(labels, classes)}


def tally(labels: Tensor, classes: int) -> list[int]:
    """How often each class occurs among labels `[n]`, as `[classes]`."""
    counts: list[int] = torch.bincount(labels, minlength=classes).tolist()
    return counts


def histogram(confidences: Tensor, bins: int = BINS) -> list[int]:
    """How many of some confidences `[n]` in [0, 1] lie in each of equal bins; a bin holds its lower end, the last both.

    Rounding may put a softmax a hair above 1: it counts as 1.
    """
    return tally((confidences * bins).long().clamp(0, bins - 1), bins)
