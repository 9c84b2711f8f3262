"""`deploy/machines/start.sh` on two hosts with addresses of their own: a head, a worker, a study over both."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from study.ledger import read_ledger
from tests.namespaces import Network, hosts, why_not

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
START = str(ROOT / "deploy" / "machines" / "start.sh")
SIZES = ("--", "--num-cpus=1", "--memory=2000000000")
HEAD, WORKER = 0, 1
SPACE = {
    "study": "tiny",
    "datasets": ["digits"],
    "models": ["tinyvit_nano"],
    "replicates": {"forget": [3], "seeds": [0]},
    "search": {"sampler": "tpe", "trials": 3, "seed": 0, "batch": 3},
    "training": {"epochs": 1},
    "methods": {"neggrad": {"lr": {"log": [1e-5, 1e-3]}}},
}


@pytest.fixture
def network() -> Iterator[Network]:
    if reason := why_not():
        pytest.skip(reason)
    with hosts(2) as made:
        yield made


class Machine:
    """A host with a home of its own."""

    def __init__(self, network: Network, number: int, folder: Path) -> None:
        self.network, self.number = network, number
        self.home = folder / f"home{number}"
        # Ray's sockets need a short path.
        self.temporary = Path(f"/tmp/m{number}-{os.getpid()}")
        for made in (self.home, self.temporary):
            made.mkdir()
        self.token = self.home / ".ray" / "auth_token"
        self.log = self.home / ".neglora" / "node" / "log"

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return inherited | {
            "HOME": str(self.home),
            "NEGLORA_BIN": str(Path(sys.executable).parent),
            "NEGLORA_TMP": str(self.temporary),
            "RAY_worker_niceness": "0",
            "OMP_NUM_THREADS": "1",
            "CI": "1",
        }

    def run(self, *command: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.network.run(
            self.number,
            command,
            cwd=cwd,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=280,
        )

    def nodes(self, count: int) -> bool:
        """Whether the cluster of the head has so many nodes, now or soon."""
        command = [sys.executable, str(ROOT / "deploy" / "slurm" / "joined.py"), "10.77.0.1:6379", str(count), "120"]
        return self.run(*command, RAY_AUTH_MODE="token").returncode == 0

    def left(self) -> list[str]:
        """Nothing once a node has been stopped: its processes, and its temporary files."""
        return [*map(str, self.network.pids(self.number)), *map(str, self.temporary.iterdir())]


@pytest.fixture
def machines(network: Network, tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    made = (Machine(network, HEAD, tmp_path), Machine(network, WORKER, tmp_path))
    try:
        yield made
    finally:
        for machine in made:
            network.stop(machine.number)
            subprocess.run(["rm", "-rf", str(machine.temporary)], check=True)


def test_a_head_and_a_worker_run_a_study_and_only_the_token_lets_in(machines, tmp_path):
    head, worker = machines
    started = head.run(START, "head", *SIZES)
    assert started.returncode == 0, started.stdout + started.stderr
    assert "start.sh worker 10.77.0.1:6379" in started.stdout
    assert stat.S_IMODE(head.token.stat().st_mode) == 0o600
    secret = head.token.read_text()
    assert len(secret) == 64

    refused = worker.run(START, "worker", "10.77.0.1:6379", *SIZES)
    assert refused.returncode == 1
    assert "there is no token in" in refused.stderr
    worker.token.parent.mkdir()
    worker.token.write_text("0" * 64)
    refused = worker.run(START, "worker", "10.77.0.1:6379", *SIZES)
    assert refused.returncode == 1
    assert "may read the token" in refused.stderr
    worker.token.chmod(0o600)
    refused = worker.run(START, "worker", "10.77.0.1:6379", *SIZES)
    assert refused.returncode == 1, "another token"
    assert "authentication" in refused.stderr.lower()
    assert worker.left() == []

    worker.token.write_text(secret)
    joined = worker.run(START, "worker", "10.77.0.1:6379", *SIZES)
    assert joined.returncode == 0, joined.stdout + joined.stderr
    assert head.nodes(2)
    again = worker.run(START, "worker", "10.77.0.1:6379", *SIZES)
    assert again.returncode == 2
    assert "a node runs here already" in again.stderr

    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(SPACE))
    command = [str(Path(sys.executable).with_name("neglora")), "run", "tiny.yaml", "--address", "10.77.0.1:6379"]
    done = head.run(*command, "--storage", str(tmp_path / "runs"), cwd=tmp_path, RAY_AUTH_MODE="token")
    assert done.returncode == 0, done.stdout + done.stderr
    records = read_ledger(tmp_path / "runs" / "tiny")
    assert len(records) == 4 == len({record.trial for record in records})
    assert {record.status for record in records} == {"ok"}
    assert (tmp_path / "reports" / "tiny.html").exists()

    for told in (started, joined, done):
        assert secret not in told.stdout + told.stderr
    assert secret not in head.log.read_text() + worker.log.read_text()

    stopped = worker.run(START, "stop")
    assert "is stopped" in stopped.stdout
    assert worker.left() == []
    assert "a node runs" in head.run(START, "status").stdout
    assert head.nodes(1)
    assert head.run(START, "stop").returncode == 0
    assert head.left() == []
    assert "no node runs here" in head.run(START, "status").stdout


def test_a_worker_whose_node_died_joins_again(machines):
    head, worker = machines
    started = head.run(START, "head", "--no-trials", "--port", "7100", "--", "--memory=2000000000")
    assert started.returncode == 0, started.stdout + started.stderr
    worker.token.parent.mkdir()
    worker.token.touch(mode=0o600)
    worker.token.write_text(head.token.read_text())
    joined = worker.run(START, "worker", "10.77.0.1:7100", *SIZES)
    assert joined.returncode == 0, joined.stdout + joined.stderr
    for process in worker.network.pids(WORKER):
        if b"raylet/raylet" in Path(f"/proc/{process}/cmdline").read_bytes():
            os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + 240
    while worker.log.read_text().count("Ray runtime started") < 2:
        assert time.monotonic() < deadline, worker.log.read_text()
        time.sleep(0.5)
    assert "another one joins" in worker.log.read_text()
    assert worker.run(START, "stop").returncode == 0
    assert worker.left() == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["worker"], "a worker needs the head's address"),
        (["worker", "10.0.0.1"], "expected HEAD:PORT"),
        (["head", "--port", "many"], "expected a number as port"),
        (["head", "--num-cpus", "1"], "come after --"),
        (["head", "--port"], "--port needs a value"),
        (["haed"], "start.sh worker HEAD:6379"),
    ],
)
def test_mistakes_are_told(arguments, expected, tmp_path):
    done = subprocess.run(
        [START, *arguments], env=os.environ | {"HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert expected in done.stdout + done.stderr
