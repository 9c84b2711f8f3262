"""The features of a prediction that a membership attack looks at.

Source: Song and Mittal 2021, "Systematic evaluation of privacy risks of machine learning models" (modified entropy,
equation 8); Jia et al. 2024 use the same five.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def true_label_confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax probability of the true label, float64 `[n]`."""
    return functional.softmax(logits.double(), 1).gather(1, labels.unsqueeze(1)).squeeze(1)


def correctness(logits: Tensor, labels: Tensor) -> Tensor:
    """1 where the largest logit is the label's, else 0, float64 `[n]`."""
    return (logits.argmax(1) == labels).double()


def entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Entropy of the softmax in nats, float64 `[n]`; the labels are not used."""
    log_p = functional.log_softmax(logits.double(), 1)
    return -(log_p.exp() * log_p).sum(1)


def modified_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-(1 - p_y) log p_y - sum over the other classes of p_i log(1 - p_i), in nats, float64 `[n]`.

    Zero for a confident right answer, large for a confident wrong one.

    Differs: Unlearn-Sparse's code takes all rows against all label columns, which gives another number.
    """
    log_p = functional.log_softmax(logits.double(), 1)
    p = log_p.exp()
    rows = torch.arange(len(labels), device=labels.device)
    # log(1 - p) of the likeliest class comes from the others' log-probabilities: computed as 1 - p, a p close to 1
    # would leave 0.
    top = log_p.argmax(1)
    log_rest = torch.log1p(-p)
    log_rest[rows, top] = log_p.index_put((rows, top), log_p.new_tensor(-torch.inf)).logsumexp(1)
    terms = -p * log_rest
    terms[rows, labels] = -log_rest[rows, labels].exp() * log_p[rows, labels]
    return terms.sum(1)


def full_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """The whole softmax, float64 `[n, classes]`; the labels are not used."""
    return functional.softmax(logits.double(), 1)


#: Features of the report's attacks, by the name of their metric. `mia` is the paper's number.
FEATURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mia": true_label_confidence,
    "mia_correctness": correctness,
    "mia_entropy": entropy,
    "mia_modified_entropy": modified_entropy,
    "mia_full": full_softmax,
}
