"""What can go wrong on a cluster, done on purpose: two Ray nodes in network namespaces, a driver, ways to hurt them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.namespaces import Network, hosts

PORT = 6379
#: Ray's own settings, so that a node that is cut off counts as dead after seconds instead of a minute.
QUICK = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "1000",
}
#: And how soon a node ends itself that no longer finds the head. Not for drivers: they have an end of their own.
NODES = {"RAY_gcs_rpc_server_reconnect_timeout_s": "10"}
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "OMP_NUM_THREADS": "1",
    "CI": "1",
    "COLUMNS": "200",
}
#: Debian's `faketime`, for the clock that jumps.
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
HEAD, OTHER = 0, 1


class Machines:
    """Two hosts with a Ray node each, and the driver on the first.

    Args:
        net: the hosts.
        folder: of logs and files; on the disk.
        storage: of the study.
        clock_jumps: whether `set_clock` works. It takes libfaketime in every process, which lets timed waits of Ray's
            own processes last too long once the clock was moved.
    """

    def __init__(self, net: Network, folder: Path, storage: Path, clock_jumps: bool) -> None:
        self.net, self.folder, self.storage = net, folder, storage
        self.clock = folder / "clock"
        self.set_clock("+0")
        self._clock_environment = _jumping_clock(folder, self.clock) if clock_jumps else {}
        self._log = folder / "driver.log"
        self._from = 0
        self._driver: subprocess.Popen[bytes] | None = None
        self._command: list[str] = []
        self._nodes: dict[int, subprocess.Popen[bytes]] = {}

    @classmethod
    @contextmanager
    def up(cls, folder: Path, storage: Path, clock_jumps: bool) -> Iterator[Machines]:
        with hosts(2) as net:
            machines = cls(net, folder, storage, clock_jumps)
            try:
                machines.start_node(HEAD)
                machines.start_node(OTHER)
                yield machines
            finally:
                for host in (HEAD, OTHER):
                    machines.kill_host(host)
                shutil.rmtree(_ray_folder(HEAD), ignore_errors=True)
                shutil.rmtree(_ray_folder(OTHER), ignore_errors=True)

    # Starting

    def start_node(self, host: int) -> None:
        """Start a Ray node and wait until it is part of the cluster."""
        where = self.net.address(host)
        role = (
            ["--head", f"--port={PORT}", "--include-dashboard=true", "--dashboard-host=127.0.0.1"]
            if host == HEAD
            else [f"--address={self.address}"]
        )
        sizes = ["--num-cpus=1", "--memory=3000000000", "--object-store-memory=100000000"]
        temp = _ray_folder(host)
        command = [
            _script("ray"),
            "start",
            "--block",
            f"--node-ip-address={where}",
            f"--temp-dir={temp}",
            *role,
            *sizes,
        ]
        if host != HEAD:
            command.remove(f"--temp-dir={temp}")
        log = (self.folder / f"node{host}.log").open("ab")
        self._nodes[host] = self.net.popen(
            host, command, env=self._environment() | NODES, stdout=log, stderr=log, start_new_session=True
        )
        alive = 2 if host == OTHER else 1
        self._until(lambda: self._alive() >= alive, 90, f"node {host} did not start")

    def start_driver(self, space: Path) -> None:
        """Run the study, or go on with it."""
        self._command = [
            _script("neglora"),
            "run",
            str(space),
            f"--storage={self.storage}",
            f"--address={self.address}",
        ]
        with self._log.open("ab") as log:
            self._driver = self.net.popen(
                HEAD,
                self._command,
                env=self._environment(),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def mend(self, space: Path) -> None:
        """What a user would do: start the nodes that are gone, free the disk, run the same command again."""
        self.release_storage()
        if not self._is_up(HEAD):
            # The driver notices, and says so. Nodes of a cluster that lost its head are of no use any more.
            deadline = time.monotonic() + 60
            while not self.driver_ended() and time.monotonic() < deadline:
                time.sleep(0.3)
            self.kill_host(OTHER)
            self.kill_host(HEAD)
            self.start_node(HEAD)
        if not self._is_up(OTHER):
            self.kill_host(OTHER)
            self.start_node(OTHER)
        if self.driver_ended() and not self.finished():
            self.start_driver(space)

    # Looking

    @property
    def address(self) -> str:
        return f"{self.net.address(HEAD)}:{PORT}"

    def driver_ended(self) -> bool:
        return self._driver is None or self._driver.poll() is not None

    def finished(self) -> bool:
        return self._driver is not None and self._driver.poll() == 0

    def end_driver(self) -> int | None:
        """Its exit code, once it has written the report."""
        if self._driver is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            self._driver.wait(timeout=120)
        return self._driver.poll()

    def driver_output(self) -> str:
        return self._log.read_bytes()[self._from :].decode(errors="replace") if self._log.exists() else ""

    def forget_output(self) -> None:
        self._from = self._log.stat().st_size if self._log.exists() else 0

    def told(self) -> list[str]:
        """What the user saw since `forget_output`, without the lines of trials that went as they should."""
        usual = re.compile(
            r"^\s*(\[\d+/\d+|Study |Ray dashboard|Base models|[Pp]reparation|Everything|\S+ is ready)|: ready$|^$"
        )
        return [line.strip() for line in self.driver_output().splitlines() if not usual.search(line)]

    # Hurting

    def kill_driver(self) -> None:
        assert self._driver is not None
        with suppress(ProcessLookupError):
            os.killpg(self._driver.pid, signal.SIGKILL)
        self._driver.wait()

    def kill_process(self, host: int, pattern: str) -> None:
        """SIGKILL one process of a host whose command line matches."""
        self._until(lambda: bool(self._matching(host, pattern)), 60, f"host {host} runs no {pattern}")
        os.kill(self._matching(host, pattern)[0], signal.SIGKILL)

    def kill_host(self, host: int) -> None:
        """SIGKILL everything on a host, as when its power is cut."""
        for _ in range(3):
            for pid in self.net.pids(host):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
        node = self._nodes.pop(host, None)
        if node:
            node.wait()

    def set_clock(self, shift: str) -> None:
        """Shift the clock of every process that looks at the file, such as by `+2h`."""
        self.clock.write_text(shift + "\n")

    def fill_storage(self) -> None:
        with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**16))
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(b"x")

    def release_storage(self) -> None:
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.storage / ".ballast"

    def _environment(self) -> dict[str, str]:
        return os.environ | ENVIRONMENT | QUICK | self._clock_environment

    def _matching(self, host: int, pattern: str) -> list[int]:
        return [pid for pid in self.net.pids(host) if re.search(pattern, _command_line(pid))]

    def _is_up(self, host: int) -> bool:
        server = r"gcs_server" if host == HEAD else r"raylet/raylet"
        node = self._nodes.get(host)
        return node is not None and node.poll() is None and bool(self._matching(host, server))

    def _alive(self) -> int:
        code = (
            "import json, sys; from ray.util.state import list_nodes\n"
            "from ray._raylet import GcsClient\n"
            f"print(sum(n.state == 0 for n in GcsClient(address='{self.address}').get_all_node_info().values()))"
        )
        done = self.net.run(HEAD, [sys.executable, "-c", code], env=self._environment(), capture_output=True, text=True)
        return int(done.stdout.strip() or 0) if done.returncode == 0 else 0

    def _until(self, holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(otherwise)
            time.sleep(0.3)


def _jumping_clock(folder: Path, clock: Path) -> dict[str, str]:
    """The environment in which programs take the time of day from a file, and leave steady clocks alone."""
    library = folder / "steady_sleep.so"
    source = Path(__file__).with_name("steady_sleep.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return {
        "LD_PRELOAD": f"{library}:{FAKETIME}",
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _ray_folder(host: int) -> Path:
    return Path(f"/tmp/soak{host}")  # noqa: S108


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _cut_for(seconds: float | None) -> Callable[[Machines], None]:
    def cut(machines: Machines) -> None:
        machines.net.cut(OTHER)
        time.sleep(seconds or 45.0)
        machines.net.restore(OTHER)
        if seconds is None:
            # Nobody waits for it: another machine takes its place.
            machines.kill_host(OTHER)

    return cut


def _full(machines: Machines) -> None:
    machines.fill_storage()
    deadline = time.monotonic() + 60
    while not machines.driver_ended() and time.monotonic() < deadline:
        time.sleep(0.3)


def _jump(shift: str) -> Callable[[Machines], None]:
    def jump(machines: Machines) -> None:
        machines.set_clock(shift)
        time.sleep(10)

    return jump


#: Workers of trials, by the title of their process.
WORKER = r"^ray::(neglora |TrialWorker|prepare)"

FAULTS: dict[str, Callable[[Machines], None]] = {
    "kill -9 of the driver": Machines.kill_driver,
    "kill -9 of a worker": lambda machines: machines.kill_process(OTHER, WORKER),
    "kill -9 of a raylet": lambda machines: machines.kill_process(OTHER, r"raylet/raylet"),
    "kill -9 of the head": lambda machines: machines.kill_process(HEAD, r"gcs_server"),
    "power cut of a node": lambda machines: machines.kill_host(OTHER),
    "storage full": _full,
    "network cut for 30 s": _cut_for(30.0),
    "network cut for ever": _cut_for(None),
    "clock 2 h ahead": _jump("+2h"),
    "clock a day back": _jump("-1d"),
}
