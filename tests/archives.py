"""Archives that tests write in their published format: small ones, of real images (the digits), true to the byte.

The published class lists come out with the published checksums, which `test_cifar.py` holds them to.
"""

from __future__ import annotations

import functools
import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neglora.data import DATASETS, DataOptions
from neglora.data.digits import load

#: Colours of the hundred classes: ten digits in ten of them. White is first, so that ten classes are grey.
TINTS = np.array(
    [
        (1.0, 1.0, 1.0),
        (1.0, 0.1, 0.1),
        (0.1, 1.0, 0.1),
        (0.2, 0.2, 1.0),
        (1.0, 1.0, 0.1),
        (1.0, 0.1, 1.0),
        (0.1, 1.0, 1.0),
        (1.0, 0.5, 0.1),
        (0.5, 0.3, 0.9),
        (0.4, 0.4, 0.4),
    ]
)
COARSE_CLASSES = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices household_furniture
insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores
medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2
"""
FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
#: What lies beside the batches in the published archives.
OTHERS = {"cifar10": ("readme.html", b"<html></html>\n"), "cifar100": ("file.txt~", b"")}

Pickle = Callable[[Any], bytes]


def write_cifar(
    root: Path, name: str, *, train: int = 4, test: int = 2, as_tar: bool = False, pickled: Pickle | None = None
) -> Path:
    """Write `cifar10` or `cifar100` as published, of digits: class c is digit c % 10 in the colour c // 10.

    Args:
        root: the folder for `--data-root`; made if it is missing.
        name: of the dataset.
        train, test: images a class, together at most 170.
        as_tar: the packed archive instead of its folder.
        pickled: how files are written; None for Python 2's way.

    Returns:
        The archive or the folder. Its checksum is not the published one: read it with `DataOptions(verify=False)`.
    """
    written = {file: (pickled or python2_pickle)(content) for file, content in cifar_files(name, train, test).items()}
    root.mkdir(parents=True, exist_ok=True)
    if as_tar:
        archive = root / f"{FOLDERS[name].replace('batches-py', 'python')}.tar.gz"
        write_tar(archive, FOLDERS[name], dict([OTHERS[name]]) | written)
        return archive
    folder = root / FOLDERS[name]
    folder.mkdir()
    for file, content in written.items():
        (folder / file).write_bytes(content)
    return folder


def write_tar(archive: Path, folder: str, files: dict[str, bytes]) -> None:
    """Pack files, and the folder that they are in, into a `.tar.gz`."""
    with tarfile.open(archive, "w:gz") as tar:
        directory = tarfile.TarInfo(folder)
        directory.type = tarfile.DIRTYPE
        tar.addfile(directory)
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def cifar_files(name: str, train: int, test: int) -> dict[str, dict[bytes, Any]]:
    """What the archive's files hold, by file name."""
    names = [label.encode() for label in DATASETS[name].info(DataOptions()).classes]
    parts = {"train": cifar_images(len(names), 0, train), "test": cifar_images(len(names), train, test)}
    if name == "cifar10":
        meta: dict[bytes, Any] = {b"num_cases_per_batch": 10000, b"label_names": names, b"num_vis": 3072}
        images, labels = parts["train"]
        rows = np.array_split(np.arange(len(labels)), 5)
        files = {
            f"data_batch_{number}": _batch10(images[chosen], labels[chosen], f"training batch {number} of 5")
            for number, chosen in enumerate(rows, 1)
        }
        return files | {"test_batch": _batch10(*parts["test"], "testing batch 1 of 1"), "batches.meta": meta}
    coarse = [label.encode() for label in COARSE_CLASSES.split()]
    return {
        "train": _batch100(*parts["train"], "training batch 1 of 1"),
        "test": _batch100(*parts["test"], "testing batch 1 of 1"),
        "meta": {b"fine_label_names": names, b"coarse_label_names": coarse},
    }


