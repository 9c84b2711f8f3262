"""Who holds a lock: what a holder writes of itself, how people are told, and whether it is a process that has ended."""

from __future__ import annotations

import getpass
import json
import os
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

#: The longest text of a lock that is shown: it may have been written by anybody.
_LONGEST = 100


class LockHeld(Exception):
    """Another process (or another place in this one) holds the lock; the message names it."""


@dataclass(frozen=True)
class Holder:
    """A process as a lock names it.

    Attributes:
        host, pid, user: where it runs, its number there, for whom.
        since: when it took the lock, in UTC by its own clock: for people, never compared.
        machine: the boot and the space of process numbers in which `pid` means something; None where unknown.
        started: when the process started, in ticks since that boot; tells it from a later one of the same number.
    """

    host: str
    pid: int
    user: str
    since: str
    machine: str | None = None
    started: int | None = None

    @classmethod
    def mine(cls) -> Holder:
        """This process."""
        try:
            user = getpass.getuser()
        except (OSError, KeyError):  # A container may run under a number without a name.
            user = str(os.getuid())
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), user, since, _machine(), _started(os.getpid()))

    @classmethod
    def read(cls, content: bytes) -> Holder | None:
        """The holder that a lock's content names; None where it is not whole, or something else."""
        try:
            held = json.loads(content)
            return cls(
                _plain(held["host"]),
                int(held["pid"]),
                _plain(held["user"]),
                _plain(held["since"]),
                held.get("machine"),
                held.get("started"),
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def words(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host}, since {self.since}"

    @property
    def has_ended(self) -> bool:
        """Whether it surely runs no more: a process of this machine and boot that is not there. Else nobody knows."""
        if self.machine is None or self.machine != _machine() or not 0 < self.pid < 2**31:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # It is another user's, and there.
        now = _started(self.pid)
        return now is not None and self.started is not None and now != self.started


def said(content: bytes) -> str:
    """Who holds a lock of this content, in words."""
    holder = Holder.read(content)
    return holder.words if holder else "a process that has just started"


def _plain(text: object) -> str:
    """A text of a lock without what moves a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))[:_LONGEST]


def _machine() -> str | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Containers of one machine share its boot, and each has numbers of its own.
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _started(pid: int) -> int | None:
    """Ticks from the boot to the start of a process; None where nobody tells. A zombie has ended: 0."""
    try:
        # Behind the name, which may hold anything: state is the first field, the start the twentieth.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return 0 if fields[0] in "ZX" else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None
