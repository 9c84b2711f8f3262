"""A ledger of immutable objects, for storage that cannot append.

In the study's folder `ledger/`, `00000042.jsonl` is what append number 42 wrote, and `00000256.base.jsonl` everything
up to number 256, which supersedes the objects of these numbers. An object is written only where there is none of its
name, so that two writers never write one number; `study.lease` sees to it that there is one writer. A base has the
number of an object that its writer wrote (an empty one where it holds no record), which fences off others as well.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from neglora.record import Record
from neglora.storage import ObjectStorage, StorageError
from study.compact import compact
from study.holders import LockHeld
from study.lease import Lease, LeaseLost, Say, Timing, leased
from study.ledger import LOCK, LedgerError, LedgerLocked, Line, content_of, line_key, parse_lines

logger = logging.getLogger(__name__)

#: The folder within a study's.
SEGMENTS = "ledger"
#: Appends after which they are put together into one object.
EVERY = 256
#: Requests at once.
AT_ONCE = 16
#: Seconds for which a request of the lease is tried again: a beat that is late is worth less than the next one.
LEASE_PATIENCE = 10.0
#: Looks at a ledger that is changed while it is read.
LOOKS = 8

_NAME = re.compile(rf"{SEGMENTS}/(\d{{8,18}})(\.base)?\.jsonl")


@dataclass(frozen=True)
class Segments:
    """The objects of a ledger.

    Attributes:
        base: the number of the newest base; 0 where there is none.
        last: the highest number.
        current: names of what holds the records, in order.
        superseded: names of what the base has made needless.
    """

    base: int
    last: int
    current: tuple[str, ...]
    superseded: tuple[str, ...]


def read_segments(storage: ObjectStorage, study: str) -> list[Line]:
    """Every line of a study's ledger, which may be being written.

    Args:
        storage: of the studies.
        study: the study's name.

    Raises:
        LedgerError: it cannot be read, an object is missing, or a line is not a record of this project.
    """
    return _read(storage, study)[1]


@contextmanager
def study_leased(
    storage: ObjectStorage, study: str, *, say: Say | None = None, timing: Timing | None = None
) -> Iterator[Lease]:
    """Lock a study while the block runs; see `SegmentLedger.open`.

    Raises:
        LedgerLocked: another process holds it.
        LedgerError: the storage cannot be written.
    """
    title = f"{storage.title}/{study}"
    with ExitStack() as stack:
        try:
            own = ObjectStorage(storage.uri, patience=LEASE_PATIENCE)
            lease = stack.enter_context(leased(own, f"{study}/{LOCK}", say=say, timing=timing))
        except LockHeld as error:
            raise LedgerLocked(
                f"{title}: another neglora writes this study: {error}. Wait for it or stop it, then run the same "
                "command again"
            ) from error
        except StorageError as error:
            raise _unwritable(title, error) from error
        yield lease


class SegmentLedger:
    """The one writer of a study's ledger on a URI; `SegmentLedger.open` makes it."""

    def __init__(self, storage: ObjectStorage, study: str, lease: Lease) -> None:
        self._storage, self._study, self._lease = storage, study, lease
        found, self._lines = _read(storage, study)
        self._last = found.last
        self._keys = {line_key(line.record) for line in self._lines}
        #: Of records that another writer slipped in: their trials are recorded, and the first record counts.
        self._adopted: set[tuple[str, str]] = set()
        self._compact_at = found.base + EVERY

    @classmethod
    @contextmanager
    def open(
        cls,
        storage: ObjectStorage,
        study: str,
        *,
        say: Say | None = None,
        first: Callable[[], object] | None = None,
        timing: Timing | None = None,
    ) -> Iterator[SegmentLedger]:
        """Lock the study by a lease and hand over the writer.

        Args:
            storage, study: where it is.
            say: told when this waits to see whether whoever holds the lease lives.
            first: done once the study is locked, before its ledger is read.
            timing: of the lease.

        Raises:
            LedgerLocked: another process holds it.
            LedgerError: the storage cannot be written, or the ledger cannot be read.
        """
        with study_leased(storage, study, say=say, timing=timing) as lease:
            if first:
                first()
            ledger = cls(storage, study, lease)
            ledger._sweep()
            yield ledger

    @property
    def records(self) -> tuple[Record, ...]:
        """Every record that the ledger holds, in the order in which they were written."""
        return tuple(line.record for line in self._lines)

    def append(self, record: Record) -> None:
        """Write one record as an object of its own and wait until it is there.

        Raises:
            LedgerError: the trial already has a line of this fidelity; another process has taken the study over; or
                the object could not be written, or nobody could tell whether it was.
        """
        if line_key(record) in self._adopted:
            logger.warning("%s was recorded by another process as well; that record counts", record.trial)
            return
        if line_key(record) in self._keys:
            raise LedgerError(f"{self._title}: trial {record.trial} already has a line of fidelity {record.fidelity!r}")
        line = Line(record.to_line().encode() + b"\n", record)
        try:
            self._write_next(line)
        except StorageError as error:
            raise LedgerError(
                f"{self._title}: the record of {record.trial} could not be written: {error}. Mend the storage and run "
                f"the same command again; the {len(self._lines)} records before it are safe"
            ) from error
        if self._last >= self._compact_at:
            self._compact()

    def set_failed_aside(self) -> list[Record]:
        """Move the lines of status `failed` to a dated object beside the ledger, so that their trials run again.

        A base without them supersedes the ledger in one step once they are saved: a crash leaves the old or the new.

        Returns:
            The records set aside; empty where nothing failed, and then nothing is written.

        Raises:
            LedgerError: the storage cannot be written; no record is lost.
        """
        if all(record.status != "failed" for record in self.records):
            return []
        try:
            # From here on no other writer's record comes between what is read and what supersedes it.
            self._write_next(None)
            failed = [line for line in self._lines if line.record.status == "failed"]
            kept = [line for line in self._lines if line.record.status != "failed"]
            self._save_aside(content_of(failed))
            self._write_base(content_of(kept))
        except StorageError as error:
            raise _unwritable(self._title, error) from error
        self._lines = kept
        self._keys = {line_key(line.record) for line in kept}
        self._adopted &= self._keys
        self._sweep()
        return [line.record for line in failed]

    @property
    def _title(self) -> str:
        return f"{self._storage.title}/{self._study}"

    def _keep(self, line: Line) -> None:
        self._keys.add(line_key(line.record))
        self._lines.append(Line(line.text, compact(line.record)))

    def _write_next(self, line: Line | None) -> None:
        """Write an object under the next number that is free; an empty one without a line.

        Raises:
            LedgerError: the lease is lost.
            StorageError: it could not be written.
        """
        text = line.text if line else b""
        try:
            self._lease.verify()
            while not self._is_written(segment_name(self._last + 1), text):
                # Somebody else wrote it: a process that lost the lease without knowing, or this one's victim.
                self._lease.verify(now=True)
                self._adopt()
                if line and line_key(line.record) in self._keys:
                    return
            # Where that took long, another's base may have superseded it unread.
            self._lease.verify()
        except LeaseLost as error:
            raise LedgerError(
                f"{self._title}: another neglora has taken this study over: {error}. It had seen no sign of life of "
                f"this one, which has stopped writing. The {len(self._lines)} records before are safe, and the other "
                "goes on with them"
            ) from error
        self._last += 1
        if line:
            self._keep(line)

    def _is_written(self, name: str, text: bytes) -> bool:
        path = f"{self._study}/{name}"
        if self._storage.write_new(path, text):
            return True
        try:
            # Where only the answer to an earlier try was lost, it is there. No two writers write the same record.
            return bool(text) and self._storage.read(path) == text
        except FileNotFoundError as error:
            raise StorageError(f"{self._storage.title}/{path} is written by another, and absent") from error

    def _adopt(self) -> None:
        """Take up what another writer wrote under the next number."""
        name = segment_name(self._last + 1)
        try:
            content = self._storage.read(f"{self._study}/{name}")
        except FileNotFoundError:
            return
        for line in parse_lines(content, f"{self._title}/{name}"):
            if line_key(line.record) not in self._keys:
                logger.warning("%s: another process recorded %s, which is kept", self._title, line.record.trial)
                self._adopted.add(line_key(line.record))
                self._keep(line)
        self._last += 1

    def _compact(self) -> None:
        """Put the ledger together into one object. Where that fails it stays as it is, and is tried again later."""
        try:
            self._write_base(content_of(self._lines))
        except StorageError as error:
            self._compact_at = self._last + EVERY // 4
            logger.warning("%s: the ledger was not put together, which can wait: %s", self._title, error)
        else:
            self._sweep()

    def _write_base(self, content: bytes) -> None:
        name = f"{self._study}/{segment_name(self._last, is_base=True)}"
        if not self._storage.write_new(name, content) and _content(self._storage, name) != content:
            raise StorageError(f"{self._storage.title}/{name} is there already and holds other records")
        self._compact_at = self._last + EVERY

    def _sweep(self) -> None:
        """Remove what the base has made needless. What cannot be removed is harmless and stays until the next time."""
        try:
            found = _list(self._storage, self._study)
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(self._storage.delete, [f"{self._study}/{name}" for name in found.superseded]))
        except StorageError as error:
            logger.info("%s: old objects of the ledger were not removed: %s", self._title, error)

    def _save_aside(self, content: bytes) -> None:
        stem = f"{self._study}/ledger.failed-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        for suffix in ("", *(f"-{number}" for number in range(2, 100))):
            if self._storage.write_new(f"{stem}{suffix}.jsonl", content):
                return
        raise StorageError(f"{stem}.jsonl and a hundred like it are there already")


