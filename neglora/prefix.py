"""A model cut below the first layer that a configuration changes: what lies before is the same for all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType

import torch
from timm.layers import DropBlock2d, DropPath, PatchDropout
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils import parametrize

from neglora.models import family_of
from neglora.models.model import Step
from neglora.modes import in_mode


@dataclass(frozen=True)
class Cut:
    """Where a model is cut in two: the prefix is its first steps, the rest those that follow.

    It belongs to no model in particular: it is good for the base that it was found on, for copies of it, and for what
    became of them with adapters in and merged.

    Attributes:
        steps: of the model's family (`Family.steps`).
        depth: how many steps the prefix has.
    """

    steps: Callable[[nn.Module], Sequence[Step]]
    depth: int


def find_cut(model: nn.Module, layers: Sequence[str] | None, *, batchnorm: str = "frozen") -> Cut | None:
    """The deepest cut with nothing in the prefix that changes, or that an ascent would compute differently each time.

    Args:
        model: the base.
        layers: names of the modules that change, with all below them; None for all there are.
        batchnorm: with `update` the statistics of every BatchNorm layer change too.

    Returns:
        None where the prefix would be empty, the model's steps are not known or do not hold all of its weights, dropout
        or stochastic depth is active in the prefix, or a hook, a parametrization or a replaced `forward` is anywhere:
        it may belong to a module that the steps pass over.
    """
    if layers is None or any(_is_altered(module) for module in model.modules()):
        return None
    find_steps = family_of(model).steps
    steps = find_steps(model)
    owners = {name: place for place, step in enumerate(steps) for name in step.modules}
    if not _are_all(model, owners):
        return None
    changing = list(layers)
    for name, module in model.named_modules():
        if _is_random(module) or (batchnorm == "update" and isinstance(module, _BatchNorm)):
            changing.append(name)
    found = [_places(name, owners) for name in changing]
    # What belongs to no step may be anywhere between them.
    if not all(found):
        return None
    depth = min((place for places in found for place in places), default=len(steps))
    return Cut(find_steps, depth) if depth else None


def _are_all(model: nn.Module, owners: Mapping[str, int]) -> bool:
    """Whether every parameter and buffer belongs to exactly one step; one that several modules share, to theirs."""
    homes: defaultdict[int, set[int]] = defaultdict(set)
    for states in (model.named_parameters, model.named_buffers):
        for name, state in states(remove_duplicate=False):
            places = _places(name, owners)
            if not places:
                return False
            homes[id(state)].update(places)
    return all(len(places) == 1 for places in homes.values())


def _places(name: str, owners: Mapping[str, int]) -> list[int]:
    """The steps that have a module or a parameter, by its own name or that of one around it."""
    parts = name.split(".")
    around = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
    return [owners[part] for part in around if part in owners]


def _is_altered(module: nn.Module) -> bool:
    """Whether calling the module does something else than its class says."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(hooks) or "forward" in vars(module) or parametrize.is_parametrized(module)


def _is_random(module: nn.Module) -> bool:
    """Whether a module of a model in training gives something else each time."""
    if isinstance(module, _DropoutNd):
        return module.p > 0
    if isinstance(module, DropPath | DropBlock2d):
        return bool(module.drop_prob > 0)
    return isinstance(module, PatchDropout) and bool(module.prob > 0)


@torch.no_grad()
def run_prefix(model: nn.Module, cut: Cut, inputs: Tensor) -> Tensor:
    """What a model makes of a batch up to the cut, in evaluation mode; the mode of every module is restored.

    Args:
        model: entered or not.
        cut: of `find_cut`.
        inputs: `[b, c, h, w]`.

    Returns:
        Activations `[b, ...]`, in memory of their own.
    """
    with in_mode(model, training=False):
        for step in cut.steps(model)[: cut.depth]:
            inputs = step.run(inputs)
    # A part of something larger, such as one token of all, would keep the rest of it in memory.
    return inputs.clone() if inputs.untyped_storage().nbytes() > inputs.nbytes else inputs


@contextmanager
def entered(model: nn.Module, cut: Cut) -> Iterator[None]:
    """Within this block calling the model runs what follows the cut: it takes activations in place of images.

    Layers may be replaced meanwhile, as peft does. A copy made meanwhile stays entered.
    """
    before = vars(model).get("forward")

    def rest(self: nn.Module, activations: Tensor) -> Tensor:
        for step in cut.steps(self)[cut.depth :]:
            activations = step.run(activations)
        return activations

    # A method and no closure over the model, so that a copy runs its own layers.
    vars(model)["forward"] = MethodType(rest, model)
    try:
        yield
    finally:
        del vars(model)["forward"]
        if before is not None:
            vars(model)["forward"] = before
