"""A file lock that one process holds while others wait. The kernel gives it back when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Hold the lock while the block runs, waiting for whoever holds it.

    The file stays: removing it would let two processes lock two files.

    Args:
        file: made, with its folder, if it is missing.

    Raises:
        OSError: it cannot be made, or its file system knows no locks.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
