"""Batches of images that already lie on the device: shuffled, shifted and normalized there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Batches(Protocol):
    """Anything that can be iterated once per epoch and yields `(inputs, labels)`, such as a DataLoader."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class TensorBatches:
    """Batches over uint8 images in memory; each iteration is one epoch.

    Args:
        images: uint8, `[n, channels, height, width]`.
        labels: int64, `[n]`.
        mean, std: per channel, of pixel values scaled to [0, 1].
        batch_size: images in a batch. The last one may be smaller, but a single image that would be left over joins the
            batch before it: BatchNorm cannot train on one value per channel.
        generator: draws the order and the shifts; None keeps the order and shifts nothing.
        shift: largest shift in pixels, in both directions; what comes in at the border is black.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int,
        generator: torch.Generator | None = None,
        shift: int = 0,
    ) -> None:
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images but {len(labels)} labels")
        if batch_size < 1:
            raise ValueError(f"batch_size should be at least 1, got {batch_size}")
        self.images, self.labels = images, labels
        self.batch_size, self.generator, self.shift = batch_size, generator, shift
        self._scale = (1.0 / (255.0 * torch.tensor(std, device=images.device))).view(1, -1, 1, 1)
        self._offset = (-torch.tensor(mean, device=images.device) / torch.tensor(std, device=images.device)).view(
            1, -1, 1, 1
        )

    def _starts(self) -> list[int]:
        """Where in the order each batch begins."""
        count = len(self.labels)
        starts = list(range(0, count, self.batch_size))
        return starts[:-1] if count > self.batch_size > 1 and count % self.batch_size == 1 else starts

    def __len__(self) -> int:
        return len(self._starts())

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self.labels)
        order = torch.arange(count) if self.generator is None else torch.randperm(count, generator=self.generator)
        for start, end in pairwise([*self._starts(), count]):
            index = order[start:end].to(self.images.device)
            images = self.images[index]
            if self.shift and self.generator is not None:
                images = shifted(images, self.shift, self.generator)
            yield torch.addcmul(self._offset, images.float(), self._scale), self.labels[index]


def shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Shift every image by its own whole number of pixels in [-most, most], filling with zeros.

    Args:
        images: `[n, channels, height, width]`.
        most: the largest shift in pixels, in each direction.
        generator: a CPU generator.
    """
    count, channels, height, width = images.shape
    padded = functional.pad(images, (most, most, most, most))
    offsets = torch.randint(0, 2 * most + 1, (2, count), generator=generator).to(images.device)
    rows = offsets[0].view(-1, 1) + torch.arange(height, device=images.device)
    columns = offsets[1].view(-1, 1) + torch.arange(width, device=images.device)
    image = torch.arange(count, device=images.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(1, -1, 1, 1)
    return padded[image, channel, rows.view(count, 1, height, 1), columns.view(count, 1, 1, width)]
