"""Activations behind a model's prefix: as batches, and kept for all trials that need the same."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from neglora.data import Batches
from neglora.data.batches import batch_starts, epoch_order
from neglora.prefix import Cut, run_prefix

#: Share of a GPU's memory that kept activations leave free for what is computed.
LEFT_FREE = 0.5


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
