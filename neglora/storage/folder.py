"""`file://`: a folder that is treated as an object store, for one that every node reaches and for tests."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from neglora.storage.errors import StorageError
from neglora.storage.uri import parts, shown
from neglora.synced import sync_folder, write_synced

#: Below the root: files that are not whole yet.
_UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class FolderBackend:
    """See `neglora.storage.objects.Backend`. A file is written beside the others and gets its name when it is whole."""

    root: Path

    @classmethod
    def open(cls, uri: str) -> FolderBackend:
        """Open a URI.

        Raises:
            StorageError: it names another host, or has options.
        """
        _, authority, path, options = parts(uri)
        if authority not in ("", "localhost") or not path.strip("/") or options:
            raise StorageError(f"{shown(uri)}: a folder's URI is file:// and an absolute path: file:///shared/runs")
        return cls(Path(unquote(path)))

    def read(self, name: str) -> bytes:
        try:
            return (self.root / name).read_bytes()
        except (NotADirectoryError, IsADirectoryError) as error:
            raise FileNotFoundError(str(error)) from error

    def write(self, name: str, data: bytes) -> None:
        with self._written(name, data) as beside:
            beside.replace(self.root / name)

    def write_new(self, name: str, data: bytes, *, token: str) -> bool:
        with self._written(name, data) as beside:
            try:
                os.link(beside, self.root / name)
            except FileExistsError:
                return False
        return True

    def exists(self, name: str) -> bool:
        return (self.root / name).is_file()

    def names(self, folder: str) -> list[str]:
        found = []
        for place, folders, files in os.walk(self.root / folder, onerror=_raise):
            if Path(place) == self.root and _UNFINISHED in folders:
                folders.remove(_UNFINISHED)
            found += [(Path(place) / file).relative_to(self.root).as_posix() for file in files]
        return found

    def delete(self, name: str) -> None:
        try:
            (self.root / name).unlink(missing_ok=True)
        except (NotADirectoryError, IsADirectoryError):
            return

    @contextmanager
    def _written(self, name: str, data: bytes) -> Iterator[Path]:
        """The content in a whole file beside the others, gone at the end of the block."""
        place = self.root / name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            (self.root / _UNFINISHED).mkdir(exist_ok=True)
            beside = self.root / _UNFINISHED / uuid.uuid4().hex
            try:
                write_synced(beside, data)
                yield beside
            finally:
                beside.unlink(missing_ok=True)
            sync_folder(place.parent)
        except OSError as error:
            # Of the words of a FileNotFoundError nobody would think that something could not be written.
            raise OSError(f"{error.strerror or error}; free space or mend the rights of {self.root}") from error


def _raise(error: OSError) -> None:
    # A folder that is not there, or went while it was read, holds nothing.
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error
