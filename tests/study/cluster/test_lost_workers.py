"""Workers that run out of memory or die, on a real Ray: every trial is recorded once, and the rest is unharmed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hurting
import psutil
import pytest
import yaml

from neglora.record import Record
from study.ledger import read_ledger

QUIET = {"CI": "1", "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}
pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def run(folder: Path, *sizes: int, retries: int = 2, **settings: str) -> tuple[dict[int, Record], str]:
    """A study of one ascent per batch size: its records by batch size, and what it printed."""
    space = {
        "study": "hurt",
        "datasets": ["digits"],
        "models": ["resnet_nano"],
        "replicates": {"forget": [3], "seeds": [0]},
        "search": {"sampler": "grid", "trials": len(sizes), "seed": 0},
        "training": {"epochs": 1},
        "failures": {"retries": retries},
        "methods": {"neggrad": {"lr": 1e-4, "batch_size": list(sizes)}},
    }
    (folder / "hurt.yaml").write_text(yaml.safe_dump(space))
    notes = folder / "notes"
    notes.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "study.cli", "run", "hurt.yaml", "--workers", "2"],
        cwd=folder,
        env=os.environ
        | {"CI": "1", "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}
        | hurting.environment(notes)
        | settings,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    records = [record for record in read_ledger(folder / "runs" / "hurt") if record.cell["method"] == "neggrad"]
    by_size = {record.params["batch_size"]: record for record in records}
    assert len(records) == len(by_size) == len(sizes), "every trial once"
    return by_size, done.stdout


def test_a_trial_without_memory_runs_alone_and_then_fails_and_others_are_unharmed(tmp_path):
    records, _ = run(tmp_path, 33, 30, 32, 29, 28)
    assert {size: record.status for size, record in records.items()} == {
        33: "failed",
        30: "ok",
        32: "ok",
        29: "ok",
        28: "ok",
    }
    reason = records[33].reason or ""
    assert "out of memory, when it ran alone too" in reason
    assert "asked cpu for 2.0 GiB; of its 79.1 GiB 78.5 GiB were in use by this worker, 512 MiB free" in reason
    noted = hurting.attempts(tmp_path / "notes")
    for size in (32, 33):
        first, second = [each for each in noted if each["batch_size"] == size]
        assert first["pid"] == second["pid"]
        others = [each for each in noted if each not in (first, second)]
        assert [each for each in others if each["begin"] < second["end"] and each["end"] > second["begin"]] == [], (
            "the second try was alone"
        )
    [spent] = {each["pid"] for each in noted if each["batch_size"] == 33}
    last = max(each["end"] for each in noted if each["batch_size"] == 33)
    assert [each for each in noted if each["pid"] == spent and each["begin"] > last] == [], "its worker was replaced"


def test_a_killed_worker_costs_a_retry_and_a_deadly_trial_is_given_up(tmp_path):
    records, told = run(tmp_path, 31, 34, 35, 30, 29, retries=1)
    assert {size: record.status for size, record in records.items()} == {
        31: "failed",
        34: "ok",
        35: "ok",
        30: "ok",
        29: "ok",
    }
    reason = records[31].reason or ""
    assert reason.startswith("the worker was lost twice: its process on ")
    assert "killed (SIGKILL, as the kernel does when memory runs out) or crashed" in reason
    noted = hurting.attempts(tmp_path / "notes")
    assert [len([each for each in noted if each["batch_size"] == size]) for size in (31, 34, 35)] == [2, 2, 1]
    assert f"{records[34].trial} lost its worker and is run again: its process on " in told


def test_a_trial_that_takes_all_memory_is_ended_by_ray_and_the_run_goes_on(tmp_path):
    memory = psutil.virtual_memory()
    if memory.available < hurting.GREED + 4 * 2**30:
        pytest.skip("needs 10 GiB of free memory")
    # Enough for two workers and half of what the trial takes.
    threshold = (memory.total - memory.available + 4 * 2**30) / memory.total
    settings = {"RAY_memory_usage_threshold": f"{threshold:.3f}", "RAY_memory_monitor_refresh_ms": "100"}
    records, _ = run(tmp_path, 36, 30, 29, 28, retries=0, **settings)
    assert {size: record.status for size, record in records.items()} == {36: "failed", 30: "ok", 29: "ok", 28: "ok"}
    reason = records[36].reason or ""
    assert reason.startswith(
        "the worker was lost once: Ray's out-of-memory killer ended it, since its machine was short of memory ("
    )
    assert "GB used, " in reason
    assert reason.endswith(" GB by this worker)")
