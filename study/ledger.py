"""The append-only truth of a study: `ledger.jsonl`, one record a line, one writer at a time.

A line counts once it is on the disk with its newline. Whatever a crash or a full disk leaves behind it is cut off, and
everything before it is never touched again.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from neglora.record import Record, RecordError
from neglora.synced import sync_folder
from study.compact import compact
from study.durable import cut, save_new, write_all
from study.lock import LockHeld, NoLocks, locked

LEDGER = "ledger.jsonl"
LOCK = "ledger.lock"


class LedgerError(ValueError):
    """A ledger that cannot be read or written; the message says where, why, and what to do."""


class LedgerLocked(LedgerError):
    """Another process writes this ledger; the message says which, and since when."""


def read_ledger(path: Path) -> list[Record]:
    """Read every record of a study, in the order in which they were written.

    A torn last line, which a crash leaves, is left out. The file is not changed, and may be being written.

    Args:
        path: `ledger.jsonl` or the study's directory; a file that is not there holds no records.

    Raises:
        LedgerError: the file cannot be read, or a line is not a record of this project or of a newer schema.
    """
    file = path / LEDGER if path.is_dir() else path
    return [compact(line.record) for line in each_line(healed(_read(file)), file)]


class LedgerWriter(Protocol):
    """The one writer of a study's ledger, wherever that is: `Ledger` in a folder, `SegmentLedger` on a URI."""

    @property
    def records(self) -> tuple[Record, ...]:
        """Every record that the ledger holds, in the order in which they were written."""
        ...

    def append(self, record: Record) -> None:
        """Write one record and wait until it is safe.

        Raises:
            LedgerError: it is not written, or perhaps not, and this writer should stop.
        """
        ...

    def set_failed_aside(self) -> list[Record]:
        """Take the records of status `failed` out of the ledger, keep them elsewhere, and return them.

        Raises:
            LedgerError: the storage cannot be written; no record is lost.
        """
        ...


class Ledger:
    """The one writer of a study's ledger in a folder; `Ledger.open` makes it."""

    def __init__(self, file: Path, descriptor: int, lines: list[Line]) -> None:
        self._file = file
        self._descriptor = descriptor
        self._keep(lines)

    @classmethod
    @contextmanager
    def open(cls, study_dir: Path) -> Iterator[Ledger]:
        """Lock the study's ledger, heal a torn last line, and hand over the writer.

        The lock is the kernel's: that of a process that died, however it died, is free.

        Raises:
            LedgerLocked: another process holds it.
            LedgerError: the directory cannot be written, or the ledger cannot be read.
        """
        file = study_dir / LEDGER
        with ExitStack() as stack:
            try:
                if not study_dir.exists():
                    study_dir.mkdir(parents=True, exist_ok=True)
                    sync_folder(study_dir.parent)
                stack.enter_context(locked(study_dir / LOCK))
                lines = parse_lines(healed(_read(file)), file)
                ledger = cls(file, _open_healed(file, lines), lines)
            except LockHeld as error:
                raise LedgerLocked(
                    f"{study_dir}: another neglora writes this study: {error}. Wait for it or stop it, then run the "
                    "same command again"
                ) from error
            except NoLocks as error:
                raise LedgerError(f"{study_dir}: the study cannot be written here: {error.strerror}") from error
            except OSError as error:
                raise _unwritable(study_dir, error) from error
            stack.callback(lambda: os.close(ledger._descriptor))
            yield ledger

    @property
    def records(self) -> tuple[Record, ...]:
        """Every record that the ledger holds, in the order in which they were written."""
        return tuple(self._records)

    def append(self, record: Record) -> None:
        """Write one record and wait until it is on the disk.

        Raises:
            LedgerError: the trial already has a line of this fidelity, or the line could not be written; then the
                ledger is as it was before.
        """
        if line_key(record) in self._keys:
            raise LedgerError(f"{self._file}: trial {record.trial} already has a line of fidelity {record.fidelity!r}")
        text = record.to_line().encode() + b"\n"
        try:
            # Whatever an earlier append that failed could not take back.
            cut(self._descriptor, self._acknowledged)
            write_all(self._descriptor, text)
            os.fsync(self._descriptor)
            size = os.fstat(self._descriptor).st_size
            if size != self._acknowledged + len(text):
                raise OSError(errno.EIO, f"the file has {size} bytes, not {self._acknowledged + len(text)}")
        except OSError as error:
            # The line is given up either way; if this fails too, the next append or the next start cuts it off.
            with suppress(OSError):
                cut(self._descriptor, self._acknowledged)
            raise LedgerError(
                f"{self._file}: the record of {record.trial} could not be written: {error.strerror}. {_remedy(error)} "
                f"and run the same command again; the {len(self._records)} records before it are safe"
            ) from error
        self._acknowledged += len(text)
        self._keys.add(line_key(record))
        self._records.append(compact(record))

    def set_failed_aside(self) -> list[Record]:
        """Move the lines of status `failed` to a dated file beside the ledger, so that their trials run again.

        The ledger is replaced in one step once they are saved: a crash leaves the old one or the new one.

        Returns:
            The records set aside; empty where nothing failed, and then no file is made.

        Raises:
            LedgerError: the storage cannot be written; no record is lost.
        """
        if all(record.status != "failed" for record in self._records):
            return []
        lines = parse_lines(_read(self._file)[: self._acknowledged], self._file)
        failed = [line for line in lines if line.record.status == "failed"]
        kept = [line for line in lines if line.record.status != "failed"]
        fresh = self._file.with_name(LEDGER + ".new")
        try:
            os.close(save_new(_unused(self._file), content_of(failed)))
            sync_folder(self._file.parent)
            fresh.unlink(missing_ok=True)
            descriptor = save_new(fresh, content_of(kept))
            try:
                os.replace(fresh, self._file)
            except OSError:
                os.close(descriptor)
                raise
            # From here on the old descriptor belongs to a file without a name.
            os.close(self._descriptor)
            self._descriptor = descriptor
            self._keep(kept)
            sync_folder(self._file.parent)
        except OSError as error:
            raise _unwritable(self._file.parent, error) from error
        return [line.record for line in failed]

    def _keep(self, lines: list[Line]) -> None:
        self._records = [compact(line.record) for line in lines]
        self._keys = {line_key(line.record) for line in lines}
        #: Bytes that are known to be on the disk.
        self._acknowledged = len(content_of(lines))


