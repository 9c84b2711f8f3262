"""NegGrad: gradient ascent on all weights. Source: Section "NegGrad" of the paper; Golatkar et al. 2020."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neglora.ascend import Ascent, ascend, forked_rng
from neglora.data import Batches
from neglora.methods.method import Method, Passing, Unlearned
from neglora.parameters import PARAMETERS
from neglora.prune import apply_masks, measured_sparsity
from neglora.retract import Between, kept, retract
from neglora.seeds import derive_seed


def ascend_weights(
    model: nn.Module,
    parameters: Sequence[nn.Parameter],
    forget: Batches,
    params: Mapping[str, Any],
    masks: Mapping[str, Tensor],
    layers: Sequence[str],
    seed: int,
    passing: Passing | None,
) -> Unlearned:
    """Ascend on some of a model's own weights, holding the mask of a pruned base; `seed` fixes the model's dropout."""
    masked = {id(parameter): masks[name] for name, parameter in model.named_parameters() if name in masks}
    free = sum(int(masked[id(p)].sum()) if id(p) in masked else p.numel() for p in parameters)

    own = {id(parameter) for parameter in parameters}
    changing = {name for name, parameter in model.named_parameters() if id(parameter) in own}
    if params["batchnorm"] == "update":
        changing |= {name for name, _ in model.named_buffers()}
    before = {} if params["retract"] is None else kept(model, lambda name: name in changing)

    def finished(model: nn.Module, ascent: Ascent) -> Unlearned:
        model.eval().requires_grad_(True)
        sparsity = measured_sparsity(model)
        retraction = None
        if params["retract"] is not None:
            retraction = retract(model, Between(model, before).at, forget, params["retract"])
        return Unlearned(model, free, ascent, sparsity, tuple(layers), retraction=retraction)

    with forked_rng(parameters[0].device):
        torch.manual_seed(derive_seed(seed, "dropout"))
        ascent = ascend(
            model,
            forget,
            parameters=parameters,
            lr=params["lr"],
            epochs=params["epochs"],
            batchnorm=params["batchnorm"],
            after_step=(lambda: apply_masks(model, masks)) if masks else None,
            after_epoch=passing.after_epoch(model, finished) if passing else None,
        )
    return finished(model, ascent)


def unlearn(
    model: nn.Module,
    *,
    params: Mapping[str, Any],
    masks: Mapping[str, Tensor],
    seed: int,
    forget: Batches,
    passing: Passing | None = None,
) -> Unlearned:
    """Ascend on every parameter. On a pruned base the pruned weights stay zero and are not counted as trainable."""
    return ascend_weights(model, list(model.parameters()), forget, params, masks, (), seed, passing)


METHOD = Method("neggrad", "gradient ascent on all weights", ("forget",), PARAMETERS["neggrad"], unlearn)
