"""Datasets: one source per file, and how each is split for unlearning."""

from neglora.data import digits
from neglora.data.batches import Batches, TensorBatches
from neglora.data.dataset import DatasetEntry, DatasetInfo, ImageDataset
from neglora.data.splits import ForgetError, Splits, forget_class, split

DATASETS: dict[str, DatasetEntry] = {
    "digits": digits.ENTRY,
}

__all__ = [
    "DATASETS",
    "Batches",
    "DatasetEntry",
    "DatasetInfo",
    "ForgetError",
    "ImageDataset",
    "Splits",
    "TensorBatches",
    "forget_class",
    "split",
]
