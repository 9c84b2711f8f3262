"""The supervised loop: base models, recovery after pruning, and retraining from scratch."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from neglora.checkpoint import Checkpoint
from neglora.data import TrainingBatches
from neglora.models import find_model
from neglora.parallel import Workers
from neglora.recipe import Recipe
from neglora.recipes import load_recipe
from neglora.seeds import derive_seed

logger = logging.getLogger(__name__)


class TrainingDiverged(RuntimeError):
    """The training loss became infinite or NaN."""


def recipe_of(model: str) -> Recipe:
    """What a model is trained with unless a study says otherwise; small models' for one that is unknown."""
    entry = find_model(model)
    return load_recipe(entry.recipe if entry else "nano").recipe


@dataclass(frozen=True)
class Epoch:
    """One epoch of a training curve: mean loss and accuracy over its batches (with augmentation), and seconds."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float


@dataclass
class _Position:
    """How far a training is.

    Attributes:
        epoch, batch: what comes next, both from 0.
        figures: of the epoch's batches so far, `[n, 3]` each: summed loss, images that are right, images.
        seconds: of the epoch so far.
        curve: the epochs before.
    """

    epoch: int = 0
    batch: int = 0
    figures: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0
    curve: list[Epoch] = field(default_factory=list)


def train(
    model: nn.Module,
    batches: TrainingBatches,
    recipe: Recipe,
    *,
    seed: int = 0,
    after_step: Callable[[], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> list[Epoch]:
    """Train a model in place with cross-entropy.

    Where torch.distributed is initialized, this is called in every process of the group and trains on that process's
    share of every batch; all end with the same weights.

    Args:
        model: on the device of the batches; left in evaluation mode.
        batches: normalized inputs `[b, c, h, w]` and labels `[b]`, every epoch by its number.
        recipe: optimizer, epochs, learning rate and the rest.
        seed: of dropout and stochastic depth; torch's global generators are left as they were.
        after_step: called after every optimizer step, such as to hold a pruning mask.
        on_epoch: told about each finished epoch, for progress.
        checkpoint: where the training is kept while it is under way, and from where it goes on: with the weights that
            an unbroken one has, exactly so on a CPU with the same number of threads.

    Returns:
        The training curve.

    Raises:
        TrainingDiverged: the loss of an epoch is not finite.
    """
    device = next(model.parameters()).device
    workers = Workers.of_this_process()
    layout = torch.channels_last if _channels_last(recipe, device) else torch.contiguous_format
    half = uses_bf16(recipe, device)
    model.to(memory_format=layout)
    optimizer = build_optimizer(model, recipe)
    at = _restored(model, optimizer, checkpoint, workers, len(batches), device)
    joined = workers.joined(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        while at.epoch < recipe.epochs:
            started = time.perf_counter() - at.seconds
            model.train()
            share = batches.epoch(at.epoch, start=at.batch, rank=workers.rank, world=workers.world)
            for inputs, labels in share:
                step = at.epoch * len(batches) + at.batch
                # By the step, so that a training that goes on draws what an unbroken one would.
                torch.manual_seed(derive_seed(seed, "step", step, workers.rank))
                for group in optimizer.param_groups:
                    group["lr"] = recipe.learning_rate(step, len(batches))
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    logits = joined(workers.filled(inputs).to(memory_format=layout))[: len(labels)].float()
                loss = functional.cross_entropy(logits, labels, reduction="sum")
                right = (logits.detach().argmax(1) == labels).sum()
                figures = torch.stack((loss.detach(), right, torch.full_like(right, len(labels))))
                workers.add_up(figures)
                optimizer.zero_grad(set_to_none=True)
                # Gradients are averaged over workers; this makes of them the mean over the images of all.
                (loss * (workers.world / figures[2])).backward()
                if recipe.clip_norm is not None:
                    nn.utils.clip_grad_norm_(trained, recipe.clip_norm)
                optimizer.step()
                if after_step:
                    after_step()
                at.figures.append(figures.unsqueeze(0))
                at.batch += 1
                if checkpoint and workers.rank == 0 and checkpoint.due:
                    at.seconds = time.perf_counter() - started
                    _keep(checkpoint, _state(model, optimizer, at))
            summed, right_ones, count = torch.cat(at.figures).double().sum(0).tolist()
            finished = Epoch(at.epoch + 1, summed / count, right_ones / count, time.perf_counter() - started)
            if not math.isfinite(finished.loss):
                if checkpoint and workers.rank == 0:
                    checkpoint.remove()
                raise TrainingDiverged(
                    f"the loss of epoch {finished.epoch} is {finished.loss}: lower the learning rate {recipe.lr:g}"
                )
            at = _Position(at.epoch + 1, curve=[*at.curve, finished])
            if on_epoch:
                on_epoch(finished)
    model.to(memory_format=torch.contiguous_format)
    model.eval()
    return at.curve


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer for all parameters that want a gradient; those of one dimension do not decay."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas)


def uses_bf16(recipe: Recipe, device: torch.device) -> bool:
    """Whether a training on this device computes in bfloat16."""
    if recipe.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return recipe.precision == "bf16"


def _channels_last(recipe: Recipe, device: torch.device) -> bool:
    return device.type == "cuda" if recipe.channels_last is None else recipe.channels_last


def _state(model: nn.Module, optimizer: torch.optim.Optimizer, at: _Position) -> dict[str, Any]:
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": at.epoch,
        "batch": at.batch,
        "figures": torch.cat(at.figures),
        "seconds": at.seconds,
        "curve": [asdict(epoch) for epoch in at.curve],
    }


def _keep(checkpoint: Checkpoint, state: dict[str, Any]) -> None:
    """Write a checkpoint. The training itself does without."""
    try:
        checkpoint.save(state)
    except OSError as error:
        logger.warning("the training goes on, but could not be kept in %s: %s", checkpoint.title, error)


def _restored(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    checkpoint: Checkpoint | None,
    workers: Workers,
    steps_per_epoch: int,
    device: torch.device,
) -> _Position:
    """Where to go on, with weights and the optimizer's moments as they were there; the beginning without a checkpoint.

    Where workers find different ones, as on a file system that lags, all begin anew.
    """
    state = checkpoint.load() if checkpoint else None
    place = -1 if state is None else state["epoch"] * steps_per_epoch + state["batch"]
    if not workers.agree(place, device) or state is None:
        return _Position()
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    curve = [Epoch(**epoch) for epoch in state["curve"]]
    return _Position(state["epoch"], state["batch"], [state["figures"].to(device)], state["seconds"], curve)
