"""Image files in folders, one folder per class: listed in a fixed order, without reading them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from neglora.data.dataset import DataError

#: What counts as an image, by the end of its name in lower case.
FORMATS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")


@dataclass(frozen=True)
class ImageFiles:
    """Image files with their classes.

    Attributes:
        root: what the paths start from.
        paths: relative to it, with `/`.
        classes: of each file, an index into the dataset's classes.
    """

    root: Path
    paths: tuple[str, ...]
    classes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: list[int]) -> ImageFiles:
        return ImageFiles(self.root, tuple(self.paths[r] for r in rows), tuple(self.classes[r] for r in rows))

    def __add__(self, other: ImageFiles) -> ImageFiles:
        """Both, of one root."""
        return ImageFiles(self.root, self.paths + other.paths, self.classes + other.classes)

    @property
    def labels(self) -> Tensor:
        """int64, `[n]`."""
        return torch.tensor(self.classes, dtype=torch.int64)

    def counts(self, num_classes: int) -> list[int]:
        """Files of each class."""
        return torch.bincount(self.labels, minlength=num_classes).tolist()


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, and of links to such, sorted by code point; hidden ones are passed over.

    Raises:
        DataError: the folder cannot be read.
    """
    with _reading(folder), os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not _hidden(entry.name) and entry.is_dir())


def has_images(folder: Path) -> bool:
    """Whether a folder itself holds image files.

    Raises:
        DataError: the folder cannot be read.
    """
    with _reading(folder), os.scandir(folder) as entries:
        return any(is_image(entry.name) and entry.is_file() for entry in entries)


def is_image(name: str) -> bool:
    return not _hidden(name) and name.lower().endswith(FORMATS)


def list_images(root: Path, folder: str) -> list[str]:
    """The image files of `root/folder`, also in folders within it, as paths from `root`; each folder's own sorted.

    Links are followed, a folder that is reached twice is read once.

    Raises:
        DataError: a folder cannot be read.
    """
    found: list[str] = []
    seen: set[str] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        real = os.path.realpath(root / here)
        if real in seen:
            continue
        seen.add(real)
        with _reading(root / here), os.scandir(root / here) as entries:
            ordered = sorted((entry for entry in entries if not _hidden(entry.name)), key=lambda entry: entry.name)
        found += [f"{here}/{entry.name}" for entry in ordered if is_image(entry.name) and entry.is_file()]
        waiting += [f"{here}/{entry.name}" for entry in reversed(ordered) if entry.is_dir()]
    return found


def list_classes(root: Path, part: str, classes: tuple[str, ...]) -> ImageFiles:
    """The image files of every class of `root/part`, which has a folder per class; `part` may be empty.

    A class without a folder has no files.

    Raises:
        DataError: a folder cannot be read.
    """
    paths: list[str] = []
    owners: list[int] = []
    present = set(subfolders(root / part))
    for index, name in enumerate(classes):
        if name in present:
            own = list_images(root, f"{part}/{name}" if part else name)
            paths += own
            owners += [index] * len(own)
    return ImageFiles(root, tuple(paths), tuple(owners))


def named(names: list[str], most: int = 10) -> str:
    """The first of several names, for messages."""
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")


def _hidden(name: str) -> bool:
    return name.startswith(".")


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Says which folder could not be read."""
    try:
        yield
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read: {error.strerror}") from error
