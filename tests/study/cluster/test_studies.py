"""Whole studies through the command line on a real Ray: outcome, resume after a kill and after Ctrl-C, refusals."""

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

from neglora.record import configuration_key
from study.cli import main
from study.ledger import Ledger, read_ledger

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SPACE = {
    "study": "tiny",
    "datasets": ["digits"],
    "models": ["tinyvit_nano"],
    "replicates": {"forget": [3], "seeds": [0]},
    "selection": {"holdout": 0.5},
    "search": {"sampler": "tpe", "trials": 5, "seed": 0, "batch": 2},
    "training": {"epochs": 2, "recovery_epochs": 1},
    "methods": {
        "neggrad": {"lr": {"log": [1e-5, 1e-3]}, "sparsity": [0.0, 0.5]},
        "neglora": {
            "rank": [2, 4],
            "targets": ["ffn", "last.ffn"],
            "lr": {"log": [1e-3, 1e-2]},
            "sparsity": [0.0, 0.5],
        },
    },
}
TRIALS = 11
#: Read from a clock, so that they differ between runs; sums of the rest do not.
TIMED = ("rte", "rte_epoch", "speedup")


def write_space(folder: Path, **changes: object) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(SPACE | changes))
    return path


def command(space: Path, storage: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "study.cli", "run", str(space), "--storage", str(storage), *options]


def environment() -> dict[str, str]:
    return os.environ | {"CI": "1", "RAY_worker_niceness": "0", "COLUMNS": "100"}


def run(space: Path, storage: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(space, storage, *options),
        cwd=space.parent,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=400,
    )


def outcome(storage: Path) -> dict[str, object]:
    """The ledger by trial, without what a clock or a machine decides."""
    found = {}
    for record in read_ledger(storage / "tiny"):
        plain = json.loads(record.to_line())
        for key in ("cost", "provenance"):
            plain.pop(key)
        for replicate in plain["replicates"]:
            for part in (replicate, *replicate.get("bases", [])):
                part.pop("cost")
        measured = [plain["metrics"], plain["report"]]
        for replicate in plain["replicates"]:
            measured += [replicate["metrics"], replicate["report"]]
        for values in measured:
            for name in TIMED:
                values.pop(name)
        found[plain["trial"]] = plain
    return found


