"""A lock file that says who holds it. The kernel keeps the lock: that of a process that died, however, is free."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from study.durable import write_all


class LockHeld(Exception):
    """Another process (or another place in this one) holds the lock; the message names it."""


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock while the block runs. The file stays: removing it would let two processes lock two files.

    Raises:
        LockHeld: somebody else holds it.
        OSError: the file cannot be made or written, or its file system knows no locks.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockHeld(_holder(descriptor)) from error
        os.ftruncate(descriptor, 0)
        write_all(descriptor, json.dumps(_myself()).encode())
        yield
    finally:
        os.close(descriptor)


def holder(file: Path) -> str | None:
    """Who holds the lock, in words; None where nobody does."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        # A shared lock, for a moment: refused only while somebody holds the other kind.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    finally:
        os.close(descriptor)
    return None


def _myself() -> dict[str, str | int]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # A container may run under a number without a name.
        user = str(os.getuid())
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "user": user, "since": since}


def _holder(descriptor: int) -> str:
    try:
        held = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {held['pid']} of {held['user']} on {held['host']}, since {held['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has just started"
