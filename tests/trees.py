"""Folders of image files for tests, written from the real digits in the real formats and layouts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from neglora.data.imagenet import CLASSES, VALIDATION_FILE

DIGITS = load_digits()


def digit(label: int, turn: int) -> Image.Image:
    """The `turn`-th digit of a label, 8x8, grey of 8 bits."""
    own = DIGITS.images[DIGITS.target == label]
    return Image.fromarray((own[turn % len(own)] * 255 / 16).round().astype(np.uint8))


def large_digit(label: int, turn: int, width: int, height: int) -> Image.Image:
    return digit(label, turn).resize((width, height), Image.Resampling.BILINEAR)


def write_image_folder(
    root: Path,
    *,
    classes: Sequence[str] = ("0", "1", "2"),
    train: int = 4,
    test: int | None = 2,
    size: int = 32,
    suffix: str = ".png",
) -> Path:
    """`root/train/CLASS/*` and `root/test/CLASS/*`: digits in colour, that of the class's place in `classes`.

    Args:
        root: made if it is missing.
        classes: names of the folders; the n-th has the digit n modulo 10.
        train, test: images of each class; without `test` the class folders lie in `root` itself.
        size: pixels of the shorter side; every other image is a quarter wider.
        suffix: of the files, with their format.
    """
    parts = [("", 0, train)] if test is None else [("train", 0, train), ("test", train, test)]
    for part, first, count in parts:
        for place, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True, exist_ok=True)
            for turn in range(first, first + count):
                image = large_digit(place % 10, turn, size + (turn % 2) * (size // 4), size)
                image.convert("RGB").save(folder / f"{name}_{turn:03d}{suffix}")
    return root


def write_imagenet(
    root: Path, *, per_class: int = 2, val_per_class: int = 1, size: int = 40, flat_val: bool = False
) -> Path:
    """An ImageNet tree of the 100 classes in JPEG, the digit of each class's number modulo 10.

    Args:
        root: gets `train/` and `val/`.
        per_class, val_per_class: images of each class.
        size: pixels of the shorter side.
        flat_val: all validation images in `val/`, with the list `ILSVRC2012_val.txt` beside it.
    """
    lines = []
    for place, name in enumerate(CLASSES):
        (root / "train" / name).mkdir(parents=True, exist_ok=True)
        for turn in range(per_class):
            image = large_digit(place % 10, turn, size + 8 * (turn % 2), size)
            image.convert("RGB").save(root / "train" / name / f"{name}_{turn}.JPEG")
        for turn in range(val_per_class):
            # As published: the numbers say nothing about the classes.
            file = VALIDATION_FILE.format((turn * len(CLASSES) + 37 * place) % (len(CLASSES) * val_per_class) + 1)
            folder = root / "val" if flat_val else root / "val" / name
            folder.mkdir(parents=True, exist_ok=True)
            large_digit(place % 10, per_class + turn, size, size).convert("RGB").save(folder / file)
            lines.append(f"{file} {name}\n")
    if flat_val:
        (root / "ILSVRC2012_val.txt").write_text("".join(sorted(lines)))
    return root
