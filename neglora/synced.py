"""Files that are whole or absent, also after a power cut."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_synced(path: Path, data: bytes | memoryview) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_synced(path: Path, data: bytes) -> None:
    """Write a file beside its place and rename it there: readers see the old one or the new one, never a part."""
    # A name of its own: two processes may write one file at the same time.
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.writing")
    try:
        write_synced(beside, data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)
