"""`imagefolder:PATH`: a user's own images, in a folder per class.

Either PATH has `train/` and `test/` (or `val/`), each with a folder per class, or it has the class folders itself and
is split here: by class, by seed, `test_share` of each for testing. Classes are named by their folders, in the order of
code points, as torchvision's `ImageFolder` has them; hidden files and folders are passed over.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from statistics import median

import torch

from neglora.data.augment import Augmentation
from neglora.data.dataset import DataError, DataOptions, DatasetEntry, DatasetInfo, ImageDataset
from neglora.data.files import FORMATS, ImageFiles, has_images, list_classes, named, subfolders
from neglora.data.from_files import CHANNELS, load_files, normalized_with
from neglora.data.picture import shorter_side
from neglora.seeds import derive_seed

TRAIN, TEST = "train", ("test", "val")
#: Image sizes where nobody says one: the small one where the median of the shorter sides is at most `SMALL_SIDE`.
SMALL, LARGE, SMALL_SIDE = 32, 224, 64
#: Images whose headers are read for that, spread evenly over the training images.
SAMPLED = 256
#: Up to this size, training images are shifted by an eighth of it; larger ones are cropped from the files.
SHIFTED_UP_TO = 64
CROP_SCALE = (0.25, 1.0)
LAYOUT = (
    "expected PATH/train/CLASS/IMAGE with PATH/test/CLASS/IMAGE (or val instead of test), or PATH/CLASS/IMAGE, with at "
    f"least two classes and images that end in {', '.join(FORMATS)}"
)


def entry_of(place: str) -> DatasetEntry:
    """The entry of the images at a path: absolute, from `~`, or from `options.root` (the current folder without it)."""
    return DatasetEntry(
        about=f"the images in the class folders of {place}",
        info=lambda options: info(place, options),
        load=lambda options: load(place, options),
        has_files=True,
    )


def info(place: str, options: DataOptions) -> DatasetInfo:
    """Classes and image size, from the folders and the headers of some images.

    Raises:
        DataError: the folder is missing, is laid out otherwise, or mean and std do not fit.
    """
    normalized_with(options)
    root = _root(place, options)
    parts, classes = _layout(root)
    size = options.image_size or _usual_size(root, parts[0], classes, _state(root, parts, classes))
    return DatasetInfo(f"imagefolder:{place}", classes, size, CHANNELS)


def load(place: str, options: DataOptions) -> ImageDataset:
    """Decode the images, or find them decoded.

    Raises:
        DataError: see `info` and `load_files`; or a class has no images, or too few for a split.
    """
    known = info(place, options)
    root = _root(place, options)
    parts, classes = _layout(root)
    train = list_classes(root, parts[0], classes)
    _check_counts(train, root / parts[0], classes)
    if len(parts) == 2:
        test = list_classes(root, parts[1], classes)
        if not len(test):
            raise DataError(f"{root / parts[1]} has no images; {LAYOUT}")
    else:
        train, test = _split(train, root, classes, options)
    return load_files(known, train, test, options, _augmentation(known.image_size))


def _root(place: str, options: DataOptions) -> Path:
    path = Path(place).expanduser()
    root = ((options.folder or Path()) / path).absolute()
    if root.is_dir():
        return root
    what = "is a file, not a folder" if root.exists() else "does not exist"
    hint = "" if path.is_absolute() else "; a relative path starts from --data-root, or else from the current folder"
    raise DataError(f"imagefolder:{place}: {root} {what}{hint}; {LAYOUT}")


def _layout(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The folders of training and test images (or one, empty, where both are mixed), and the classes."""
    names = subfolders(root)
    tests = [name for name in TEST if name in names]
    if not names:
        raise DataError(f"{root} has no folders in it; {LAYOUT}")
    inner = subfolders(root / TRAIN) if TRAIN in names else []
    if inner or (TRAIN in names and not has_images(root / TRAIN)):
        if not tests:
            raise DataError(f"{root} has {TRAIN}/, but neither {' nor '.join(f'{name}/' for name in TEST)}; {LAYOUT}")
        parts = (TRAIN, tests[0])
        classes = _several(inner, root / TRAIN)
        unknown = [name for name in subfolders(root / tests[0]) if name not in inner]
        if unknown:
            raise DataError(
                f"{root / tests[0]} has the classes {named(unknown)}, which {root / TRAIN} does not have; every class "
                "of the test images has to be one of the training images"
            )
        return parts, classes
    if tests and set(names) <= set(TEST):
        raise DataError(f"{root} has {tests[0]}/, but no {TRAIN}/; {LAYOUT}")
    return ("",), _several(names, root)


def _several(classes: list[str], folder: Path) -> tuple[str, ...]:
    if len(classes) < 2:
        found = f"one class only, {classes[0]!r}" if classes else "no class folders"
        raise DataError(f"{folder} has {found}; {LAYOUT}")
    return tuple(classes)


def _state(root: Path, parts: tuple[str, ...], classes: tuple[str, ...]) -> tuple[int, ...]:
    """When the class folders were changed last, so that what is known of them need not be found out again."""
    return tuple(os.stat(root / parts[0] / name).st_mtime_ns for name in classes)


@lru_cache(maxsize=64)
def _usual_size(root: Path, part: str, classes: tuple[str, ...], state: tuple[int, ...]) -> int:
    train = list_classes(root, part, classes)
    _check_counts(train, root / part, classes)
    step = max(1, len(train) // SAMPLED)
    sides = [side for path in train.paths[::step] if (side := shorter_side(root / path)) is not None]
    if not sides:
        raise DataError(
            f"none of {len(train.paths[::step])} files in {root / part} is an image, such as {train.paths[0]}"
        )
    return SMALL if median(sides) <= SMALL_SIDE else LARGE


def _check_counts(train: ImageFiles, folder: Path, classes: tuple[str, ...]) -> None:
    empty = [name for name, count in zip(classes, train.counts(len(classes)), strict=True) if not count]
    if empty:
        raise DataError(f"{folder} has class folders without images: {named(empty)}; {LAYOUT}")


def _split(
    files: ImageFiles, root: Path, classes: tuple[str, ...], options: DataOptions
) -> tuple[ImageFiles, ImageFiles]:
    """Put `test_share` of each class aside: one image at least, and not all of them."""
    single = [name for name, count in zip(classes, files.counts(len(classes)), strict=True) if count == 1]
    if single:
        raise DataError(
            f"{root} has one image only of {named(single)}: at least two of each class are needed, one to train and "
            "one to test"
        )
    labels, testing = files.labels, torch.zeros(len(files), dtype=torch.bool)
    for index, name in enumerate(classes):
        members = (labels == index).nonzero().squeeze(1)
        count = min(max(1, round(options.test_share * len(members))), len(members) - 1)
        # A stream per class, so that one more class leaves the others as they are.
        generator = torch.Generator().manual_seed(derive_seed(options.seed, "imagefolder", "test", name))
        testing[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return files[(~testing).nonzero().squeeze(1).tolist()], files[testing.nonzero().squeeze(1).tolist()]


def _augmentation(size: int) -> Augmentation:
    if size <= SHIFTED_UP_TO:
        return Augmentation(shift=size // 8, flip=True)
    return Augmentation(crop_scale=CROP_SCALE, flip=True)
