"""A dataset of image files: evaluation reads the cache of decoded images, training may decode the files themselves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neglora.data.augment import Augmentation
from neglora.data.batches import TrainingBatches
from neglora.data.dataset import DataError, DataOptions, DatasetInfo, ImageDataset
from neglora.data.decoded import decoded
from neglora.data.decoding import FileBatches
from neglora.data.files import ImageFiles, named

#: Per channel over ImageNet's training images, which photographs are commonly normalized with.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CHANNELS = 3


@dataclass(frozen=True)
class DecodeFiles:
    """What `ImageDataset.decode` is for a dataset of image files."""

    files: ImageFiles
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    workers: int | None

    def __call__(
        self, index: Tensor, batch_size: int, seed: int, augmentation: Augmentation, device: torch.device
    ) -> TrainingBatches:
        return FileBatches(
            self.files,
            index=index,
            batch_size=batch_size,
            seed=seed,
            augmentation=augmentation,
            image_size=self.image_size,
            mean=self.mean,
            std=self.std,
            device=device,
            workers=self.workers,
        )


def normalized_with(options: DataOptions) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation: those of the options, or ImageNet's.

    Raises:
        DataError: there are not three of each, or a deviation is not above 0.
    """
    mean, std = options.mean or IMAGENET_MEAN, options.std or IMAGENET_STD
    if len(mean) != CHANNELS or len(std) != CHANNELS or min(std) <= 0:
        raise DataError(f"mean and std should have {CHANNELS} values each, std above 0; got {mean} and {std}")
    return mean, std


def load_files(
    info: DatasetInfo, train: ImageFiles, test: ImageFiles, options: DataOptions, augmentation: Augmentation
) -> ImageDataset:
    """Decode image files, or find them decoded.

    Args:
        info: name, classes and image size.
        train, test: the files, of one root.
        options: how many may be damaged, how many processes decode, mean and std.
        augmentation: of training images.

    Raises:
        DataError: too many files are damaged, or all of a class's training images are; see also `decoded`.
    """
    mean, std = normalized_with(options)
    everything = train + test
    cache = decoded(info.name, everything, info.image_size, workers=options.workers)
    damaged = [f"{path} ({why})" for path, why in cache.damaged]
    if len(damaged) > options.damaged * len(everything):
        raise DataError(
            f"{info.name}: {len(damaged)} of {len(everything)} images under {train.root} are damaged, more than the "
            f"share of {options.damaged:g} that may be left out (in a space: `data: {{damaged: SHARE}}`). Damaged are: "
            f"{named(damaged)}"
        )
    rows = cache.rows.tolist()
    whole = everything[rows]
    first_test = sum(row < len(train) for row in rows)
    trained = whole[list(range(first_test))]
    empty = [info.classes[index] for index, count in enumerate(trained.counts(info.num_classes)) if not count]
    if empty:
        raise DataError(f"{info.name}: all training images are damaged of: {named(empty)}")
    if first_test == len(rows):
        raise DataError(f"{info.name}: all test images under {test.root} are damaged: {named(damaged)}")
    labels = whole.labels
    return ImageDataset(
        info=info,
        train_images=cache.images[:first_test],
        train_labels=labels[:first_test],
        test_images=cache.images[first_test:],
        test_labels=labels[first_test:],
        mean=mean,
        std=std,
        augmentation=augmentation,
        mapped=cache.mapped,
        digest=cache.digest,
        decode=DecodeFiles(trained, info.image_size, mean, std, options.workers),
        damaged=tuple(path for path, _ in cache.damaged),
    )
