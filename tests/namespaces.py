"""Several hosts on one machine: network namespaces joined by a switch, whose links can be cut. Needs root and `ip`."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_numbers = itertools.count()


@dataclass(frozen=True)
class Network:
    """Hosts, numbered from 0, that reach one another through a switch; files and processes are those of this machine.

    Attributes:
        switch: the namespace of the switch.
        names: the namespaces of the hosts.
    """

    switch: str
    names: tuple[str, ...]

    def address(self, host: int) -> str:
        """On the switch's network, such as 10.77.0.1."""
        return f"10.77.0.{host + 1}"

    def command(self, host: int, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` in the host."""
        return ["ip", "netns", "exec", self.names[host], *command]

    def run(self, host: int, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """`subprocess.run` in the host."""
        return subprocess.run(self.command(host, command), **options)

    def popen(self, host: int, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """`subprocess.Popen` in the host."""
        return subprocess.Popen(self.command(host, command), **options)

    def pids(self, host: int) -> list[int]:
        """The ids of all processes that run in the host now."""
        return [int(line) for line in _ip("netns", "pids", self.names[host]).split()]

    def stop(self, host: int, seconds: float = 10) -> None:
        """End whatever runs in the host: asked first, and killed after so many seconds."""
        _signal(self.pids(host), signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while self.pids(host) and time.monotonic() < deadline:
            time.sleep(0.1)
        while left := self.pids(host):
            _signal(left, signal.SIGKILL)
            time.sleep(0.1)

    def cut(self, host: int) -> None:
        """Take the host's link down: packets are lost in silence, no connection is told. Loopback keeps working."""
        _ip("-n", self.switch, "link", "set", _link(host), "down")

    def restore(self, host: int) -> None:
        """Plug the host in again."""
        _ip("-n", self.switch, "link", "set", _link(host), "up")


@contextmanager
def hosts(count: int) -> Iterator[Network]:
    """Make so many hosts and their switch; at the end, end what runs in them and remove them.

    Raises:
        RuntimeError: namespaces cannot be made here; `why_not` says so beforehand.
    """
    stem = f"neglora{os.getpid()}-{next(_numbers)}"
    network = Network(f"{stem}-switch", tuple(f"{stem}-{host}" for host in range(count)))
    made = []
    try:
        for name in (network.switch, *network.names):
            _ip("netns", "add", name)
            made.append(name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", network.switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", network.switch, "link", "set", "br0", "up")
        for host, name in enumerate(network.names):
            link, switch = _link(host), network.switch
            _ip("-n", switch, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("-n", switch, "link", "set", link, "master", "br0", "up")
            _ip("-n", name, "addr", "add", f"{network.address(host)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            # Programs that ask for their own address look at the default route.
            _ip("-n", name, "route", "add", "default", "dev", "eth0")
        yield network
    finally:
        for host, name in enumerate(network.names):
            if name in made:
                network.stop(host)
        for name in made:
            _ip("netns", "delete", name)


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


def _link(host: int) -> str:
    return f"v{host}"


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
