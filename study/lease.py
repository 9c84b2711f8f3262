"""A lock on storage that has none: an object that its holder rewrites again and again for as long as it lives.

The object counts beats. Whoever finds it taken watches it: a count that moves is a holder that lives, one that stands
still for long is a dead one's. Every process measures with its own clock; times of two machines are never compared.

A dead holder's lease is claimed by an object that is named after it, which one of several claimants can make, and only
then replaced. A claimant that dies in between leaves its claim, which is watched and claimed in the same way. Claims
stay until a holder gives the lease back: a dead one that was merely stopped, and wakes to write its beat over the new
holder's, is told by the claim that it has lost, and everybody else where it leads.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import select
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from neglora.storage import ObjectStorage, StorageError
from study.holders import Holder, LockHeld, said

logger = logging.getLogger(__name__)

#: Told, in words, what is waited for.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Timing:
    """Seconds of a lease. All processes that may meet on one lease use the same.

    Attributes:
        beat: between two beats of the holder.
        patience: for which a count stands still before its holder is taken for dead; many beats, so that storage that
            cannot be reached for a while costs nobody the lease.
        look: between two looks of whoever waits.
    """

    beat: float = 5.0
    patience: float = 40.0
    look: float = 2.0


TIMING = Timing()
#: Bytes of a lease's object.
_SIZE = 1024


class LeaseLost(Exception):
    """The lease is another's now; the message says whose."""


