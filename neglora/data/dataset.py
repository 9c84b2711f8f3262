"""What a dataset is here: uint8 images in memory, labels, class names and how to normalize."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before it is loaded."""

    name: str
    classes: tuple[str, ...]
    image_size: int
    channels: int

    @property
    def num_classes(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class ImageDataset:
    """Images and labels, in memory.

    Attributes:
        info: name, classes and shape.
        train_images, test_images: uint8, `[n, channels, size, size]`.
        train_labels, test_labels: int64, `[n]`, indices into `info.classes`.
        mean, std: per channel, of pixel values scaled to [0, 1].
    """

    info: DatasetInfo
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over images, labels and class names: two datasets that agree in it are the same data."""
        digest = hashlib.sha256(repr((self.info, self.mean, self.std)).encode())
        for tensor in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(repr((tuple(tensor.shape), str(tensor.dtype))).encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def to(self, device: torch.device) -> ImageDataset:
        """The same dataset with its tensors on `device`."""
        return ImageDataset(
            self.info,
            self.train_images.to(device),
            self.train_labels.to(device),
            self.test_images.to(device),
            self.test_labels.to(device),
            self.mean,
            self.std,
        )


@dataclass(frozen=True)
class DatasetEntry:
    """A line of the registry.

    Attributes:
        about: one sentence for `neglora list`.
        info: what is known without loading.
        load: reads the dataset; takes the folder given with `--data-root`, or None.
    """

    about: str
    info: Callable[[], DatasetInfo]
    load: Callable[[Path | None], ImageDataset]
