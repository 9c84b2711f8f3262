"""Two studies on one cluster share what they start from; one study has one driver, and a dead one gives way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from study.ledger import read_ledger
from tests.token_nodes import Nodes, two_nodes

pytestmark = [pytest.mark.faults, pytest.mark.cluster, pytest.mark.timeout(900)]

#: With Retrain's.
TRIALS = {"one": 61, "two": 13}


def write_space(folder: Path, study: str) -> Path:
    path = folder / f"{study}.yaml"
    space = {
        "study": study,
        "datasets": ["digits"],
        "models": ["tinyvit_nano"],
        "replicates": {"forget": [3], "seeds": [0]},
        "search": {"sampler": "random", "trials": TRIALS[study] - 1, "seed": 0},
        "training": {"epochs": 2},
        "methods": {"neglora": {"lr": {"log": [1e-4, 1e-2]}, "rank": [2, 4], "targets": "head", "epochs": 1}},
    }
    path.write_text(yaml.safe_dump(space))
    return path


def start(nodes: Nodes, folder: Path, study: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "study.cli", "run", str(folder / f"{study}.yaml"), "--storage", "runs"]
    return subprocess.Popen(
        [*command, "--address", nodes.address],
        cwd=folder,
        env=nodes.environment | {"CI": "1", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(driver: subprocess.Popen[str]) -> tuple[int, str]:
    told, _ = driver.communicate(timeout=600)
    return driver.returncode, told


def wait_for_records(driver: subprocess.Popen[str], ledger: Path, count: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if ledger.exists() and ledger.read_bytes().count(b"\n") >= count:
            return
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.1)
    raise AssertionError("the study made no progress")


def test_two_studies_share_artifacts_and_one_study_has_one_driver(tmp_path):
    for study in ("one", "two"):
        write_space(tmp_path, study)
    runs = tmp_path / "runs"
    with two_nodes(tmp_path) as nodes:
        one, two = start(nodes, tmp_path, "one"), start(nodes, tmp_path, "two")
        wait_for_records(one, runs / "one" / "ledger.jsonl", 1)
        # Alive, and standing still: trials are done sooner than a second driver has started.
        os.kill(one.pid, signal.SIGSTOP)

        code, told = ended(start(nodes, tmp_path, "one"))
        assert code == 2, told
        assert str(one.pid) in told
        assert "Traceback" not in told

        os.killpg(one.pid, signal.SIGKILL)
        one.wait()
        code, told = ended(start(nodes, tmp_path, "one"))
        assert code == 0, told
        code, told = ended(two)
        assert code == 0, told

    artifacts = [json.loads(path.read_text()) for path in runs.glob("artifacts/[!.]*/artifact.json")]
    assert sorted(artifact["kind"] for artifact in artifacts) == ["base", "retrain"]
    found = {study: {record.trial: record for record in read_ledger(runs / study)} for study in TRIALS}
    for study, records in found.items():
        assert len(records) == TRIALS[study] == len(read_ledger(runs / study))
        assert {record.status for record in records.values()} == {"ok"}
    # The same space under two names: what one study measures, the other does too.
    for trial, record in found["two"].items():
        assert found["one"][trial].metrics["ua"] == record.metrics["ua"]
