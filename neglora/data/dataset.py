"""What a dataset is here: uint8 images, labels, class names and how to normalize; and where it is read from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neglora.data.augment import Augmentation
from neglora.data.batches import TensorBatches, TrainingBatches


class DataError(ValueError):
    """Data that is missing, damaged or not what was expected; the message says where it was looked for, and what to
    do."""


@dataclass(frozen=True)
class DataOptions:
    """How datasets that are read from disk are found and read. Plain JSON data.

    Attributes:
        root: folder given with `--data-root`; None where it was not given.
        verify: refuse archives whose checksum is not the published one.
        download: fetch a missing archive from its publisher.
        image_size: pixels of a side, of datasets that may have any; None for the dataset's own default.
        mean, std: per channel, of pixel values scaled to [0, 1]; None for the dataset's own.
        damaged: largest share of images that cannot be decoded and are left out.
        workers: processes that decode images; None for as many as there are processors.
        seed: of the split of a folder that has none.
        test_share: share of the images that such a split puts aside for testing.
    """

    root: str | None = None
    verify: bool = True
    download: bool = False
    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    damaged: float = 0.01
    workers: int | None = None
    seed: int = 0
    test_share: float = 0.2

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> DataOptions:
        """From plain data, in which lists stand for tuples."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()
        }
        return cls(**values)

    @property
    def folder(self) -> Path | None:
        return Path(self.root).expanduser() if self.root else None


#: How many damaged images are named.
NAMED_DAMAGED = 5


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


#: `decoded(index, batch_size, seed, augmentation, device)`: training batches whose images are decoded from their files.
DecodeBatches = Callable[[Tensor, int, int, Augmentation, torch.device], TrainingBatches]


@dataclass(frozen=True)
class ImageDataset:
    """Images and labels, in memory or mapped into it.

    Attributes:
        info: name, classes and shape.
        train_images, test_images: uint8, `[n, channels, size, size]`.
        train_labels, test_labels: int64, `[n]`, indices into `info.classes`.
        mean, std: per channel, of pixel values scaled to [0, 1].
        augmentation: of training images, unless a study says otherwise.
        device: where batches are put together. Images that are not `mapped` lie there as well.
        mapped: the images are mapped from a file and stay there, since they may exceed memory.
        digest: hash of the images, where it is known without reading them.
        decode: makes training batches from the original files, where there are such; None where the images are all
            there is.
        damaged: files that could not be decoded and are left out.
    """

    info: DatasetInfo
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation = field(default_factory=Augmentation)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    mapped: bool = False
    digest: str | None = None
    decode: DecodeBatches | None = None
    damaged: tuple[str, ...] = ()

    @property
    def damage(self) -> str | None:
        """What people are told of images that are left out; None where there are none."""
        if not self.damaged:
            return None
        count = len(self.damaged)
        listed = ", ".join(self.damaged[:NAMED_DAMAGED]) + (", ..." if count > NAMED_DAMAGED else "")
        what = "1 image is damaged and left out" if count == 1 else f"{count:,} images are damaged and left out"
        return f"{self.info.name}: {what}: {listed}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over images, labels and class names: two datasets that agree in it are the same data.

        Where the images have a digest of their own, the dataset's name does not count: it may say where they lie.
        """
        info = self.info if self.digest is None else replace(self.info, name="")
        digest = hashlib.sha256(repr((info, self.mean, self.std)).encode())
        tensors: Sequence[Tensor] = (self.train_labels, self.test_labels)
        if self.digest is None:
            tensors = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        else:
            digest.update(self.digest.encode())
        for tensor in tensors:
            digest.update(repr((tuple(tensor.shape), str(tensor.dtype))).encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def to(self, device: torch.device) -> ImageDataset:
        """The same dataset for work on `device`; its images move there unless they are mapped."""
        return replace(
            self,
            train_images=self.train_images if self.mapped else self.train_images.to(device),
            test_images=self.test_images if self.mapped else self.test_images.to(device),
            train_labels=self.train_labels.to(device),
            test_labels=self.test_labels.to(device),
            device=device,
        )

    def train(self, index: Tensor | None = None, *, batch_size: int, seed: int | None = None) -> TensorBatches:
        """Batches of training images as they are, without augmentation.

        Args:
            index: which of them, `[m]`; None for all.
            batch_size: images a batch.
            seed: of the order; None keeps it.
        """
        return self._batches(self.train_images, self.train_labels, index, batch_size, seed, None)

    def test(self, index: Tensor | None = None, *, batch_size: int) -> TensorBatches:
        """Batches of test images, in their order."""
        return self._batches(self.test_images, self.test_labels, index, batch_size, None, None)

    def augmented(
        self, index: Tensor, *, batch_size: int, seed: int, augmentation: Augmentation | None = None
    ) -> TrainingBatches:
        """Shuffled and augmented batches of training images.

        Raises:
            DataError: the augmentation needs original files, and the dataset has none.
        """
        augmentation = augmentation or self.augmentation
        if not augmentation.decodes:
            return self._batches(self.train_images, self.train_labels, index, batch_size, seed, augmentation)
        if self.decode is None:
            raise DataError(
                f"crop_scale and randaugment work on image files, which {self.info.name} does not have: leave them out"
            )
        return self.decode(index, batch_size, seed, augmentation, self.device)

    def _batches(
        self,
        images: Tensor,
        labels: Tensor,
        index: Tensor | None,
        batch_size: int,
        seed: int | None,
        augmentation: Augmentation | None,
    ) -> TensorBatches:
        return TensorBatches(
            images,
            labels,
            mean=self.mean,
            std=self.std,
            batch_size=batch_size,
            index=index,
            seed=seed,
            augmentation=augmentation,
            device=self.device,
        )


@dataclass(frozen=True)
class DatasetEntry:
    """A line of the registry.

    Attributes:
        about: one sentence for `neglora list`.
        info: what is known without loading the images. Raises DataError where even that needs files that are missing.
        load: reads the dataset. Raises DataError.
        has_files: training images can be decoded anew from files, as `crop_scale` and `randaugment` want it.
    """

    about: str
    info: Callable[[DataOptions], DatasetInfo]
    load: Callable[[DataOptions], ImageDataset]
    has_files: bool = False
