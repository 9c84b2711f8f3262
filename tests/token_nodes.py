"""A cluster of two nodes on this machine that asks for a token: two raylets, each with ports of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

#: Ports from here on; a cluster takes 500.
FIRST_PORT = 22500
#: A short path: Ray's sockets lie below it, and their names are limited.
RAY_FOLDER = Path("/tmp/ray5")
START_SECONDS = 120.0


@dataclass(frozen=True)
class Nodes:
    """Two nodes that are up.

    Attributes:
        server: the address of the job server.
        address: that of the cluster.
        token_file: of the token that it asks for.
        environment: of who may talk to it.
    """

    server: str
    address: str
    token_file: Path
    environment: dict[str, str]


@contextmanager
def two_nodes(folder: Path) -> Iterator[Nodes]:
    """Start both, wait until they know each other, and end them with all that they started."""
    token_file = folder / "token"
    token_file.write_text(secrets.token_hex(32))
    token_file.chmod(0o600)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "OMP_NUM_THREADS": "1",
        # What a job's `python` is.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    address = f"{_own_address()}:{FIRST_PORT}"
    head = [
        "--head",
        f"--port={FIRST_PORT}",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={FIRST_PORT + 1}",
        f"--ray-client-server-port={FIRST_PORT + 2}",
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        with (folder / "nodes.log").open("ab") as log:
            for number, role in enumerate((head, [f"--address={address}"])):
                command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *role, *_ports(number)]
                started.append(
                    subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
                )
                _wait_for(FIRST_PORT + 10 + 100 * number, folder / "nodes.log")
        yield Nodes(f"http://127.0.0.1:{FIRST_PORT + 1}", address, token_file, environment)
    finally:
        for node in started:
            _end(node)
        shutil.rmtree(RAY_FOLDER, ignore_errors=True)


def _ports(number: int) -> list[str]:
    first = FIRST_PORT + 10 + 100 * number
    return [
        f"--dashboard-agent-listen-port={first}",
        f"--dashboard-agent-grpc-port={first + 1}",
        f"--metrics-export-port={first + 2}",
        f"--runtime-env-agent-port={first + 3}",
        f"--node-manager-port={first + 4}",
        f"--object-manager-port={first + 5}",
        f"--min-worker-port={first + 10}",
        f"--max-worker-port={first + 80}",
        # Nodes that share one would throw away the files of each other's jobs.
        f"--temp-dir={RAY_FOLDER / str(number)}",
        "--num-cpus=1",
        "--memory=2000000000",
        "--object-store-memory=100000000",
    ]


def _own_address() -> str:
    """That Ray takes for this machine's: the one from which others are reached."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("10.255.255.255", 1))
        return str(probe.getsockname()[0])
    return "127.0.0.1"


def _wait_for(port: int, log: Path) -> None:
    """Until something listens at a port of this machine."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((_own_address(), port), timeout=1):
            return
        time.sleep(0.3)
    raise TimeoutError(f"nothing listens at port {port}:\n{log.read_text()[-2000:]}")


def _end(node: subprocess.Popen[bytes]) -> None:
    """Ask the whole group to go, and kill what is left of it."""
    with suppress(ProcessLookupError):
        os.killpg(node.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        node.wait(timeout=15)
    with suppress(ProcessLookupError):
        os.killpg(node.pid, signal.SIGKILL)
    node.wait()
