"""Images decoded once, as evaluation sees them, and kept in a file that is mapped into memory.

The cache of a list of files is a folder with `images.u8`, the pixels of all images that could be decoded one after the
other, and `images.json`, which says what they are, with their checksum. It lies where `cache_folder` says, which should
be a disk of the machine itself. It may be deleted at any time, and is made again.

A cache that fits into memory is read and its checksum verified whenever it is loaded. A larger one is mapped, and only
its size and description are compared, since reading it would take as long as what it is there to avoid.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from neglora.data.dataset import DataError
from neglora.data.files import ImageFiles
from neglora.data.picture import Damaged, fitted, pixels, read_picture
from neglora.exclusive import exclusive
from neglora.synced import sync_folder, write_synced

logger = logging.getLogger(__name__)

#: Raised when the same files give other pixels, so that older caches are not taken for them.
VERSION = 1
#: Images that take more bytes than this are mapped instead of read into memory.
MAPPED_BYTES = 2**30
PIXELS, FACTS = "images.u8", "images.json"
CHANNELS = 3
#: Images that one thread decodes in a row, and how often the log says how far it is.
CHUNK = 32
REPORT_SECONDS = 5.0
#: Bytes that are read at a time to form a checksum.
READ = 2**24


@dataclass(frozen=True)
class Decoded:
    """Decoded images.

    Attributes:
        images: uint8, `[n, 3, size, size]`; not to be written to.
        rows: of the listed files, those that the images are of, `[n]`, ascending.
        damaged: paths of the files that could not be decoded, and why, in the order of the list.
        digest: SHA-256 of the pixels.
        mapped: whether they lie in a file that is mapped.
    """

    images: Tensor
    rows: Tensor
    damaged: tuple[tuple[str, str], ...]
    digest: str
    mapped: bool


class _BrokenCache(Exception):
    """A cache that is not what its description says."""


def cache_folder() -> Path:
    """Where decoded images are kept: `$NEGLORA_CACHE`, or `neglora` in `$XDG_CACHE_HOME` or in `~/.cache`."""
    given = os.environ.get("NEGLORA_CACHE")
    if given:
        return Path(given).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "neglora"


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decoded(name: str, files: ImageFiles, size: int, *, workers: int | None = None) -> Decoded:
    """The images of files at `size` x `size`, decoded now if no cache holds them.

    Files are taken for unchanged while root, paths, sizes and times of modification are. Several processes may ask at
    the same time: one decodes.

    Args:
        name: of the dataset, for messages and the folder's name.
        files: what is read.
        size: pixels of a side.
        workers: threads; None for as many as there are processors, 8 at most.

    Raises:
        DataError: a file cannot be read at all, or the cache cannot be written.
    """
    key = f"images-{_list_digest(files, size)[:20]}"
    folder = cache_folder() / key
    found = _found(folder, files, size)
    if found is not None:
        return found
    with _writing(folder), exclusive(folder.parent / ".locks" / f"{key}.lock"):
        found = _found(folder, files, size)
        if found is not None:
            return found
        # What a process that was killed left behind; nobody else makes this one now.
        for leftover in folder.parent.glob(f".{key}-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        _make(folder, name, files, size, workers)
        try:
            return _read(folder, files, size)
        except _BrokenCache as error:
            raise DataError(
                f"the cache of decoded images {folder} was damaged as soon as it was made: {error}"
            ) from error


def _list_digest(files: ImageFiles, size: int) -> str:
    digest = hashlib.sha256(os.fsencode(f"{VERSION} {size} {os.path.realpath(files.root)}"))
    for path in files.paths:
        try:
            status = os.stat(files.root / path)
        except OSError as error:
            raise DataError(f"{files.root / path} cannot be read: {error.strerror}") from error
        digest.update(os.fsencode(f"\n{path}\0{status.st_size} {status.st_mtime_ns}"))
    return digest.hexdigest()


def _found(folder: Path, files: ImageFiles, size: int) -> Decoded | None:
    """The cache if it is there and whole."""
    if not folder.is_dir():
        return None
    try:
        return _read(folder, files, size)
    except (_BrokenCache, OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("the cache of decoded images %s is damaged and will be made again: %s", folder, error)
        return None


def _read(folder: Path, files: ImageFiles, size: int) -> Decoded:
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    damaged = tuple((str(path), str(why)) for path, why in facts["damaged"])
    left_out = {path for path, _ in damaged}
    rows = [row for row, path in enumerate(files.paths) if path not in left_out]
    shape = (len(rows), CHANNELS, size, size)
    count = len(rows) * CHANNELS * size * size
    if facts["shape"] != list(shape):
        raise _BrokenCache(f"it describes images of shape {facts['shape']}, expected {list(shape)}")
    file = folder / PIXELS
    if file.stat().st_size != count:
        raise _BrokenCache(f"{PIXELS} has {file.stat().st_size} bytes, expected {count}")
    mapped = count > MAPPED_BYTES
    if mapped:
        content: NDArray[numpy.uint8] = numpy.memmap(file, numpy.uint8, mode="r")
    else:
        content = numpy.fromfile(file, numpy.uint8)
        checksum = hashlib.sha256(content.data).hexdigest()
        if checksum != facts["sha256"]:
            raise _BrokenCache(f"{PIXELS} has the checksum {checksum[:12]}, expected {str(facts['sha256'])[:12]}")
    with warnings.catch_warnings():
        # A map that can be written to would count as memory of this process. Nobody writes to a dataset's images.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        images = torch.from_numpy(content).view(shape)
    return Decoded(images, torch.tensor(rows, dtype=torch.int64), damaged, str(facts["sha256"]), mapped)


def _make(folder: Path, name: str, files: ImageFiles, size: int, workers: int | None) -> None:
    """Decode into a folder beside the cache's place, and rename it there."""
    row_bytes = CHANNELS * size * size
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        handle = os.open(beside / PIXELS, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            # All of the space at once: a disk that is too small shows now, not after an hour.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, max(1, len(files) * row_bytes))
            damaged = _decode_all(handle, name, files, size, workers)
            whole = _closed_up(handle, sorted(damaged), len(files), row_bytes)
            checksum = _checksum(handle, whole * row_bytes)
            os.fsync(handle)
        finally:
            os.close(handle)
        facts: dict[str, Any] = {
            "version": VERSION,
            "dataset": name,
            "root": str(files.root),
            "shape": [whole, CHANNELS, size, size],
            "sha256": checksum,
            "damaged": [[files.paths[row], damaged[row]] for row in sorted(damaged)],
        }
        write_synced(beside / FACTS, json.dumps(facts, indent=1).encode())
        beside.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _decode_all(handle: int, name: str, files: ImageFiles, size: int, workers: int | None) -> dict[int, str]:
    """Write every image at its place; returns why rows are damaged. Threads, since PIL decodes outside of the GIL."""
    stop = threading.Event()

    def decode(first: int) -> dict[int, str]:
        damaged = {}
        for row in range(first, min(first + CHUNK, len(files))):
            if stop.is_set():
                break
            try:
                content = pixels(fitted(read_picture(files.root / files.paths[row]), size))
            except Damaged as error:
                damaged[row] = str(error)
            except OSError as error:
                raise DataError(f"{files.root / files.paths[row]} cannot be read: {error.strerror}") from error
            else:
                _write_at(handle, content.tobytes(), row * content.nbytes)
        return damaged

    threads = max(1, min(processors(), 8) if workers is None else workers)
    damaged: dict[int, str] = {}
    started = reported = time.monotonic()
    logger.info("%s: decoding %s images to %dx%d, once", name, f"{len(files):,}", size, size)
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        try:
            chunks = [pool.submit(decode, first) for first in range(0, len(files), CHUNK)]
            for done, chunk in enumerate(as_completed(chunks), start=1):
                damaged |= chunk.result()
                if time.monotonic() - reported >= REPORT_SECONDS:
                    reported = time.monotonic()
                    share = done / len(chunks)
                    left = (reported - started) * (1 - share) / share
                    logger.info("%s: decoded %.0f%%, about %.0f s to go", name, 100 * share, left)
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    logger.info("%s: decoded %s images in %.0f s", name, f"{len(files):,}", time.monotonic() - started)
    return damaged


def _closed_up(handle: int, damaged: list[int], count: int, row_bytes: int) -> int:
    """Close the gaps that damaged images left, and cut the file to what remains; returns how many images that are."""
    bounds = [*damaged, count]
    for shift, (gap, end) in enumerate(zip(damaged, bounds[1:], strict=True), start=1):
        for row in range(gap + 1, end):
            _write_at(handle, os.pread(handle, row_bytes, row * row_bytes), (row - shift) * row_bytes)
    whole = count - len(damaged)
    os.ftruncate(handle, whole * row_bytes)
    return whole


def _write_at(handle: int, content: bytes, place: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(handle, view, place)
        view, place = view[written:], place + written


def _checksum(handle: int, size: int) -> str:
    digest = hashlib.sha256()
    for place in range(0, size, READ):
        digest.update(os.pread(handle, min(READ, size - place), place))
    return digest.hexdigest()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Says that the cache cannot be written."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        elsewhere = "name another folder with the environment variable NEGLORA_CACHE"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(folder.parent).free
            raise DataError(
                f"the disk of {folder.parent} is too full for decoded images ({free / 1e9:.2f} GB are free): make "
                f"room, or {elsewhere}"
            ) from error
        raise DataError(f"decoded images cannot be kept in {folder.parent}: {error.strerror}; {elsewhere}") from error
