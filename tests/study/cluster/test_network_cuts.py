"""A node of two is cut off while it works: what is asked for is there once, whatever the lost one still does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lingering
import pytest
import yaml

from neglora.artifact import Packed
from study.ledger import read_ledger
from tests.namespaces import Network, hosts, why_not

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[3]
HEAD, OTHER = 0, 1
#: So that a node that is cut off counts as dead after seconds instead of a minute, and lives on for longer than that:
#: the dangerous case, in which two attempts at one trial run at once.
QUICK = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "45",
}
TRIALS = 6
SPACE = {
    "study": "cut",
    "datasets": ["digits"],
    "models": ["tinyvit_nano"],
    "replicates": {"forget": [3], "seeds": [0]},
    "search": {"sampler": "random", "trials": TRIALS, "seed": 0, "batch": TRIALS},
    "methods": {"neglora": {"lr": {"log": [1e-4, 1e-3]}, "rank": 2, "targets": "last.ffn"}},
}


class Cluster:
    """Two Ray nodes of one CPU each, started by `deploy/node.sh`, and a driver on the first."""

    def __init__(self, network: Network, folder: Path, temporary: Path) -> None:
        self.network, self.folder, self.temporary = network, folder, temporary
        self.notes = folder / "notes"
        self.notes.mkdir()
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text("5" * 64)
        self.log = folder / "driver.log"

    def environment(self, host: int) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return (
            inherited
            | QUICK
            | lingering.environment(self.notes, host)
            | {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
                "RAY_worker_niceness": "0",
                "NEGLORA_BIN": str(Path(sys.executable).parent),
                "NEGLORA_TMP": str(self.temporary),
                "OMP_NUM_THREADS": "1",
                "CI": "1",
            }
        )

    def start(self) -> None:
        script = str(ROOT / "deploy" / "node.sh")
        sizes = ["--num-cpus=1", "--memory=2000000000"]
        joined = [sys.executable, str(ROOT / "deploy" / "slurm" / "joined.py"), "10.77.0.1:6379"]
        roles = ["head", "10.77.0.1", "--port=6379"], ["worker", "10.77.0.2", "10.77.0.1:6379"]
        for host, role in enumerate(roles):
            self.popen(host, [script, *role, *sizes], self.folder / f"node{host}.log")
            done = self.network.run(HEAD, [*joined, str(host + 1), "150"], env=self.environment(HEAD), timeout=200)
            assert done.returncode == 0, (self.folder / f"node{host}.log").read_text()

    def drive(self, **changes: object) -> subprocess.Popen[bytes]:
        (self.folder / "cut.yaml").write_text(yaml.safe_dump(SPACE | changes))
        command = [sys.executable, "-m", "study.cli", "run", "cut.yaml", "--storage", str(self.folder / "runs")]
        return self.popen(HEAD, [*command, "--address", "10.77.0.1:6379"], self.log)

    def popen(self, host: int, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return self.network.popen(
                host,
                command,
                env=self.environment(host),
                cwd=self.folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.log.read_text()

    def until(self, holds: Callable[[], object], seconds: float = 240) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def everything_is_there_once(self) -> None:
        runs = self.folder / "runs"
        lines = [json.loads(line) for line in (runs / "cut" / "ledger.jsonl").read_text().splitlines()]
        assert len(lines) == TRIALS + 1 == len({line["trial"] for line in lines}), "with Retrain"
        assert {line["status"] for line in lines} == {"ok"}
        assert len(read_ledger(runs / "cut")) == len(lines)
        artifacts = [folder for folder in (runs / "artifacts").iterdir() if (folder / "artifact.json").exists()]
        assert sorted(folder.name.split("-")[0] for folder in artifacts) == ["base", "retrain"]
        for folder in artifacts:
            Packed.read(folder).open()  # compares checksums
        assert [folder.name for folder in (runs / "artifacts").glob("*.partial")] == []
        assert (runs / "cut" / "report.html").exists()


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    temporary = Path(tempfile.mkdtemp(prefix="cut", dir="/tmp"))
    try:
        with hosts(2) as network:
            made = Cluster(network, folder, temporary)
            made.start()
            yield made
    finally:
        shutil.rmtree(temporary)


@pytest.mark.parametrize("seconds", [30.0, None])
def test_a_node_is_cut_off_in_a_trial_and_ends_it_all_the_same(tmp_path, seconds):
    with cluster(tmp_path) as made:
        driver = made.drive(training={"epochs": 1})
        made.until(lambda: lingering.attempts(made.notes, "begin", lingering.CUT) or driver.poll() is not None)
        [held] = lingering.attempts(made.notes, "begin", lingering.CUT)
        made.network.cut(OTHER)
        cut_at = time.monotonic()
        # Its trial runs on the head, and then the first attempt goes on beside it, to its end.
        made.until(lambda: held in lingering.attempts(made.notes, "begin", "0"))
        made.until(lambda: held in lingering.attempts(made.notes, "end", lingering.CUT))
        if seconds is not None:
            time.sleep(max(0.0, seconds - (time.monotonic() - cut_at)))
            made.network.restore(OTHER)
        assert driver.wait(timeout=300) == 0, made.said()
        assert "lost its worker and is run again" in made.said()
        made.everything_is_there_once()
        # The lost node tells no more, and a later look finds the same.
        made.network.restore(OTHER)
        made.until(lambda: not made.network.pids(OTHER), 120)
        made.everything_is_there_once()


def test_a_node_is_cut_off_for_ever_while_it_trains(tmp_path):
    with cluster(tmp_path) as made:
        driver = made.drive(training={"epochs": 25})
        made.until(lambda: made.said().count(": epoch 1 of 25") == 2 or driver.poll() is not None)
        made.network.cut(OTHER)
        assert driver.wait(timeout=400) == 0, made.said()
        made.everything_is_there_once()
