"""Low-rank adapters through peft: inject, count, merge.

Source: Hu et al. 2021; Section "LoRA" of the paper (W' = W + BA, scaled by alpha / rank).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn


def inject(model: nn.Module, layers: Sequence[str], *, rank: int, alpha: float, dropout: float, seed: int) -> PeftModel:
    """Freeze a model and add an adapter to each of the named layers, in place.

    Args:
        model: the base model; its layers are wrapped, its weights stay the same tensors.
        layers: module names of Linear and ungrouped Conv2d layers.
        rank, alpha, dropout: of the adapters; B starts at zero, so that the model's output is unchanged.
        seed: fixes A; torch's global generator is left as it was.

    Returns:
        The peft model, whose only trainable parameters are the adapters'.
    """
    exactly = "|".join(re.escape(name) for name in layers)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=f"(?:{exactly})", bias="none")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def adapter_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The adapters' parameters, which are all that is trainable after `inject`."""
    return [parameter for name, parameter in model.named_parameters() if "lora_" in name]


def merge(model: PeftModel, masks: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Add the adapters' updates to the base weights and return the plain model.

    Args:
        model: from `inject`.
        masks: with `merge: masked`, the masks of a sparse base: weights outside stay zero.
    """
    merged = model.merge_and_unload()
    if masks:
        with torch.no_grad():
            parameters = dict(merged.named_parameters())
            for name, mask in masks.items():
                parameters[name].mul_(mask)
    for parameter in merged.parameters():
        parameter.requires_grad_(True)
    return merged