@dataclass(frozen=True)
class Line:
    """A record and its bytes with the newline: a line that is kept stays as it was written."""

    text: bytes
    record: Record


def content_of(lines: list[Line]) -> bytes:
    return b"".join(line.text for line in lines)


def line_key(record: Record) -> tuple[str, str]:
    return record.trial, record.fidelity


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise LedgerError(f"{file}: cannot be read: {error.strerror or error}") from error


def healed(content: bytes) -> bytes:
    """A ledger's bytes without a torn last line; a whole last line that lacks only its newline gets one."""
    whole, newline, last = content.rpartition(b"\n")
    return content + b"\n" if _is_json(last) else whole + newline


def parse_lines(content: bytes, where: object) -> list[Line]:
    """Every line of a ledger's content; see `each_line`."""
    return list(each_line(content, where))


def each_line(content: bytes, where: object) -> Iterator[Line]:
    """The lines of a ledger's content, one after the other.

    Args:
        content: whole lines.
        where: it was read, for messages: a file, or an object's name.

    Raises:
        LedgerError: a line is torn, not a record of this project, of a newer schema, or the trial's second one.
    """
    places: dict[tuple[str, str], int] = {}
    start = 0
    for place in itertools.count(1):
        if start >= len(content):
            return
        end = content.find(b"\n", start)
        text = content[start : end if end >= 0 else None]
        start += len(text) + 1
        try:
            record = Record.from_line(text.decode())
        except (RecordError, UnicodeDecodeError) as error:
            raise LedgerError(f"{where}:{place}: {error}") from error
        first = places.setdefault(line_key(record), place)
        if first != place:
            raise LedgerError(
                f"{where}:{place}: trial {record.trial} of fidelity {record.fidelity!r} stands on line {first} already"
            )
        yield Line(text + b"\n", record)


def _is_json(text: bytes) -> bool:
    # No part of an object is an object: a torn record never passes.
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _open_healed(file: Path, lines: list[Line]) -> int:
    """Open the ledger for appending, made to hold exactly `lines`, which its content begins with."""
    is_new = not file.exists()
    descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        expected = len(content_of(lines))
        if os.fstat(descriptor).st_size == expected - 1:
            write_all(descriptor, b"\n")
            os.fsync(descriptor)
        cut(descriptor, expected)
        if is_new:
            sync_folder(file.parent)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _unused(file: Path) -> Path:
    """A dated name beside the ledger that no file has."""
    stem = f"ledger.failed-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    names = (f"{stem}{suffix}.jsonl" for suffix in ("", *(f"-{number}" for number in range(2, 1000))))
    return next(path for path in map(file.with_name, names) if not path.exists())


def _unwritable(study_dir: Path, error: OSError) -> LedgerError:
    return LedgerError(
        f"{study_dir}: the study cannot be written here: {error.strerror}. {_remedy(error)} and run the same command "
        "again; nothing that was recorded is lost"
    )


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free space on this disk"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return "Make the directory writable or choose another with --storage"
    return "Mend the storage or choose another with --storage"
