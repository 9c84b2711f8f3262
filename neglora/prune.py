"""L2 pruning of Conv2d and Linear weights, and keeping the mask while the rest is trained.

Source: Section "Sparse NegLoRA" of the paper; `torch.nn.utils.prune` does the pruning.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

MODES: dict[str, str] = {
    "magnitude": "the smallest weights of the whole network (a single weight's L2 norm is its magnitude)",
    "structured": "in every layer but the classifier the rows (output channels) of smallest L2 norm",
}

Masks = dict[str, Tensor]


def prunable_layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Every Conv2d and Linear by module name, grouped convolutions included."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


def prune(model: nn.Module, sparsity: float, mode: str = "magnitude") -> Masks:
    """Set the smallest weights of a model to zero, in place.

    Args:
        model: any network with Conv2d or Linear layers.
        sparsity: share of weights to remove, in [0, 1).
        mode: `magnitude`: over all layers together, exact to one weight. `structured`: rows of every layer, to the
            nearest whole row and keeping at least one; the last Linear is left whole, since its rows are the classes.

    Returns:
        For each pruned parameter's name a boolean mask of its shape, true where the weight stays.

    Raises:
        ValueError: sparsity is outside [0, 1) or the mode is unknown.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity should be in [0, 1), got {sparsity}")
    if mode not in MODES:
        raise ValueError(f"pruning mode should be one of {', '.join(MODES)}, got {mode!r}")
    if sparsity == 0:
        return {}
    layers = prunable_layers(model)
    if mode == "magnitude":
        weights = [(module, "weight") for module in layers.values()]
        torch_prune.global_unstructured(weights, pruning_method=torch_prune.L1Unstructured, amount=sparsity)
    else:
        linear = [name for name, module in layers.items() if isinstance(module, nn.Linear)]
        layers = {name: module for name, module in layers.items() if name not in linear[-1:]}
        for module in layers.values():
            rows = len(module.weight)
            torch_prune.ln_structured(module, "weight", amount=min(round(sparsity * rows), rows - 1), n=2, dim=0)
    masks = {}
    for name, module in layers.items():
        masks[f"{name}.weight"] = module.get_buffer("weight_mask").bool()
        torch_prune.remove(module, "weight")
    return masks


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Zero the pruned weights again, in place. Called after every optimizer step, it holds the mask against anything
    that an optimizer keeps (momentum, weight decay).

    Raises:
        KeyError: a mask names a parameter that the model does not have.
    """
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameters[name].mul_(mask)


@torch.no_grad()
def measured_sparsity(model: nn.Module) -> float:
    """Share of exact zeros among the weights of Conv2d and Linear layers, counted."""
    zeros = total = 0
    for module in prunable_layers(model).values():
        zeros += int((module.weight == 0).sum())
        total += module.weight.numel()
    return zeros / total if total else 0.0
