"""A lock file that says who holds it. The kernel keeps the lock: that of a process that died, however, is free."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.durable import write_all
from study.holders import Holder, LockHeld, said

__all__ = ["LockHeld", "holder", "locked"]

#: What a file system answers that keeps no locks.
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class NoLocks(OSError):
    """A file system that keeps no locks; the message says what to do."""


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock while the block runs. The file stays: removing it would let two processes lock two files.

    Raises:
        LockHeld: somebody else holds it, or moved it away while it was being locked.
        NoLocks: the file's system knows no locks.
        OSError: the file cannot be made or written.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockHeld(said(os.pread(descriptor, 4096, 0))) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            raise NoLocks(
                error.errno,
                f"its file system keeps no locks (flock: {error.strerror}), and without one two runs could write one "
                "study. Mount it with locks (NFS: version 4; Lustre: the option flock), give another folder with "
                "--storage, or a URI such as s3://BUCKET/runs",
            ) from error
        if not _is_at(descriptor, file):
            raise LockHeld("a process that has just moved the study away")
        os.ftruncate(descriptor, 0)
        mine = Holder.mine()
        write_all(
            descriptor,
            json.dumps({"host": mine.host, "pid": mine.pid, "user": mine.user, "since": mine.since}).encode(),
        )
        yield
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, file: Path) -> bool:
    """Whether an open file is still the one of this name: its folder may be renamed by whoever held the lock."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def holder(file: Path) -> str | None:
    """Who holds the lock, in words; None where nobody does, or could: on a file system without locks.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        # A shared lock, for a moment: refused only while somebody holds the other kind.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return said(os.pread(descriptor, 4096, 0))
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    finally:
        os.close(descriptor)
    return None
