"""Several hosts on one machine: network namespaces joined by a switch, whose links can be cut. Needs root and `ip`."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_numbers = itertools.count()


@dataclass(frozen=True)
class Host:
    """A network namespace with a loopback and one link to the switch; files are those of this machine.

    Attributes:
        name: of the namespace.
        address: on the switch's network, such as 10.77.0.1.
        link: of this host at the switch, which `Network.cut` takes down.
    """

    name: str
    address: str
    link: str

    def command(self, *command: str | Path) -> list[str]:
        """The command line that runs `command` in this host."""
        return ["ip", "netns", "exec", self.name, *map(str, command)]

    def run(self, *command: str | Path, timeout: float = 300, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `command` to its end, its output captured as text; options are those of `subprocess.run`."""
        return subprocess.run(self.command(*command), capture_output=True, text=True, timeout=timeout, **options)

    def start(
        self, *command: str | Path, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start `command` in a session of its own; what it prints is appended to `log`."""
        with log.open("ab") as output:
            return subprocess.Popen(
                self.command(*command), env=env, cwd=cwd, stdout=output, stderr=output, start_new_session=True
            )

    def processes(self) -> list[int]:
        """The ids of all processes that run in this host now."""
        return [int(line) for line in _ip("netns", "pids", self.name).split()]

    def stop(self, seconds: float = 10) -> None:
        """End whatever runs in this host: asked first, and killed after so many seconds."""
        _signal(self.processes(), signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        while left := self.processes():
            _signal(left, signal.SIGKILL)
            time.sleep(0.1)


@dataclass(frozen=True)
class Network:
    """Hosts that reach one another through a switch.

    Attributes:
        switch: the namespace of the switch.
        hosts: in the order of their addresses.
    """

    switch: str
    hosts: tuple[Host, ...]

    def cut(self, host: Host) -> None:
        """Take the host's link down: packets are lost in silence, no connection is told. Loopback keeps working."""
        _ip("-n", self.switch, "link", "set", host.link, "down")

    def restore(self, host: Host) -> None:
        """Plug the host in again."""
        _ip("-n", self.switch, "link", "set", host.link, "up")


@contextmanager
def hosts(count: int) -> Iterator[Network]:
    """Make so many hosts and their switch; at the end, end what runs in them and remove them.

    Raises:
        RuntimeError: namespaces cannot be made here; `why_not` says so beforehand.
    """
    stem = f"neglora{os.getpid()}-{next(_numbers)}"
    switch = f"{stem}-switch"
    made = tuple(Host(f"{stem}-{n}", f"10.77.0.{n}", f"v{n}") for n in range(1, count + 1))
    try:
        for name in (switch, *(host.name for host in made)):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", switch, "link", "set", "br0", "up")
        for host in made:
            _ip("-n", switch, "link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            _ip("-n", switch, "link", "set", host.link, "master", "br0", "up")
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", host.name, "link", "set", "eth0", "up")
            # Ray finds its own address through the default route.
            _ip("-n", host.name, "route", "add", "default", "dev", "eth0")
        yield Network(switch, made)
    finally:
        existing = {line.split()[0] for line in _ip("netns", "list").splitlines() if line.strip()}
        for host in made:
            if host.name in existing:
                host.stop()
                _ip("netns", "delete", host.name)
        if switch in existing:
            _ip("netns", "delete", switch)


def why_not() -> str | None:
    """Why namespaces cannot be made here, for `pytest.skip`; None where they can."""
    if shutil.which("ip") is None:
        return "the command `ip` is missing (Debian's package iproute2)"
    probe = f"neglora{os.getpid()}-probe"
    try:
        _ip("netns", "add", probe)
    except RuntimeError as error:
        return f"network namespaces cannot be made here: {error}"
    _ip("netns", "delete", probe)
    return None


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise RuntimeError(f"`ip {' '.join(arguments)}` ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _signal(processes: Sequence[int], number: signal.Signals) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue  # it has ended since it was listed