class Lease:
    """A lease that this process holds; `leased` makes it."""

    def __init__(self, storage: ObjectStorage, name: str, timing: Timing) -> None:
        self._storage, self._name, self._timing = storage, name, timing
        self._holder = Holder.mine().as_dict()
        self.nonce = uuid.uuid4().hex
        self._count = 0
        self._beaten = _now()
        self._lost: str | None = None
        self._beating = threading.Lock()

    @property
    def content(self) -> bytes:
        """What the lease's object holds at this beat."""
        # All of one size: some clients ask for the size first and then for so many bytes, of a newer object maybe.
        return json.dumps(self._holder | {"nonce": self.nonce, "beat": self._count}).encode().ljust(_SIZE)

    def verify(self, *, now: bool = False) -> None:
        """Look whether the lease is still this process's.

        Args:
            now: ask the storage, also where a recent beat found it so.

        Raises:
            LeaseLost: another process has taken it.
            StorageError: the storage does not tell, and the last beat is so long ago that it may be so.
        """
        if now or self._was_away:
            self._beat()
        if self._lost:
            raise LeaseLost(self._lost)

    def start(self) -> None:
        """Beat from now on, in a thread."""
        self._beaten = _now()
        self._ends = os.pipe()
        self._thread = threading.Thread(target=self._beat_on, name=f"lease of {self._name}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop beating, and give the lease back unless it is lost."""
        os.write(self._ends[1], b"end")
        self._thread.join()
        for end in self._ends:
            os.close(end)
        try:
            found = None if self._lost else _current(self._storage, self._name)
            if found is not None and _nonce(found) == self.nonce:
                self._storage.delete(self._name)
                for claim in _claims(self._storage, self._name):
                    self._storage.delete(claim)
        except StorageError as error:
            logger.warning(
                "the study's lock could not be given back; the next run waits %g s: %s", self._timing.patience, error
            )

    @property
    def _was_away(self) -> bool:
        """Whether this process was stopped, or cut off, for so long that it may be another's victim by now."""
        return _now() - self._beaten > self._timing.patience / 2

    def _beat_on(self) -> None:
        # Waiting on a descriptor takes a span of time. threading's waits take a point of a clock, and so wait for hours
        # where something between Python and the kernel shifts the clocks. And `select` knows no descriptor above 1023.
        end = select.poll()
        end.register(self._ends[0], select.POLLIN)
        while not end.poll(1000 * self._timing.beat) and not self._lost:
            try:
                self._beat()
            except StorageError as error:
                # Others wait for many beats: there will be a better one.
                logger.info("the study's lock could not be renewed, and is tried again: %s", error)

    def _beat(self) -> None:
        with self._beating:
            if self._lost:
                return
            found = _current(self._storage, self._name)
            if found is None and self._was_away:
                # Another one may have had it, and what this process knows of the study is then old.
                self._lost = "a process that has given it back since"
                return
            if found is None:
                # Whoever removed it may be about to take it: one of the two makes it.
                self._storage.write_new(self._name, self.content)
                found = _current(self._storage, self._name)
            if found is None:
                raise StorageError(f"{self._storage.title}/{self._name} is removed again and again")
            if _nonce(found) is None:
                # Half of one that is being replaced, or damaged: an answer worth asking for twice.
                found = _current(self._storage, self._name) or found
            if _nonce(found) != self.nonce:
                self._lost = said(found)
                return
            self._count += 1
            _write(self._storage, self._name, self.content)
            self._beaten = _now()


@contextmanager
def leased(
    storage: ObjectStorage, name: str, *, say: Say | None = None, timing: Timing | None = None
) -> Iterator[Lease]:
    """Hold a lease while the block runs.

    Args:
        storage, name: where its object is.
        say: told when this waits to see whether a holder lives.
        timing: of all processes that may meet here.

    Raises:
        LockHeld: another process holds it, or has just taken it over from a dead one.
        StorageError: the storage cannot be read or written.
    """
    timing = timing or TIMING
    lease = Lease(storage, name, timing)
    _acquire(lease, storage, name, say or logger.info, timing)
    lease.start()
    try:
        yield lease
    finally:
        lease.end()


def lease_holder(storage: ObjectStorage, name: str, timing: Timing | None = None) -> str | None:
    """Who holds a lease, in words, after a look of up to three beats at whether it lives; None where nobody does.

    Raises:
        StorageError: the storage cannot be read.
    """
    timing, seen = timing or TIMING, _current(storage, name)
    if seen is None:
        return None
    held = Holder.read(seen)
    if held and held.has_ended:
        return None
    looks = 3 * math.ceil(timing.beat / timing.look)
    for _ in range(looks):
        time.sleep(timing.look)
        now = _current(storage, name)
        if now != seen:
            return None if now is None else said(now)
    return f"{said(seen)}, of which nothing was heard for {looks * timing.look:g} s"


def _acquire(lease: Lease, storage: ObjectStorage, name: str, say: Say, timing: Timing) -> None:
    while True:
        if storage.write_new(name, lease.content):
            return
        seen = _current(storage, name)
        if seen is None:
            # Given back between the two looks; or a store that answers so while two write.
            time.sleep(timing.look / 10)
            continue
        if _nonce(seen) == lease.nonce:
            # Written, and only the answer was lost.
            return
        _outlive(storage, name, seen, say, timing)
        if _take_over(lease, storage, name, seen):
            return


def _outlive(storage: ObjectStorage, name: str, seen: bytes, say: Say, timing: Timing) -> None:
    """Return once the holder is dead or gone.

    Raises:
        LockHeld: it lives, or another process was faster.
    """
    holder = Holder.read(seen)
    if holder and holder.has_ended:
        say(f"{holder.words} has ended without giving the study back: taking over")
        return
    say(f"waiting up to {timing.patience:g} s to see whether {said(seen)} is still alive")
    # Counted as well as timed: a clock that jumps does not make a wait of it.
    started, looks = time.monotonic(), 0
    while looks < timing.patience / timing.look or time.monotonic() - started < timing.patience:
        time.sleep(timing.look)
        looks += 1
        now = _current(storage, name)
        if now is None:
            return
        if now != seen:
            raise LockHeld(said(now))
    say(f"no sign of life of {said(seen)}: taking over")


def _take_over(lease: Lease, storage: ObjectStorage, name: str, seen: bytes) -> bool:
    """Make a dead holder's lease one's own; False where it has changed hands meanwhile."""
    claim = _claim(name, seen)
    storage.write_new(claim, lease.content)
    # Also an old claim that leads nowhere any more may have been made now: what counts is where the lease itself leads.
    current = _current(storage, name)
    if current is None or _nonce(current) != lease.nonce:
        made = _read(storage, claim)
        if made is not None and _nonce(made) == lease.nonce:
            storage.delete(claim)
        return False
    _write(storage, name, lease.content)
    return True


def _current(storage: ObjectStorage, name: str) -> bytes | None:
    """The lease, or the last of the claims that lead from it; None where nobody has it."""
    content, met = _read(storage, name), set[str]()
    while content is not None and (claim := _claim(name, content)) not in met:
        met.add(claim)
        further = _read(storage, claim)
        if further is None:
            break
        content = further
    return content


def _claims(storage: ObjectStorage, name: str) -> list[str]:
    folder = name.rpartition("/")[0]
    return [found for found in storage.names(folder) if found.startswith(f"{name}.") and "/" not in found[len(name) :]]


def _claim(name: str, content: bytes) -> str:
    """The name of the object that claims a lease of this content, the same at every beat."""
    nonce = _nonce(content)
    # Hashed, since the content may be anybody's.
    return f"{name}.{hashlib.sha256(content if nonce is None else nonce.encode()).hexdigest()[:24]}"


def _nonce(content: bytes) -> str | None:
    try:
        nonce = json.loads(content)["nonce"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return nonce if isinstance(nonce, str) else None


def _read(storage: ObjectStorage, name: str) -> bytes | None:
    try:
        return storage.read(name)
    except FileNotFoundError:
        return None


def _write(storage: ObjectStorage, name: str, content: bytes) -> None:
    try:
        storage.write(name, content)
    except FileNotFoundError as error:
        raise StorageError(f"{storage.title}/{name} cannot be written: {error}") from error


def _now() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
