"""Datasets: one source per file, what is forgotten of them, and how each is split for unlearning."""

from collections.abc import Callable

from neglora.data import cifar, digits, imagefolder, imagenet
from neglora.data.augment import Augmentation
from neglora.data.batches import Batches, TensorBatches, TrainingBatches
from neglora.data.dataset import DataError, DataOptions, DatasetEntry, DatasetInfo, ImageDataset
from neglora.data.forget import ForgetError, ForgetSet, forget_class, parse_forget
from neglora.data.splits import Splits, sampled, split, stratified

DATASETS: dict[str, DatasetEntry] = {
    "digits": digits.ENTRY,
    "cifar10": cifar.CIFAR10_ENTRY,
    "cifar100": cifar.CIFAR100_ENTRY,
    "imagenet100": imagenet.ENTRY,
}

#: Datasets that are named by what they are and where they lie, `KIND:PLACE`: the entry of a place.
PLACED: dict[str, Callable[[str], DatasetEntry]] = {
    "imagefolder": imagefolder.entry_of,
}


def find_dataset(name: str) -> DatasetEntry | None:
    """The dataset of a name such as `digits` or `imagefolder:photos`; None where there is no such name."""
    kind, colon, place = name.partition(":")
    if colon and place and kind in PLACED:
        return PLACED[kind](place)
    return DATASETS.get(name)


def dataset_names() -> list[str]:
    """Every name, those of the placed ones as `KIND:PATH`."""
    return [*DATASETS, *(f"{kind}:PATH" for kind in PLACED)]


__all__ = [
    "DATASETS",
    "PLACED",
    "Augmentation",
    "Batches",
    "DataError",
    "DataOptions",
    "DatasetEntry",
    "DatasetInfo",
    "ForgetError",
    "ForgetSet",
    "ImageDataset",
    "Splits",
    "TensorBatches",
    "TrainingBatches",
    "dataset_names",
    "find_dataset",
    "forget_class",
    "parse_forget",
    "sampled",
    "split",
    "stratified",
]
