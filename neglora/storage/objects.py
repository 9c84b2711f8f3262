"""Objects by name below a URI such as `s3://bucket/runs`.

An object store knows neither append nor rename. What is written here is one whole object at a time, built before it is
sent: readers see the old one, the new one or none. Studies and artifacts are laid out so that this is enough.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from neglora.storage.errors import StorageError, Transient
from neglora.storage.uri import parts, refuse_secrets, shown

logger = logging.getLogger(__name__)

#: Seconds for which what may pass is tried again: a storage that has answered before, and one that never has, which is
#: more likely misspelt than away. An attempt that is under way is not cut short.
PATIENCE = 60.0
FIRST_PATIENCE = 8.0
#: Seconds between the first two attempts, doubled up to the last.
PAUSES = (0.25, 8.0)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_T = TypeVar("_T")


class Backend(Protocol):
    """One kind of store. Names are those of `ObjectStorage`, checked.

    Raises:
        FileNotFoundError: `read` of what is not there.
        Transient: what may pass.
        OSError: anything else, in words that say what to do.
    """

    def read(self, name: str) -> bytes: ...

    def write(self, name: str, data: bytes) -> None: ...

    def write_new(self, name: str, data: bytes, *, token: str) -> bool:
        """As `ObjectStorage.write_new`. An object that an earlier attempt with this token wrote is one's own."""
        ...

    def exists(self, name: str) -> bool: ...

    def names(self, folder: str) -> list[str]: ...

    def delete(self, name: str) -> None: ...


class ObjectStorage:
    """Whole objects by name below a URI. Names are relative, with `/` between their parts. Threads may share it.

    What may pass is tried again for a while, so that neither a busy store nor a line that is cut for half a minute ends
    a study.

    Args:
        uri: `s3://`, `gs://`, `abfs://`, `file://` or another that pyarrow opens, with options in its query
            (`?scheme=http&endpoint_override=HOST:PORT&region=NAME`). Credentials come from the environment, as each
            store's own tools take them.
        patience: seconds for which a storage that has answered before is tried again.

    Raises:
        StorageError: nothing opens such a URI, or there are credentials in it.
    """

    def __init__(self, uri: str, *, patience: float = PATIENCE) -> None:
        self.uri = uri
        self.title = shown(uri).rstrip("/")
        self.patience = patience
        self._answered = False
        self._backend = _open(uri)

    def read(self, name: str) -> bytes:
        """The object of this name.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it cannot be read.
        """
        _check(name)
        return self._try("read", name, lambda: self._backend.read(name))

    def write(self, name: str, data: bytes) -> None:
        """Write a whole object in place of what was there.

        Raises:
            StorageError: it cannot be written; what was there stays, unless only the answer was lost.
        """
        _check(name)
        self._try("written", name, lambda: self._backend.write(name, data))

    def write_new(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one of this name. False where there is.

        On S3 and in folders one of several writers wins, however close they are. Elsewhere pyarrow has no such write,
        and the look and the write are two steps.

        Raises:
            StorageError: it cannot be written, or nobody can tell whether it was.
        """
        _check(name)
        token = f"{random.SystemRandom().getrandbits(128):032x}"
        return self._try("written", name, lambda: self._backend.write_new(name, data, token=token))

    def exists(self, name: str) -> bool:
        """Whether there is an object of this name.

        Raises:
            StorageError: nobody can tell.
        """
        _check(name)
        return self._try("read", name, lambda: self._backend.exists(name))

    def names(self, folder: str = "") -> list[str]:
        """Names of all objects below a folder, however deep, sorted; empty where there is none.

        Objects that others gave names which no file can safely have (`..`, control characters) are left out.

        Raises:
            StorageError: they cannot be listed.
        """
        if folder:
            _check(folder)
        found = self._try("listed", folder or ".", lambda: self._backend.names(folder))
        strange = [name for name in found if not is_name(name)]
        if strange:
            logger.warning("%s: %d objects with unsafe names are passed over", self.title, len(strange))
        return sorted(name for name in found if is_name(name))

    def delete(self, name: str) -> None:
        """Remove an object, if it is there.

        Raises:
            StorageError: it cannot be removed.
        """
        _check(name)
        self._try("removed", name, lambda: self._backend.delete(name))

    def check_writable(self) -> None:
        """Find out now, rather than after an hour of work, whether objects can be written, and one writer wins.

        Raises:
            StorageError: they cannot, or the store overwrites what it is told to leave.
        """
        name = f".probe-{random.SystemRandom().getrandbits(64):016x}"
        data = b"neglora was here to see whether it can write\n"
        self.write_new(name, data)
        again = self.write_new(name, data)
        self.delete(name)
        if again:
            raise StorageError(
                f"{self.title}: this store ignores conditional writes (If-None-Match), without which two writers do "
                "not see each other: use a newer version of it, or another storage"
            )

    def _try(self, done: str, name: str, attempt: Callable[[], _T]) -> _T:
        """The one place where anything is tried again. Every operation may be repeated without harm."""
        started, pause = time.monotonic(), PAUSES[0]
        while True:
            try:
                result = attempt()
            except FileNotFoundError as error:
                self._answered = True
                if done == "read":
                    raise
                raise StorageError(f"{self.title}/{name} cannot be {done}: {_one_line(error)}") from error
            except Transient as error:
                self._answered |= error.answered
                limit = self.patience if self._answered else min(self.patience, FIRST_PATIENCE)
                if time.monotonic() - started + pause > limit:
                    raise StorageError(f"{self.title}/{name} cannot be {done}: {_one_line(error)}") from error
                logger.info("%s: trying again: %s", self.title, _one_line(error))
                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, PAUSES[1])
            except OSError as error:
                raise StorageError(f"{self.title}/{name} cannot be {done}: {_one_line(error)}") from error
            else:
                self._answered = True
                return result


def is_name(name: str) -> bool:
    """Whether an object may have this name: it then stays below any folder that it is copied to."""
    safe = all(part not in ("", ".", "..") for part in name.split("/"))
    return safe and "\\" not in name and not _CONTROL.search(name)


def _check(name: str) -> None:
    if not is_name(name):
        raise ValueError(f"{name!r} is no name of an object: parts joined by '/', none of them empty, '.' or '..'")


def _open(uri: str) -> Backend:
    refuse_secrets(uri)
    scheme = parts(uri)[0]
    # Each where it is needed: their libraries take their time.
    if scheme == "file":
        from neglora.storage.folder import FolderBackend

        return FolderBackend.open(uri)
    if scheme == "s3":
        from neglora.storage.s3 import S3Backend

        return S3Backend.open(uri)
    from neglora.storage.arrow import ArrowBackend

    return ArrowBackend.open(uri)


def _one_line(error: Any) -> str:
    return " ".join(str(error).split())
