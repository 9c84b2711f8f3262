"""`digits`: the 1,797 real images of handwritten digits that scikit-learn ships, at 32x32 in three channels.

Source: the test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI, 1998), 8x8 pixels
of 17 grey levels. It needs no download, and a small network learns it in seconds to a minute.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional

from neglora.data.augment import Augmentation
from neglora.data.dataset import DataOptions, DatasetEntry, DatasetInfo, ImageDataset

INFO = DatasetInfo("digits", tuple(str(digit) for digit in range(10)), image_size=32, channels=3)

#: The split is part of the dataset's definition: 70 percent train, stratified, the same for everybody.
TEST_SHARE = 0.3
SPLIT_SEED = 0
GREY_LEVELS = 16


def load(options: DataOptions | None = None) -> ImageDataset:
    """Load the embedded digits: 1,257 training and 540 test images. Nothing is read from disk: no option matters."""
    raw = load_digits()
    grey = torch.from_numpy(raw.images).float().div(GREY_LEVELS).unsqueeze(1)
    large = functional.interpolate(grey, size=(INFO.image_size, INFO.image_size), mode="bilinear", align_corners=False)
    images = large.mul(255).round().clamp(0, 255).to(torch.uint8).repeat(1, INFO.channels, 1, 1)
    labels = torch.from_numpy(raw.target).long()
    train, test = train_test_split(
        torch.arange(len(labels)).numpy(), test_size=TEST_SHARE, stratify=raw.target, random_state=SPLIT_SEED
    )
    scaled = images[train].float().div(255)
    mean, std = scaled.mean().item(), scaled.std().item()
    return ImageDataset(
        info=INFO,
        train_images=images[train].contiguous(),
        train_labels=labels[train],
        test_images=images[test].contiguous(),
        test_labels=labels[test],
        mean=(mean,) * INFO.channels,
        std=(std,) * INFO.channels,
        augmentation=Augmentation(shift=2),
    )


ENTRY = DatasetEntry(
    about="1,797 real images of handwritten digits from scikit-learn, 32x32, 10 classes; nothing to download",
    info=lambda options: INFO,
    load=load,
)
