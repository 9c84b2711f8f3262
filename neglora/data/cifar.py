"""`cifar10` and `cifar100`: 60,000 photographs of 32x32 pixels, in 10 and 100 classes.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, in its authors' Python archives.
torchvision supplies their addresses, file names and checksums; they are read here, as the packed archive or as the
folder that is in it, with any number of images. Means and deviations are the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy
import torch
from torch import Tensor

from neglora.data.archive import Published, locate, read_files
from neglora.data.augment import Augmentation
from neglora.data.dataset import DataError, DataOptions, DatasetEntry, DatasetInfo, ImageDataset
from neglora.data.unpickle import text_of, unpickle

SIZE, CHANNELS = 32, 3
PIXELS = CHANNELS * SIZE * SIZE
#: The crop of such work: 4 pixels of black around the image, then 32x32 of it anywhere, mirrored half of the time.
AUGMENTATION = Augmentation(shift=4, flip=True)


@dataclass(frozen=True)
class Cifar:
    """One of the two.

    Attributes:
        name: of the dataset.
        source: the class of torchvision that knows its archive.
        classes: in the order of the labels; an archive that names them otherwise is refused.
        names_key: under which the archive lists them.
        labels_key: of a batch's labels.
        mean, std: per channel, of pixel values scaled to [0, 1], as in the paper.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    names_key: str
    labels_key: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


CIFAR10 = Cifar(
    name="cifar10",
    source="CIFAR10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    names_key="label_names",
    labels_key="labels",
    mean=(0.4919, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
)

#: The fine classes; an archive lists them in this order, the alphabet's.
_CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""

CIFAR100 = Cifar(
    name="cifar100",
    source="CIFAR100",
    classes=tuple(_CIFAR100_CLASSES.split()),
    names_key="fine_label_names",
    labels_key="fine_labels",
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)


def info(cifar: Cifar, options: DataOptions) -> DatasetInfo:
    """What is known without the archive.

    Raises:
        DataError: another image size is asked for.
    """
    if options.image_size not in (None, SIZE):
        raise DataError(
            f"{cifar.name} has images of {SIZE} pixels, and image_size asks for {options.image_size}: leave it out; "
            "for another size put the images into folders and use imagefolder:PATH"
        )
    return DatasetInfo(cifar.name, cifar.classes, SIZE, CHANNELS)


def load(cifar: Cifar, options: DataOptions) -> ImageDataset:
    """Read an archive, under `options.root` or in `data/`.

    Raises:
        DataError: it is missing, is not the published one (unless `options.verify` is off), or is not what a CIFAR
            archive should be.
    """
    known = info(cifar, options)
    mean, std = options.mean or cifar.mean, options.std or cifar.std
    if len(mean) != CHANNELS or len(std) != CHANNELS or min(std) <= 0:
        raise DataError(f"mean and std should have {CHANNELS} values each, std above 0; got {mean} and {std}")
    archive, training, testing, meta = published(cifar)
    place = locate(archive, options)
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {"train": [], "test": []}
    for name, content in read_files(archive, place, verify=options.verify):
        where = f"{place / name if place.is_dir() else f'{name} in {place}'}"
        batch = unpickle(content, where)
        if name == meta:
            _check_names(cifar, batch, where)
        else:
            parts["test" if name in testing else "train"].append(_images_and_labels(cifar, batch, where))
    images, labels = {}, {}
    for part, batches in parts.items():
        images[part] = torch.cat([batch[0] for batch in batches])
        labels[part] = torch.cat([batch[1] for batch in batches])
        if not len(labels[part]):
            expected = testing if part == "test" else training
            raise DataError(f"{place} has no images for {part}ing: {', '.join(expected)} are empty")
    return ImageDataset(
        info=known,
        train_images=images["train"],
        train_labels=labels["train"],
        test_images=images["test"],
        test_labels=labels["test"],
        mean=mean,
        std=std,
        augmentation=AUGMENTATION,
    )


def published(cifar: Cifar) -> tuple[Published, tuple[str, ...], tuple[str, ...], str]:
    """The archive as it is published, and which of its files hold training images, test images and class names."""
    # Only whoever reads an archive waits for torchvision.
    from torchvision import datasets

    source = getattr(datasets, cifar.source)
    meta: str = source.meta["filename"]
    files = dict(source.train_list) | dict(source.test_list) | {meta: source.meta["md5"]}
    archive = Published(cifar.name, source.url, source.filename, source.tgz_md5, source.base_folder, files)
    return archive, tuple(dict(source.train_list)), tuple(dict(source.test_list)), meta


def _check_names(cifar: Cifar, meta: Mapping[str, Any], where: str) -> None:
    names = meta.get(cifar.names_key)
    if not isinstance(names, list):
        raise DataError(f"{where} should list the class names under {cifar.names_key!r}; it has {_keys(meta)}")
    if len(names) != len(cifar.classes):
        raise DataError(f"{where} names {len(names)} classes, {cifar.name} has {len(cifar.classes)}")
    for index, (found, expected) in enumerate(zip(names, cifar.classes, strict=True)):
        if text_of(found) != expected:
            raise DataError(
                f"{where} calls class {index} {str(text_of(found))[:40]!r}, in {cifar.name} it is {expected!r}: images "
                "of other classes belong into folders, for imagefolder:PATH"
            )


def _images_and_labels(cifar: Cifar, batch: Mapping[str, Any], where: str) -> tuple[Tensor, Tensor]:
    """Images `[n, 3, 32, 32]` in uint8 and labels `[n]` of one batch file."""
    data, labels = batch.get("data"), batch.get(cifar.labels_key)
    if not isinstance(data, numpy.ndarray) or data.ndim != 2 or data.shape[1] != PIXELS:
        found = list(data.shape) if isinstance(data, numpy.ndarray) else type(data).__name__
        raise DataError(
            f"{where} should have an array of bytes of shape [n, {PIXELS}] under 'data', got {found}; "
            f"it has {_keys(batch)}"
        )
    if not isinstance(labels, list):
        raise DataError(f"{where} should have a list of labels under {cifar.labels_key!r}; it has {_keys(batch)}")
    if len(labels) != len(data):
        raise DataError(f"{where} has {len(data)} images but {len(labels)} labels")
    for row, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < len(cifar.classes):
            raise DataError(
                f"{where} gives image {row} the label {str(label)[:40] if type(label) is int else type(label).__name__}"
                f"; labels of {cifar.name} are whole numbers from 0 to {len(cifar.classes) - 1}"
            )
    # A copy, since what was unpickled is read-only.
    images = torch.from_numpy(data.copy()).view(-1, CHANNELS, SIZE, SIZE)
    return images, torch.tensor(labels, dtype=torch.int64)


def _keys(batch: Mapping[str, Any]) -> str:
    return ", ".join(str(key)[:40] for key in list(batch)[:8]) or "nothing"


CIFAR10_ENTRY = DatasetEntry(
    about="CIFAR-10: 60,000 photographs, 32x32, 10 classes; from the published archive under --data-root",
    info=partial(info, CIFAR10),
    load=partial(load, CIFAR10),
)
CIFAR100_ENTRY = DatasetEntry(
    about="CIFAR-100: 60,000 photographs, 32x32, 100 classes; from the published archive under --data-root",
    info=partial(info, CIFAR100),
    load=partial(load, CIFAR100),
)
