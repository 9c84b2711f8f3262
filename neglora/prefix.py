"""A model cut below the first layer that a configuration changes: what lies before is computed once for all of them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from types import MethodType

import torch
from timm.layers import DropBlock2d, DropPath, PatchDropout
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils import parametrize

from neglora.data import Batches
from neglora.data.batches import batch_starts, epoch_order
from neglora.models import family_of
from neglora.models.model import Step
from neglora.modes import in_mode

#: Share of a GPU's memory that activations leave free for what is computed.
LEFT_FREE = 0.5


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
    states = [name for name, _ in [*model.named_parameters(), *model.named_buffers()]]
    if any(len(_places(name, owners)) != 1 for name in states):
        return None
    changing = list(layers)
    for name, module in model.named_modules():
        if _is_random(module) or (batchnorm == "update" and isinstance(module, _BatchNorm)):
            changing.append(name)
    found = [_places(name, owners) for name in changing]
    # A module that no step has is called around them, and one that is none of theirs would change several.
    if not all(found):
        return None
    depth = min((place for places in found for place in places), default=len(steps))
    return Cut(find_steps, depth) if depth else None


def _places(name: str, owners: dict[str, int]) -> list[int]:
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


@dataclass(frozen=True)
class Through:
    """Batches of images as a model's activations at a cut, computed each time: `(activations, labels)`."""

    model: nn.Module
    cut: Cut
    batches: Batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, labels in self.batches:
            yield run_prefix(self.model, self.cut, inputs), labels


class PrefixCache:
    """Activations that many trials need, kept from the first time that they are computed.

    Batches stay as they were computed, so that what follows the cut has the same operations on the same shapes as in
    the whole model, and gives the same bits. On a GPU they stay there while `LEFT_FREE` of its memory is free, and in
    the host's memory otherwise.

    Args:
        budget_bytes: of all activations and labels together, those that are just computed included; the least recently
            used go first. What alone is larger is never kept, but computed each time.

    Attributes:
        hits: how many times batches were had without computing.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.hits = 0
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._too_large: set[Hashable] = set()
        self._seconds: dict[Hashable, float] = {}

    @property
    def held_bytes(self) -> int:
        """Bytes of what is kept."""
        return sum(kept.bytes for kept in self._kept.values())

    def seconds(self, key: Hashable) -> float:
        """What computing a key's activations took the first time, images included.

        Raises:
            KeyError: they were not computed to their end yet.
        """
        return self._seconds[key]

    def clear(self) -> None:
        """Let go of everything that is kept."""
        self._kept.clear()

    def batches(self, key: Hashable, model: nn.Module, cut: Cut, batches: Batches) -> Batches:
        """A model's activations at a cut; what they are computed from is only looked at where they are not kept.

        Args:
            key: the same for the same weights of the prefix, cut and batches, and for nothing else.
            model: the base.
            cut: of `find_cut`.
            batches: of images, in an order that does not change.

        Returns:
            `(activations, labels)` for each batch, on its device. They are shared: do not change them in place.
        """
        return _Shared(self, key, Through(model, cut, batches))

    def _iterate(self, key: Hashable, source: Through) -> Iterator[tuple[Tensor, Tensor]]:
        if key not in self._kept:
            yield from self._computed(key, source)
            return
        self._kept.move_to_end(key)
        self.hits += 1
        for activations, labels in self._kept[key].batches:
            yield activations.to(labels.device), labels

    def _computed(self, key: Hashable, source: Through) -> Iterator[tuple[Tensor, Tensor]]:
        found = _Kept([], 0)
        seconds, started = 0.0, time.perf_counter()
        for activations, labels in source:
            _synchronize(labels.device)
            seconds += time.perf_counter() - started
            if key not in self._too_large:
                found.bytes += activations.nbytes + labels.nbytes
                if found.bytes > self.budget_bytes:
                    self._too_large.add(key)
                    found.batches.clear()
                else:
                    self._make_room(found.bytes)
                    found.batches.append((_placed(activations), labels))
            yield activations, labels
            started = time.perf_counter()
        self._seconds.setdefault(key, seconds)
        if key not in self._too_large:
            self._kept[key] = found

    def _make_room(self, size: int) -> None:
        while self._kept and self.held_bytes + size > self.budget_bytes:
            self._kept.popitem(last=False)


@dataclass
class _Kept:
    """The batches of one key, and what they take."""

    batches: list[tuple[Tensor, Tensor]]
    bytes: int


@dataclass(frozen=True)
class _Shared:
    """Batches out of the cache, or on their way into it."""

    cache: PrefixCache
    key: Hashable
    source: Through

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.cache._iterate(self.key, self.source)


class ActivationBatches:
    """Batches for an ascent over activations; each iteration is one epoch.

    Epoch n has the order and the batch sizes that `TensorBatches` gives the images for the same seed.

    Args:
        activations: `[n, ...]`, of images that are not augmented.
        labels: int64, `[n]`.
        batch_size: of batches; the last may be smaller, or larger by one.
        seed: of the order; None keeps it.
    """

    def __init__(self, activations: Tensor, labels: Tensor, *, batch_size: int, seed: int | None) -> None:
        self.activations, self.labels = activations, labels
        self.batch_size, self.seed = batch_size, seed
        self._next = 0

    def __len__(self) -> int:
        return len(batch_starts(len(self.labels), self.batch_size))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = epoch_order(len(self.labels), self.seed, self._next).to(self.labels.device)
        self._next += 1
        for first, last in pairwise([*batch_starts(len(order), self.batch_size), len(order)]):
            rows = order[first:last]
            yield self.activations[rows], self.labels[rows]


def _placed(activations: Tensor) -> Tensor:
    """Activations where they are kept."""
    if activations.device.type != "cuda":
        return activations
    free, total = torch.cuda.mem_get_info(activations.device)
    return activations if free > LEFT_FREE * total else activations.cpu()


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
