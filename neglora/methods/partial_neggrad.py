"""Partial NegGrad: gradient ascent on the last layers. Source: Section "Models" of the paper.

By default (`targets: partial`) for the ViTs the classifier, and feed-forward network and attention output of the last
block; for ResNets all convolutions and linear layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from neglora.data import Batches
from neglora.methods.method import Method, Passing, Unlearned
from neglora.methods.neggrad import ascend_weights
from neglora.models import match_targets
from neglora.parameters import PARAMETERS


def unlearn(
    model: nn.Module,
    *,
    params: Mapping[str, Any],
    masks: Mapping[str, Tensor],
    seed: int,
    forget: Batches,
    passing: Passing | None = None,
) -> Unlearned:
    """Ascend on weights and biases of the target layers; everything else is frozen."""
    layers = match_targets(model, params["targets"])
    chosen = [parameter for layer in layers for parameter in model.get_submodule(layer).parameters()]
    model.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad_(True)
    return ascend_weights(model, chosen, forget, params, masks, layers, seed, passing)


def changes(model: nn.Module, params: Mapping[str, Any]) -> list[str]:
    """The trained layers."""
    return match_targets(model, params["targets"])


METHOD = Method(
    "partial_neggrad",
    "gradient ascent on the last layers' weights",
    ("forget",),
    PARAMETERS["partial_neggrad"],
    unlearn,
    changes=changes,
)