def start(space: Path, storage: Path, *options: str) -> subprocess.Popen[bytes]:
    log = (storage.parent / f"{storage.name}.log").open("ab")
    return subprocess.Popen(
        command(space, storage, *options),
        cwd=space.parent,
        env=environment(),
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def wait_for_lines(process: subprocess.Popen[bytes], ledger: Path, count: int) -> None:
    """Until the ledger has so many lines. A study that ends before is an error of the test."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if ledger.exists() and ledger.read_bytes().count(b"\n") >= count:
            return
        assert process.poll() is None, "the study ended before it could be interrupted"
        time.sleep(0.05)
    raise AssertionError("the study made no progress")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A study that ran through with two workers; its artifacts serve the other tests."""
    folder = tmp_path_factory.mktemp("studies")
    result = run(write_space(folder), folder / "two")
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result


def test_a_study_runs_through_and_leaves_its_files(finished):
    folder, result = finished
    study = folder / "two" / "tiny"
    records = read_ledger(study)
    assert len(records) == TRIALS == len({record.trial for record in records})
    assert {record.status for record in records} == {"ok"}
    assert {name.name for name in study.iterdir()} == {
        "adapters",
        "study.yaml",
        "ledger.jsonl",
        "ledger.lock",
        "report.html",
        "trials.csv",
        "front.csv",
        "summary.json",
        "tables",
    }
    adapted = {name.name.split(".forget-")[0] for name in (study / "adapters").iterdir()}
    [cell] = [cell for cell in json.loads((study / "summary.json").read_text())["cells"] if cell["method"] == "neglora"]
    assert set(cell["front"]) <= adapted <= {record.trial for record in records if "-neglora-" in record.trial}
    assert (folder / "reports" / "tiny.html").read_bytes() == (study / "report.html").read_bytes()
    assert "http://127.0.0.1:" in result.stdout
    configurations = [(record.cell["method"], configuration_key(record.params)) for record in records]
    assert len(configurations) == len(set(configurations))


def test_ctrl_c_then_a_kill_and_one_worker_instead_of_two_give_the_same_ledger(finished):
    folder, _ = finished
    storage = folder / "killed"
    storage.mkdir()
    (storage / "artifacts").symlink_to(folder / "two" / "artifacts")
    ledger = storage / "tiny" / "ledger.jsonl"

    process = start(folder / "tiny.yaml", storage)
    wait_for_lines(process, ledger, 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130
    log = (folder / "killed.log").read_text()
    assert "the same command goes on from there" in " ".join(log.split())
    assert "Traceback" not in log
    assert all(record.status == "ok" for record in read_ledger(storage / "tiny"))

    process = start(folder / "tiny.yaml", storage, "--workers", "1")
    wait_for_lines(process, ledger, 5)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)

    result = run(folder / "tiny.yaml", storage, "--workers", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert outcome(storage) == outcome(folder / "two")


@pytest.mark.faults
def test_sigterm_stops_a_study_as_ctrl_c_does(finished):
    """What batch systems and preempted machines send."""
    folder, _ = finished
    storage = folder / "terminated"
    storage.mkdir()
    (storage / "artifacts").symlink_to(folder / "two" / "artifacts")
    process = start(folder / "tiny.yaml", storage)
    wait_for_lines(process, storage / "tiny" / "ledger.jsonl", 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 143
    log = (folder / "terminated.log").read_text()
    assert "the same command goes on from there" in " ".join(log.split())
    assert "Traceback" not in log
    assert "Aborted" not in log


def test_a_finished_study_is_not_run_again(finished, monkeypatch, capsys):
    folder, _ = finished
    monkeypatch.chdir(folder)
    before = (folder / "two" / "tiny" / "ledger.jsonl").read_bytes()
    assert main(["run", "tiny.yaml", "--storage", "two"]) == 0
    assert "nothing to run" in capsys.readouterr().out
    assert (folder / "two" / "tiny" / "ledger.jsonl").read_bytes() == before


def test_another_space_under_the_same_name_is_refused_with_what_differs(finished, tmp_path, capsys):
    folder, _ = finished
    space = write_space(tmp_path, selection={"holdout": 0.25})
    assert main(["run", str(space), "--storage", str(folder / "two")]) == 2
    told = capsys.readouterr().err
    assert "selection.holdout" in told
    assert "--fresh" in told


def test_a_study_that_is_being_written_is_refused_with_who_holds_it(finished, capsys):
    folder, _ = finished
    with Ledger.open(folder / "two" / "tiny"):
        assert main(["run", str(folder / "tiny.yaml"), "--storage", str(folder / "two")]) == 2
    assert str(os.getpid()) in capsys.readouterr().err


def test_fresh_sets_the_earlier_study_aside(tmp_path, capsys):
    earlier = tmp_path / "runs" / "tiny"
    earlier.mkdir(parents=True)
    (earlier / "ledger.jsonl").write_text("")
    space = write_space(tmp_path, resources={"cpus": 4096})
    assert main(["run", str(space), "--storage", str(tmp_path / "runs"), "--fresh"]) == 2
    assert "asks for 4096 CPUs" in capsys.readouterr().err
    assert len(list((tmp_path / "runs").glob("tiny.*/ledger.jsonl"))) == 1


def test_resources_that_no_node_has_are_refused(tmp_path):
    result = run(write_space(tmp_path, resources={"cpus": 1, "gpus": 1}), tmp_path / "runs")
    assert result.returncode == 2
    assert "no node of the cluster has" in result.stderr
    assert "Traceback" not in result.stderr
