"""Who may use a device: usually all at once, and one alone after it ran out of memory.

Two locked files stand for a device, a door and a room behind it. Whoever works is in the room, together with others,
and passes the door in an instant. Whoever must be alone shuts the door, so that no more come in, waits until those
inside have left, and opens it when it is done. Nobody waits at the door while in the room, so that two who want to be
alone wait for each other in turn and not for ever. The kernel gives back what a process held when it dies.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

logger = logging.getLogger(__name__)

#: What lets go of memory that a process keeps on the device only to be quick.
Release = Callable[[], None]


class Turns:
    """The turns at one device, among the processes of one user on one machine. Close it when done.

    Where the two files cannot be made or locked, nobody waits for anybody, which is logged: that is no reason to fail.

    Args:
        device: the device.
        folder: where its two files are; one of the user's own in the folder for temporary files if None.
    """

    def __init__(self, device: torch.device, folder: Path | None = None) -> None:
        self.name = device_key(device)
        self._files: list[int] = []
        try:
            place = folder or _own_folder()
            for part in ("door", "room"):
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                self._files.append(os.open(place / f"{self.name}.{part}", flags, 0o600))
                # Fails where the file system knows no locks.
                fcntl.flock(self._files[-1], fcntl.LOCK_UN)
        except OSError as error:
            self.close()
            logger.warning("trials cannot take turns at %s, and run side by side in any case: %s", self.name, error)

    def close(self) -> None:
        """Give back what is held."""
        while self._files:
            os.close(self._files.pop())

    @contextmanager
    def together(self, release: Release) -> Iterator[None]:
        """Work beside others, once nobody is alone on the device.

        Args:
            release: called where somebody wants to be alone, before this waits and when it leaves.
        """
        if not self._files:
            yield
            return
        door, room = self._files
        if not _try(door, fcntl.LOCK_SH):
            logger.info("another trial runs alone on %s: waiting for it", self.name)
            release()
            fcntl.flock(door, fcntl.LOCK_SH)
        fcntl.flock(room, fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            if not _try(door, fcntl.LOCK_SH):
                release()
            fcntl.flock(door, fcntl.LOCK_UN)
            fcntl.flock(room, fcntl.LOCK_UN)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Work while nobody else does. Not within `together`."""
        if not self._files:
            yield
            return
        door, room = self._files
        fcntl.flock(door, fcntl.LOCK_EX)
        try:
            fcntl.flock(room, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)
            fcntl.flock(door, fcntl.LOCK_UN)


def device_key(device: torch.device) -> str:
    """`cpu`, or the GPU's UUID, which is the same in every process whatever number it has there."""
    return f"gpu-{torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else "cpu"


def _own_folder() -> Path:
    """A folder below that for temporary files which nobody else can write.

    Raises:
        PermissionError: somebody else made it.
    """
    folder = Path(tempfile.gettempdir()) / f"neglora-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{folder} is not a folder of this user alone: remove it, or set TMPDIR to another place")
    return folder


def _try(handle: int, kind: int) -> bool:
    """Lock at once or not at all."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
