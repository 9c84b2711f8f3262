"""NegLoRA: adapt with low-rank adapters, then ascend. Source: Section "NegLoRA" of the paper.

On a pruned and recovered base it is the paper's Sparse NegLoRA.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from neglora.ascend import Ascent, ascend, forked_rng
from neglora.data import Batches
from neglora.lora import Merged, adapter_of, adapter_parameters, inject, merge
from neglora.methods.method import Method, Passing, Unlearned
from neglora.models import match_targets
from neglora.parameters import PARAMETERS
from neglora.prune import measured_sparsity
from neglora.retract import Between, kept, retract
from neglora.seeds import derive_seed

if TYPE_CHECKING:
    from peft import PeftModel


def unlearn(
    model: nn.Module,
    *,
    params: Mapping[str, Any],
    masks: Mapping[str, Tensor],
    seed: int,
    forget: Batches,
    passing: Passing | None = None,
) -> Unlearned:
    """Add adapters to the target layers, ascend on them alone, and merge them.

    Differs: the paper does not say whether a sparse base stays sparse. `merge: dense` adds the whole update, which
    fills pruned weights; `merge: masked` keeps them zero. The record holds the sparsity before and after.
    """
    layers = match_targets(model, params["targets"])
    adapted = inject(
        model,
        layers,
        rank=params["rank"],
        alpha=params["alpha"],
        dropout=params["dropout"],
        seed=derive_seed(seed, "adapter"),
    )
    parameters = adapter_parameters(adapted)
    # What an ascent changes beside the adapters: running statistics, where they are let go.
    drifting = {name for name, _ in adapted.get_base_model().named_buffers()} if params["batchnorm"] == "update" else ()
    before = kept(adapted.get_base_model(), lambda name: name in drifting)

    def finished(adapted: PeftModel, ascent: Ascent) -> Unlearned:
        trainable = sum(parameter.numel() for parameter in adapter_parameters(adapted))
        sparsity = _base_sparsity(adapted)
        adapter = adapter_of(adapted, layers)
        held = masks if params["merge"] == "masked" else None
        if params["retract"] is None:
            return Unlearned(merge(adapted, held).eval(), trainable, ascent, sparsity, tuple(layers), adapter=adapter)
        statistics = Between(adapted.get_base_model(), before)
        merged = Merged(adapted, held)

        def set_scale(scale: float) -> None:
            merged.at(scale)
            statistics.at(scale)

        retraction = retract(merged.model.eval(), set_scale, forget, params["retract"])
        adapter = replace(adapter, scale=retraction.scale)
        return Unlearned(
            merged.model, trainable, ascent, sparsity, tuple(layers), adapter=adapter, retraction=retraction
        )

    with forked_rng(parameters[0].device):
        torch.manual_seed(derive_seed(seed, "dropout"))
        # Through the model itself, whose adapted layers are in their places: peft's wrapper passes its hooks over.
        ascent = ascend(
            adapted.get_base_model(),
            forget,
            parameters=parameters,
            lr=params["lr"],
            epochs=params["epochs"],
            batchnorm=params["batchnorm"],
            after_epoch=passing.after_epoch(adapted, finished) if passing else None,
        )
    return finished(adapted, ascent)


def _base_sparsity(adapted: nn.Module) -> float:
    """Share of zero weights of the base under the adapters, counted over the base's own layers."""
    bases = nn.ModuleList(
        module
        for name, module in adapted.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and "lora_" not in name
    )
    return measured_sparsity(bases)


def changes(model: nn.Module, params: Mapping[str, Any]) -> list[str]:
    """The adapted layers. A mask (`merge: masked`) leaves the others as they are: they are pruned already."""
    return match_targets(model, params["targets"])


METHOD = Method(
    "neglora",
    "gradient ascent on low-rank adapters, then merged",
    ("forget",),
    PARAMETERS["neglora"],
    unlearn,
    changes=changes,
)