def cifar_images(classes: int, first: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images `[n, 3072]` and labels `[n]`: for every class the digits from number `first` on, classes interleaved."""
    images, labels = [], []
    for number in range(first, first + count):
        for label in range(classes):
            digit = _digits()[label % 10][number]
            images.append((digit * TINTS[label // 10].reshape(3, 1, 1)).round().astype(np.uint8).reshape(-1))
            labels.append(label)
    return np.array(images, np.uint8).reshape(-1, 3072), np.array(labels, np.int64)


@functools.cache
def _digits() -> list[NDArray[np.uint8]]:
    digits = load()
    images = np.concatenate([digits.train_images.numpy(), digits.test_images.numpy()])
    labels = np.concatenate([digits.train_labels.numpy(), digits.test_labels.numpy()])
    return [images[labels == digit] for digit in range(10)]


def _batch10(images: NDArray[np.uint8], labels: NDArray[np.int64], title: str) -> dict[bytes, Any]:
    return {
        b"batch_label": title.encode(),
        b"labels": labels.tolist(),
        b"data": images,
        b"filenames": _filenames(labels),
    }


def _batch100(images: NDArray[np.uint8], labels: NDArray[np.int64], title: str) -> dict[bytes, Any]:
    return {
        b"filenames": _filenames(labels),
        b"batch_label": title.encode(),
        b"fine_labels": labels.tolist(),
        b"coarse_labels": (labels // 5).tolist(),
        b"data": images,
    }


def _filenames(labels: NDArray[np.int64]) -> list[bytes]:
    return [f"digit_s_{row:06d}.png".encode() for row in range(len(labels))]


def python2_pickle(value: Any) -> bytes:
    """A pickle of protocol 2 as Python 2 wrote it: its texts, bytes here, are byte strings of their own kind.

    Source: the instructions of `pickletools`, in the order in which cPickle gives them; values may be mappings, lists,
    bytes, whole numbers and arrays of bytes, of up to three dimensions.
    """
    written = _Python2()
    written.add(value)
    return b"\x80\x02" + bytes(written.content) + b"."


class _Python2:
    def __init__(self) -> None:
        self.content = bytearray()
        self._noted = 0

    def add(self, value: Any) -> None:
        if isinstance(value, dict):
            self._noting(b"}")
            self._in_groups([item for pair in value.items() for item in pair], 2000, b"u")
        elif isinstance(value, list):
            self._noting(b"]")
            self._in_groups(value, 1000, b"e")
        elif isinstance(value, bytes):
            short = len(value) < 256
            self._noting((b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))) + value)
        elif isinstance(value, np.ndarray):
            self._add_array(value)
        else:
            self._add_number(value)

    def _add_number(self, value: int) -> None:
        if 0 <= value < 256:
            self.content += b"K" + bytes([value])
        elif 0 <= value < 65536:
            self.content += b"M" + struct.pack("<H", value)
        else:
            self.content += b"J" + struct.pack("<i", value)

    def _add_array(self, value: NDArray[np.uint8]) -> None:
        self._noting(b"cnumpy.core.multiarray\n_reconstruct\n")
        self._noting(b"cnumpy\nndarray\n")
        self._noting(b"K\x00\x85")
        self.add(b"b")
        self._noting(b"\x87")
        self._noting(b"R")
        self.content += b"(K\x01"
        for size in value.shape:
            self._add_number(size)
        self._noting({1: b"\x85", 2: b"\x86", 3: b"\x87"}[value.ndim])
        self._noting(b"cnumpy\ndtype\n")
        self.add(b"u1")
        self._noting(b"K\x00K\x01\x87")
        self._noting(b"R")
        self.content += b"(K\x03"
        self.add(b"|")
        self._noting(b"NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00t")
        self.content += b"b\x89"
        self.add(value.tobytes())
        self._noting(b"t")
        self.content += b"b"

    def _in_groups(self, values: list[Any], most: int, end: bytes) -> None:
        for start in range(0, len(values), most):
            self.content += b"("
            for value in values[start : start + most]:
                self.add(value)
            self.content += end

    def _noting(self, written: bytes) -> None:
        self._noted += 1
        self.content += written
        self.content += b"q" + bytes([self._noted]) if self._noted < 256 else b"r" + struct.pack("<I", self._noted)
