"""Retrain: the reference. A fresh initialization trained on D_r alone with the base's recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from neglora.data import TrainingBatches
from neglora.methods.method import Method, Unlearned
from neglora.parameters import PARAMETERS
from neglora.train import train


def unlearn(
    model: nn.Module, *, params: Mapping[str, Any], masks: Mapping[str, Tensor], seed: int, retain: TrainingBatches
) -> Unlearned:
    """Train a model of fresh weights on the retained images.

    Args:
        model: drawn anew by whoever calls; nothing of a trained model may be in it.
        params: `recipe` and optionally `on_epoch` and `checkpoint`, as `neglora.train.train` takes them.
        masks: not used: the reference is dense.
        seed: of dropout and stochastic depth; the order of the data is that of `retain`.
        retain: D_r.
    """
    curve = train(
        model,
        retain,
        params["recipe"],
        seed=seed,
        on_epoch=params.get("on_epoch"),
        checkpoint=params.get("checkpoint"),
    )
    return Unlearned(model, sum(parameter.numel() for parameter in model.parameters()), curve=tuple(curve))


METHOD = Method(
    "retrain", "fresh weights trained on the retained images", ("retain",), PARAMETERS["retrain"], unlearn, "fresh"
)