def segment_name(number: int, *, is_base: bool = False) -> str:
    """The name of an object of the ledger, within the study."""
    return f"{SEGMENTS}/{number:08d}{'.base' if is_base else ''}.jsonl"


def _read(storage: ObjectStorage, study: str) -> tuple[Segments, list[Line]]:
    """The objects of a ledger and their lines, in order. While it is put together, names go: then it is read again."""
    title = f"{storage.title}/{study}"
    missing = ""
    for look in range(LOOKS):
        time.sleep(0.1 * look)
        try:
            found = _list(storage, study)
            missing = _gap(found)
            if missing:
                continue
            with ThreadPoolExecutor(AT_ONCE) as pool:
                contents = list(pool.map(lambda name: _content(storage, f"{study}/{name}"), found.current))
        except StorageError as error:
            raise LedgerError(f"{title}: the ledger cannot be read: {error}") from error
        absent = [name for name, content in zip(found.current, contents, strict=True) if content is None]
        if not absent:
            return found, _lines(title, found.current, [content for content in contents if content is not None])
        missing = absent[0]
    raise LedgerError(
        f"{title}/{missing} is missing: somebody removed a part of the ledger. Restore the object (buckets with "
        "versions keep it), or set the study aside with --fresh"
    )


def _list(storage: ObjectStorage, study: str) -> Segments:
    start = len(study) + 1
    found = [match for name in storage.names(f"{study}/{SEGMENTS}") if (match := _NAME.fullmatch(name[start:]))]
    bases = {int(match[1]): match[0] for match in found if match[2]}
    singles = {int(match[1]): match[0] for match in found if not match[2]}
    base = max(bases, default=0)
    current = [bases[base]] if bases else []
    current += [singles[number] for number in sorted(singles) if number > base]
    superseded = [name for number, name in bases.items() if number < base]
    superseded += [name for number, name in singles.items() if number <= base]
    return Segments(base, max([base, *singles]), tuple(current), tuple(superseded))


def _gap(found: Segments) -> str:
    """The first name that should be there and is not; empty where all are."""
    names = found.current[1:] if found.base else found.current
    expected = (segment_name(number) for number in range(found.base + 1, found.base + 1 + len(names)))
    return next((want for want, name in zip(expected, names, strict=True) if want != name), "")


def _content(storage: ObjectStorage, name: str) -> bytes | None:
    try:
        return storage.read(name)
    except FileNotFoundError:
        return None


def _lines(title: str, names: Sequence[str], contents: Sequence[bytes]) -> list[Line]:
    lines: dict[tuple[str, str], Line] = {}
    for name, content in zip(names, contents, strict=True):
        for line in parse_lines(content, f"{title}/{name}"):
            # A second one is that of a writer that had lost the lease without knowing.
            lines.setdefault(line_key(line.record), line)
    return list(lines.values())


def _unwritable(title: str, error: StorageError) -> LedgerError:
    return LedgerError(
        f"{title}: the study cannot be written here: {error}. Mend the storage or choose another with --storage, and "
        "run the same command again; nothing that was recorded is lost"
    )
