"""Google Cloud Storage, Azure and whatever else pyarrow's filesystems open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from neglora.storage.errors import StorageError
from neglora.storage.uri import parts, shown

#: Seconds for which Google's client tries again; its own default is a quarter of an hour.
GOOGLE_PATIENCE = 30
KNOWN = (
    "a folder, s3://BUCKET/PATH, gs://BUCKET/PATH, abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH or file:///PATH"
)


@dataclass(frozen=True)
class ArrowBackend:
    """See `neglora.storage.objects.Backend`. These clients try again by themselves."""

    files: Any
    root: str

    @classmethod
    def open(cls, uri: str) -> ArrowBackend:
        """Open a URI.

        Raises:
            StorageError: pyarrow does not.
        """
        from pyarrow.fs import FileSystem
        from pyarrow.lib import ArrowException

        scheme, _, _, options = parts(uri)
        told = uri
        if scheme in ("gs", "gcs") and "retry_limit_seconds" not in options:
            told += f"{'&' if options else '?'}retry_limit_seconds={GOOGLE_PATIENCE}"
        try:
            files, root = FileSystem.from_uri(told)
        except (OSError, ValueError, ImportError, ArrowException) as error:
            why = str(error).replace(told, shown(uri))
            raise StorageError(f"{shown(uri)} cannot be opened: {why}; a storage is {KNOWN}") from error
        return cls(files, root.rstrip("/"))

    def read(self, name: str) -> bytes:
        # Or pyarrow unpacks what is called .gz, here and below.
        with _told(), self.files.open_input_stream(self._path(name), compression=None) as stream:
            data: bytes = stream.read()
            return data

    def write(self, name: str, data: bytes) -> None:
        # The object appears when the stream is closed, also after an error in between: one write is all that is in it.
        with _told(), self.files.open_output_stream(self._path(name), compression=None) as stream:
            stream.write(data)

    def write_new(self, name: str, data: bytes, *, token: str) -> bool:
        if self.exists(name):
            return False
        self.write(name, data)
        return True

    def exists(self, name: str) -> bool:
        from pyarrow.fs import FileType

        with _told():
            return bool(self.files.get_file_info(self._path(name)).type == FileType.File)

    def names(self, folder: str) -> list[str]:
        from pyarrow.fs import FileSelector, FileType

        with _told():
            selector = FileSelector(self._path(folder), allow_not_found=True, recursive=True)
            found = self.files.get_file_info(selector)
        return [info.path[len(self.root) + 1 :] for info in found if info.type == FileType.File]

    def delete(self, name: str) -> None:
        try:
            with _told():
                self.files.delete_file(self._path(name))
        except FileNotFoundError:
            return

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root


@contextmanager
def _told() -> Iterator[None]:
    """Some of pyarrow's errors are no OSError."""
    from pyarrow.lib import ArrowException

    try:
        yield
    except ArrowException as error:
        raise OSError(str(error)) from error
