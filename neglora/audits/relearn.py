"""Relearning: how fast a class comes back when a few of its images are shown again.

A model that never saw the class has to learn it, which takes many steps; one that only keeps it from its output finds
it again at once. Source of the idea: relearn time (Tarun et al. 2023, "Fast yet effective machine unlearning"; Golatkar
et al. 2020, "Eternal sunshine of the spotless net").
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from neglora.ascend import forked_rng, freeze_batchnorm
from neglora.audits.material import Material
from neglora.data import Batches
from neglora.evaluation import infer
from neglora.logits import as_logits
from neglora.metrics import accuracy
from neglora.modes import in_mode
from neglora.prune import apply_masks
from neglora.seeds import derive_seed

#: How many images of D_f are shown.
SHOTS = (1, 10, 100)
#: The shots whose accuracy is the metric `relearn`.
METRIC_SHOTS = 10
#: Steps of Adam on all shots together, and their rate. Chosen with Retrain on the digits, which names no image of the
#: class after these and begins to after about four times as many.
STEPS = 3
LEARNING_RATE = 5e-4
#: Retained images on which RA is measured afterwards.
RETAINED = 250


def relearn(
    model: nn.Module,
    material: Material,
    *,
    seed: int,
    masks: Mapping[str, Tensor] | None = None,
    head: str | None = None,
) -> dict[str, Any]:
    """Fine-tune copies of a model on 1, 10 and 100 images of D_f, and look at images of the class that none has seen.

    For each number of shots a fresh copy takes `STEPS` steps of Adam (rate `LEARNING_RATE`, no weight decay) on all
    weights, each on the mean cross-entropy of all shots. BatchNorm keeps its running statistics; dropout, where the
    model has any, is seeded. Weights that are pruned stay zero. The draw depends on the seed alone, so that all models
    see the same images, and a larger draw holds the smaller ones.

    Args:
        model: a classifier; not modified.
        material: uses `forget`, `retain` and `test_forget`.
        seed: of the draws.
        masks: of a sparse base, by parameter name: what they prune and is zero stays zero.
        head: not used.

    Returns:
        `shots`, a list with `asked` and `images` (fewer where D_f has fewer), `accuracy` on `test_forget` and `ra`, on
        at most `RETAINED` retained images; `test_images`, `retained_images`, `steps` and `lr`. What could not be
        measured is None: there are no test images of the class, or logits were no longer finite.
    """
    retained = material.retain.sample(RETAINED, derive_seed(seed, "audit", "relearn", "retain"))
    shots = []
    for asked in SHOTS:
        shown = material.forget.drawn(asked, derive_seed(seed, "audit", "relearn", "draw"))
        count = min(asked, len(material.forget))
        tuned = fine_tuned(model, shown, count, masks=masks, seed=derive_seed(seed, "audit", "relearn", "dropout"))
        shots.append(
            {
                "asked": asked,
                "images": count,
                "accuracy": _accuracy(tuned, material.test_forget.all) if len(material.test_forget) else None,
                "ra": _accuracy(tuned, retained.all),
            }
        )
    return {
        "shots": shots,
        "test_images": len(material.test_forget),
        "retained_images": len(retained),
        "steps": STEPS,
        "lr": LEARNING_RATE,
    }


def value(found: Mapping[str, Any]) -> float | None:
    """The metric `relearn` of what `relearn` returns."""
    return next((shot["accuracy"] for shot in found["shots"] if shot["asked"] == METRIC_SHOTS), None)


def fine_tuned(
    model: nn.Module,
    images: Batches,
    count: int,
    *,
    masks: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    steps: int = STEPS,
    lr: float = LEARNING_RATE,
) -> nn.Module:
    """A copy of a model, trained for a few steps, each on all of the images; in evaluation mode.

    Args:
        model: not modified. A copy of one of half precision is trained in float32.
        images: batches that can be iterated once a step; gradients of all of them add up to a step.
        count: how many images they hold.
        masks: see `relearn`.
        seed: of dropout.
        steps, lr: of Adam.
    """
    with torch.inference_mode(False), torch.enable_grad():
        # Setting the mode makes timm's attention forget the biases that it cached: with a graph they cannot be copied.
        with in_mode(model, training=True):
            tuned = copy.deepcopy(model).requires_grad_(True)
        if any(parameter.dtype in (torch.float16, torch.bfloat16) for parameter in tuned.parameters()):
            tuned.float()
        first = next(tuned.parameters())
        held = _still_pruned(tuned, masks or {})
        optimizer = torch.optim.Adam(tuned.parameters(), lr=lr)
        tuned.train()
        freeze_batchnorm(tuned)
        with forked_rng(first.device):
            torch.manual_seed(seed)
            for _ in range(steps):
                optimizer.zero_grad(set_to_none=True)
                for inputs, labels in images:
                    logits = as_logits(tuned(_typed(inputs, first.dtype)), labels)
                    (functional.cross_entropy(logits, labels, reduction="sum") / count).backward()
                optimizer.step()
                apply_masks(tuned, held)
        optimizer.zero_grad(set_to_none=True)
    return tuned.eval()


def _still_pruned(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Masks of the weights that are pruned in the model itself: a dense update may have filled some."""
    parameters = dict(model.named_parameters())
    return {name: mask | (parameters[name].detach() != 0) for name, mask in masks.items()}


def _typed(inputs: Tensor, dtype: torch.dtype) -> Tensor:
    return inputs.to(dtype) if inputs.is_floating_point() else inputs


def _accuracy(model: nn.Module, images: Batches) -> float | None:
    first = next(model.parameters())
    outputs = infer(model, ((_typed(inputs, first.dtype), labels) for inputs, labels in images))
    return accuracy(outputs.logits, outputs.labels) if bool(outputs.logits.isfinite().all()) else None
