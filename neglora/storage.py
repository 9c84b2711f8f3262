"""Storage on a URI: objects under one root that an object store keeps, such as `s3://bucket/runs`.

An object store knows neither append nor rename. What is written here is one whole object at a time, built before it is
sent: readers see the old one, the new one or none. Studies and artifacts are laid out so that this is enough.

Folders need none of this; see `is_uri`.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit

from neglora.synced import replace_synced, sync_folder, write_synced

#: Where this machine keeps copies of what it has read from URIs.
CACHE = "NEGLORA_CACHE"
_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


class StorageError(RuntimeError):
    """Storage that cannot be opened, read or written; the message says where, why, and what to do."""


def is_uri(text: str) -> bool:
    """Whether a storage is a URI rather than a folder."""
    return bool(_URI.match(text))


def shown(uri: str) -> str:
    """A URI as people may see it in a terminal or a log: without user, password and query."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def cache_folder(uri: str) -> Path:
    """The folder of this machine that mirrors a URI: below `NEGLORA_CACHE`, or the user's cache."""
    own = os.environ.get(CACHE)
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neglora"
    digest = hashlib.sha256(shown(uri).rstrip("/").encode()).hexdigest()[:16]
    return base.expanduser().absolute() / digest


class ObjectStorage:
    """Whole objects by name below a URI. Names are relative, with `/` between their parts.

    Args:
        uri: that pyarrow opens: `s3://`, `gs://`, `abfs://`, `file://`, with its options in the query
            (`?scheme=http&endpoint_override=HOST:PORT`). Credentials come from the environment, as each store's own
            tools take them.

    Raises:
        StorageError: nothing opens such a URI.
    """

    def __init__(self, uri: str) -> None:
        from pyarrow.fs import FileSystem

        self.uri = uri
        self.title = shown(uri)
        try:
            self._files, self._root = FileSystem.from_uri(uri)
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.title}: no storage can be opened here: {error}") from error
        self._root = self._root.rstrip("/")
        self._client: Any = None

    def read(self, name: str) -> bytes:
        """The object of this name.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it cannot be read.
        """
        with self._told("read", name), self._files.open_input_stream(self._path(name)) as stream:
            data: bytes = stream.read()
            return data

    def write(self, name: str, data: bytes) -> None:
        """Write a whole object in place of what was there.

        Raises:
            StorageError: it cannot be written; what was there stays.
        """
        path = self._path(name)
        with self._told("written", name):
            if self._is_local:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                replace_synced(Path(path), data)
                return
            # The object appears when the stream is closed, also after an error in between: nothing but the write is in it.
            with self._files.open_output_stream(path) as stream:
                stream.write(data)

    def write_new(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one of this name. False where there is.

        On S3 and in folders one of several writers wins, however close they are. Elsewhere pyarrow has no such write,
        and the look and the write are two steps.

        Raises:
            StorageError: it cannot be written.
        """
        path = self._path(name)
        with self._told("written", name):
            if self._is_local:
                return _link_new(Path(path), data)
            if self._files.type_name == "s3":
                return self._put_new(path, data)
            if self.exists(name):
                return False
        self.write(name, data)
        return True

    def exists(self, name: str) -> bool:
        """Whether there is an object of this name.

        Raises:
            StorageError: nobody can tell.
        """
        from pyarrow.fs import FileType

        with self._told("read", name):
            return bool(self._files.get_file_info(self._path(name)).type == FileType.File)

    def names(self, folder: str = "") -> list[str]:
        """Names of all objects below a folder, however deep, sorted; empty where there is none.

        Raises:
            StorageError: they cannot be listed.
        """
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(self._path(folder) if folder else self._root, allow_not_found=True, recursive=True)
        with self._told("listed", folder or "."):
            found = self._files.get_file_info(selector)
        start = len(self._root) + 1
        return sorted(info.path[start:] for info in found if info.type == FileType.File)

    def delete(self, name: str) -> None:
        """Remove an object, if it is there.

        Raises:
            StorageError: it cannot be removed.
        """
        with suppress(FileNotFoundError), self._told("removed", name):
            self._files.delete_file(self._path(name))

    @property
    def _is_local(self) -> bool:
        return bool(self._files.type_name == "local")

    def _path(self, name: str) -> str:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name:
            raise ValueError(f"{name!r} is no name of an object")
        return f"{self._root}/{'/'.join(parts)}"

    @contextmanager
    def _told(self, done: str, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StorageError(f"{self.title}/{name} cannot be {done}: {_reason(error)}") from error

    def _put_new(self, path: str, data: bytes) -> bool:
        """S3's own write of what is not there: pyarrow's client has none."""
        import botocore.exceptions

        bucket, _, key = path.partition("/")
        try:
            self._s3().put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
        except botocore.exceptions.ClientError as error:
            # 412: it is there; 409: another writer is at it.
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                return False
            raise OSError(str(error)) from error
        except botocore.exceptions.BotoCoreError as error:
            raise OSError(str(error)) from error
        return True

    def _s3(self) -> Any:
        if self._client is None:
            import boto3

            query = {name: values[-1] for name, values in parse_qs(urlsplit(self.uri).query).items()}
            endpoint = query.get("endpoint_override")
            if endpoint and "://" not in endpoint:
                endpoint = f"{query.get('scheme', 'https')}://{endpoint}"
            self._client = boto3.client("s3", endpoint_url=endpoint, region_name=query.get("region"))
        return self._client


def _link_new(path: Path, data: bytes) -> bool:
    """A file that is whole when it appears, made by one of several writers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write_synced(beside, data)
        os.link(beside, path)
    except FileExistsError:
        return False
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def _reason(error: OSError) -> str:
    return " ".join(str(error).split())
