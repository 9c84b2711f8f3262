"""Batches of images: shuffled, augmented and normalized on the device, the same whoever asks for which part of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from neglora.data.augment import Augmentation, erased, flipped, shifted
from neglora.seeds import derive_seed


class Batches(Protocol):
    """Anything that can be iterated once per epoch and yields `(inputs, labels)`, such as a DataLoader."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class TrainingBatches(Batches, Protocol):
    """Batches of which every epoch can be had by its number, from any batch on, or a share of every batch of it."""

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def epoch(self, number: int, *, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of epoch `number` (from 0) from batch `start` on; of each, the share `rank` of `world`."""
        ...


class TensorBatches:
    """Batches over uint8 images in memory, or mapped into it; each iteration is one epoch.

    What epoch n holds depends on the seed and n alone, so that training can be resumed in the middle of it.

    Args:
        images: uint8, `[n, channels, height, width]`.
        labels: int64, `[n]`.
        mean, std: per channel, of pixel values scaled to [0, 1].
        batch_size: images in a batch. The last one may be smaller, but a single image that would be left over joins the
            batch before it: BatchNorm cannot train on one value per channel.
        index: the images that are used, `[m]`; None for all of them.
        seed: of order and augmentation; None keeps the order and augments nothing.
        augmentation: what is varied here: shift, flip and erase.
        device: where batches are put together; None for where the images are.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int,
        index: Tensor | None = None,
        seed: int | None = None,
        augmentation: Augmentation | None = None,
        device: torch.device | None = None,
    ) -> None:
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images but {len(labels)} labels")
        if batch_size < 1:
            raise ValueError(f"batch_size should be at least 1, got {batch_size}")
        self.images, self.labels, self.index = images, labels, index
        self.batch_size, self.seed = batch_size, seed
        self.augmentation = augmentation or Augmentation()
        self.device = device or images.device
        self._next = 0
        self._normalized = normalization(mean, std, self.device)

    def __len__(self) -> int:
        return len(batch_starts(self._count, self.batch_size))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        number = self._next
        self._next += 1
        return self.epoch(number)

    def epoch(self, number: int, *, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """See `TrainingBatches.epoch`. Each rank draws the whole batch's augmentation and takes its share of it."""
        order = epoch_order(self._count, self.seed, number)
        if self.index is not None:
            order = self.index.cpu()[order]
        # Copied to a GPU once an epoch: at every batch the host would wait for it.
        of_images, of_labels = order.to(self.images.device), order.to(self.labels.device)
        starts = batch_starts(self._count, self.batch_size)
        for place, (first, last) in enumerate(pairwise([*starts, self._count])):
            if place < start:
                continue
            inputs = self._prepared(of_images[first:last], number, place)
            labels = self.labels[of_labels[first:last]].to(self.device, non_blocking=True)
            yield inputs[rank::world], labels[rank::world]

    @property
    def _count(self) -> int:
        return len(self.labels) if self.index is None else len(self.index)

    def _prepared(self, rows: Tensor, epoch: int, place: int) -> Tensor:
        images = self.images[rows].to(self.device, non_blocking=True)
        wanted = self.augmentation
        if self.seed is None or wanted == Augmentation():
            return self._normalized(images)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "augment", epoch, place))
        if wanted.shift:
            images = shifted(images, wanted.shift, generator)
        if wanted.flip:
            images = flipped(images, generator)
        inputs = self._normalized(images)
        return erased(inputs, wanted.erase, generator) if wanted.erase else inputs


def normalization(mean: Sequence[float], std: Sequence[float], device: torch.device) -> Callable[[Tensor], Tensor]:
    """What makes inputs of uint8 images `[n, channels, height, width]` on a device: `(pixels / 255 - mean) / std`."""
    scale, shift = torch.tensor(std, device=device), torch.tensor(mean, device=device)
    factor, offset = (1.0 / (255.0 * scale)).view(1, -1, 1, 1), (-shift / scale).view(1, -1, 1, 1)
    return partial(_normalized, factor, offset)


def _normalized(factor: Tensor, offset: Tensor, images: Tensor) -> Tensor:
    return torch.addcmul(offset, images.float(), factor)


def batch_starts(count: int, batch_size: int) -> list[int]:
    """Where in the order each batch begins; a single image that would be left over joins the batch before it."""
    starts = list(range(0, count, batch_size))
    return starts[:-1] if count > batch_size > 1 and count % batch_size == 1 else starts


def epoch_order(count: int, seed: int | None, number: int) -> Tensor:
    """The order of `count` images in epoch `number`, `[count]`; without a seed their own."""
    if seed is None:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(derive_seed(seed, "epoch", number)))
