"""Files that grow, and survive a crash: what is written is whole or can be cut off again."""

from __future__ import annotations

import os
from pathlib import Path


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of `content` at the end of an open file, or raise.

    A disk that is getting full takes a part without an error, and refuses the rest with one.
    """
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def cut(descriptor: int, size: int) -> None:
    """Drop whatever an open file holds beyond `size` bytes."""
    if os.fstat(descriptor).st_size > size:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)


def save_new(file: Path, content: bytes) -> int:
    """Write a file that does not exist yet, and sync it; nothing is left of it where that fails.

    Returns:
        Its descriptor, open for appending.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    except OSError:
        os.close(descriptor)
        file.unlink()
        raise
    return descriptor
