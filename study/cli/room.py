"""Whether there is room on the disks that a run writes to. Looked at before: what fails on a full one is obscure."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from study.cli.common import UserError

#: Bytes below which a run is warned of, and does not start.
ENOUGH, LEAST = 200 * 2**20, 20 * 2**20


@dataclass(frozen=True)
class Disk:
    """A disk that a run writes to.

    Attributes:
        what: is written there, for messages.
        folder: on it; it need not exist yet.
        remedy: what to do where it is full.
    """

    what: str
    folder: Path
    remedy: str


def ray_disk() -> Disk:
    """Where a Ray that is started here keeps its files."""
    base = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or tempfile.gettempdir())
    return Disk("Ray's files", base, "free space there, or name another folder in the environment variable RAY_TMPDIR")


def check_room(*disks: Disk) -> Iterator[str]:
    """Warnings about disks that are nearly full.

    Raises:
        UserError: one is full.
    """
    for disk in disks:
        free = shutil.disk_usage(_existing(disk.folder)).free
        if free < ENOUGH:
            words = f"only {free / 2**20:.0f} MB are free for {disk.what} in {disk.folder}: {disk.remedy}"
            if free < LEAST:
                raise UserError(words)
            yield words


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())
