"""Where a study lives: a folder, or a URI, of which this machine keeps a working copy.

Everything that reads or writes tables, reports and adapters does so in `folder`. On a URI `fetch` brings the study's
objects there and `publish` takes them back; the ledger alone is written straight to the storage.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from neglora.record import Record
from neglora.storage import CACHE, ObjectStorage, StorageError, cache_folder, is_name, is_uri, shown
from neglora.synced import replace_synced
from study.aside import AT_ONCE, MARK, SPACE, finish_move, move_objects
from study.lease import Say, lease_holder
from study.ledger import LEDGER, LOCK, Ledger, LedgerWriter, content_of, read_ledger
from study.lock import holder
from study.segments import SEGMENTS, SegmentLedger, read_segments, study_leased

__all__ = ["LEDGER", "SPACE", "Place"]


@dataclass(frozen=True)
class Place:
    """One study's place.

    Attributes:
        storage: an absolute folder or a URI.
        name: the study's.
    """

    storage: str
    name: str

    @classmethod
    def of(cls, text: str) -> Place:
        """From what people write: `runs/quickstart` or `s3://bucket/runs/quickstart`.

        Raises:
            ValueError: a URI without a study's name.
        """
        if not is_uri(text):
            folder = Path(text).expanduser().resolve()
            return cls(str(folder.parent), folder.name)
        place, mark, options = text.partition("?")
        start, _, rest = place.partition("://")
        parent, slash, name = rest.rstrip("/").rpartition("/")
        if not slash or not parent.strip("/") or not is_name(name):
            raise ValueError(f"{shown(text)} names no study: give one's URI, such as s3://bucket/runs/quickstart")
        return cls(f"{start}://{parent}{mark}{options}", name)

    @property
    def is_remote(self) -> bool:
        return is_uri(self.storage)

    @cached_property
    def folder(self) -> Path:
        """Where its files are read and written on this machine."""
        return (cache_folder(self.storage) if self.is_remote else Path(self.storage)) / self.name

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{shown(self.storage).rstrip('/')}/{self.name}" if self.is_remote else str(self.folder)

    @cached_property
    def objects(self) -> ObjectStorage:
        """The storage of a place on a URI.

        Raises:
            StorageError: nothing opens it.
        """
        return ObjectStorage(self.storage)

    @contextmanager
    def open_ledger(self, say: Say | None = None) -> Iterator[LedgerWriter]:
        """Lock the study and hand over the one writer of its ledger (see `Ledger.open` and `SegmentLedger.open`).

        Args:
            say: told when this waits to see whether whoever holds the study lives.

        Raises:
            LedgerLocked: another process holds it.
            LedgerError: the place cannot be written, or the ledger cannot be read.
            StorageError: the storage cannot be opened, or an earlier `set_aside` not be finished.
        """
        if not self.is_remote:
            with Ledger.open(self.folder) as ledger:
                yield ledger
            return
        with SegmentLedger.open(
            self.objects, self.name, say=say, first=lambda: finish_move(self.objects, self.name)
        ) as segments:
            yield segments

    def read_ledger(self) -> list[Record]:
        """Every record, without a lock.

        Raises:
            LedgerError: it cannot be read.
        """
        if self.is_remote:
            return [line.record for line in read_segments(self.objects, self.name)]
        return read_ledger(self.folder / LEDGER)

    def holder(self) -> str | None:
        """Who writes the study now, in words; None where nobody does. On a URI this looks for some seconds.

        Raises:
            StorageError, OSError: nobody can tell.
        """
        if self.is_remote:
            return lease_holder(self.objects, f"{self.name}/{LOCK}")
        return holder(self.folder / LOCK)

    def fetch(self, names: Sequence[str] | None = None, *, into: Path | None = None) -> None:
        """Bring objects of the study to `folder`, over what is there. In a folder there is nothing to do.

        Args:
            names: which; all if None. `ledger.jsonl` is made from what the ledger consists of. What the storage lacks
                is removed from the folder as well: an old copy never counts.
            into: another folder than `folder`.

        Raises:
            LedgerError: the ledger cannot be read.
            StorageError: the storage cannot be read, the copy not be written, or a name leads out of the folder.
        """
        if not self.is_remote:
            return
        folder = into or self.folder
        wanted = [*self._names(), LEDGER] if names is None else names
        files = [(name, _within(folder, name, self.title)) for name in dict.fromkeys(wanted)]

        def bring(one: tuple[str, Path]) -> None:
            name, file = one
            try:
                data = self._ledger() if name == LEDGER else self.objects.read(f"{self.name}/{name}")
            except FileNotFoundError:
                file.unlink(missing_ok=True)
                return
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_synced(file, data)

        self._each(bring, files, folder)

    def publish(self, names: Sequence[str] | None = None) -> None:
        """Take files of `folder` to the storage; all of them if None. In a folder there is nothing to do.

        Raises:
            StorageError: a file cannot be read, or the storage cannot be written.
        """
        if not self.is_remote:
            return
        files = self._files() if names is None else [(name, self.folder / name) for name in names]

        def take(one: tuple[str, Path]) -> None:
            name, file = one
            self.objects.write(f"{self.name}/{name}", file.read_bytes())

        self._each(take, files, self.folder)

    def published(self, folder: str) -> list[str]:
        """Names of the study's objects below a folder; on a URI only."""
        return [name[len(self.name) + 1 :] for name in self.objects.names(f"{self.name}/{folder}")]

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects of the study from the storage; on a URI only.

        Raises:
            StorageError: one cannot be removed.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.objects.delete, [f"{self.name}/{name}" for name in names]))

    def clear(self) -> None:
        """Forget the working copy of a URI; what was not published is lost. In a folder there is nothing to do.

        Raises:
            StorageError: it cannot be removed.
        """
        if not self.is_remote:
            return
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unusable(self.folder, error) from error

    def set_aside(self, say: Say | None = None) -> Place | None:
        """Give an earlier study of this name a dated one. On a URI a crash in between is mended by the next run.

        Returns:
            Its place now; None where there was no study.

        Raises:
            LedgerLocked: somebody runs it.
            LedgerError, StorageError: it cannot be moved.
            OSError: its folder cannot be renamed.
        """
        target = f"{self.name}.{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
        if self.is_remote:
            with study_leased(self.objects, self.name, say=say):
                before = finish_move(self.objects, self.name)
                moved = move_objects(self.objects, self.name, target)
                self.clear()
            name = target if moved else before
            return Place(self.storage, name) if name else None
        if not self.folder.exists():
            return None
        # Whoever runs this study now holds the lock: it is not moved from under them.
        with Ledger.open(self.folder):
            self.folder.rename(self.folder.with_name(target))
        return Place(self.storage, target)

    def _ledger(self) -> bytes:
        return content_of(read_segments(self.objects, self.name))

    def _names(self) -> list[str]:
        """Of all objects that are files of a study's folder: neither the ledger's, nor the lock and its like."""
        names = [name[len(self.name) + 1 :] for name in self.objects.names(self.name)]
        return [name for name in names if not name.startswith((f"{SEGMENTS}/", LOCK)) and name not in (MARK, LEDGER)]

    def _files(self) -> list[tuple[str, Path]]:
        files = [file for file in self.folder.rglob("*") if file.is_file() and file.name != LOCK]
        named = [(file.relative_to(self.folder).as_posix(), file) for file in sorted(files)]
        return [(name, file) for name, file in named if not _is_unfinished(name)]

    def _each(self, do: Callable[[tuple[str, Path]], None], files: list[tuple[str, Path]], folder: Path) -> None:
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(do, files))
        except OSError as error:
            raise self._unusable(folder, error) from error

    def _unusable(self, folder: Path, error: OSError) -> StorageError:
        return StorageError(
            f"{self.title}: the working copy in {folder} cannot be used: {error.strerror or error}. Free space, or "
            f"name another folder in the environment variable {CACHE}"
        )


def _within(folder: Path, name: str, title: str) -> Path:
    """The file of an object's name, which may be anybody's.

    Raises:
        StorageError: it lies outside the folder.
    """
    file = folder / name
    if not is_name(name) or not file.resolve().is_relative_to(folder.resolve()):
        raise StorageError(f"{title}: an object is named {name!r}, which leads out of {folder}: remove it")
    return file


def _is_unfinished(name: str) -> bool:
    """Whether a file is still being written, or a program's own."""
    return name.endswith(".writing") or any(part.startswith(".") for part in name.split("/"))
