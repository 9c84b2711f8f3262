"""A study whose search measures on samples: what is then measured in full and elsewhere, and kills in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from test_studies import TIMED, run, start, write_space

from neglora.kept import adapter_name
from neglora.record import Record
from study.cli import main
from study.confirming import next_round
from study.ledger import read_ledger

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

STAGED: dict[str, Any] = {
    "search": {"sampler": "tpe", "trials": 4, "seed": 0, "batch": 3, "snapshots": True},
    "evaluation": {"retain_samples": 400, "test_samples": 120},
    "confirm": {"forget": [5], "seeds": [1]},
    "methods": {
        "neggrad": {"lr": {"log": [1e-5, 1e-3]}},
        "neglora": {"rank": [2, 4], "epochs": [1, 2], "lr": {"log": [1e-3, 1e-2]}, "sparsity": [0.0, 0.5]},
    },
}
TRIALS = 1 + 4 + 4


def outcome(storage: Path) -> dict[tuple[str, str], Any]:
    """The ledger's lines by trial and fidelity, without what a clock or a machine decides."""
    found = {}
    for record in read_ledger(storage / "tiny"):
        plain = json.loads(record.to_line())
        del plain["cost"], plain["provenance"]
        for part in (plain, *plain["replicates"]):
            for values in (part["metrics"], part["report"]):
                for name in TIMED:
                    values.pop(name, None)
        for replicate in plain["replicates"]:
            for part in (replicate, *replicate.get("bases", [])):
                part.pop("cost")
        found[record.trial, record.fidelity] = plain
    return found


def wait_for(process: subprocess.Popen[bytes], ledger: Path, text: bytes, count: int) -> None:
    """Until so many lines of the ledger have a text. A study that ends before is an error of the test."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        if ledger.exists() and ledger.read_bytes().count(text) >= count:
            return
        assert process.poll() is None, "the study ended before it could be killed"
        time.sleep(0.05)
    raise AssertionError("the study made no progress")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A study that ran through with two workers, and what it told; its artifacts serve the other tests."""
    folder = tmp_path_factory.mktemp("staged")
    result = run(write_space(folder, **STAGED), folder / "two")
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result.stdout


def lines(folder: Path, fidelity: str) -> dict[str, Record]:
    return {record.trial: record for record in read_ledger(folder / "two" / "tiny") if record.fidelity == fidelity}


@pytest.mark.grid
def test_trials_are_searched_on_samples_and_what_may_be_on_a_front_is_measured_in_full(finished):
    folder, told = finished
    records = read_ledger(folder / "two" / "tiny")
    assert {record.status for record in records} == {"ok"}
    assert len({record.trial for record in records}) == TRIALS
    searched, full = lines(folder, "search"), lines(folder, "full")
    assert {trial for trial in full if trial not in searched} == {"digits-tinyvit_nano-retrain-0000"}
    confirmed = searched.keys() & full.keys()
    assert confirmed
    assert next_round(records) == []
    for trial, record in searched.items():
        assert record.report == {}
        [replicate] = record.replicates
        low, high = replicate["details"]["intervals"]["ra"]
        assert low < high
        if trial in confirmed:
            assert record.params == full[trial].params
            assert record.metrics["ua"] == full[trial].metrics["ua"], "D_f was whole"
            assert full[trial].report["ta"] is not None
    assert f"confirmed {len(confirmed)} of {len(confirmed)} in full" in told
    summary = json.loads((folder / "two" / "tiny" / "summary.json").read_text())
    assert set().union(*(cell["front"] for cell in summary["cells"])) <= confirmed


@pytest.mark.grid
def test_runs_pass_through_trials_of_fewer_epochs(finished):
    folder, _ = finished
    searched = [record for record in lines(folder, "search").values() if record.cell["method"] == "neglora"]
    by_number = {record.number: record.params for record in searched}
    assert len(by_number) == 4
    behind = [
        number
        for number, params in by_number.items()
        if params | {"epochs": 1} == by_number.get(number + 1) and params["epochs"] == 2
    ]
    assert behind


@pytest.mark.grid
def test_what_is_recommended_is_tried_on_pairs_that_the_search_never_saw(finished):
    folder, told = finished
    elsewhere = lines(folder, "confirm")
    summary = json.loads((folder / "two" / "tiny" / "summary.json").read_text())
    recommended = {group["recommended"]["trial"] for group in summary["groups"]}
    assert recommended <= elsewhere.keys()
    assert {record.cell["method"] for record in elsewhere.values()} == {"retrain", "neggrad", "neglora"}
    for record in elsewhere.values():
        assert [(item["forget"], item["seed"]) for item in record.replicates] == [(5, 1)]
        assert record.params == lines(folder, "full")[record.trial].params
        assert record.metrics["gap"] is not None, "it was compared with the Retrain of its own pair"
        assert record.report
        if record.cell["method"] == "neglora":
            assert (folder / "two" / "tiny" / "adapters" / adapter_name(record.trial, 5, 1)).exists()
    assert f"confirmed {len(elsewhere)} of {len(elsewhere)} on unseen pairs" in told


@pytest.mark.grid
def test_status_and_a_second_run_find_nothing_left(finished, monkeypatch, capsys):
    folder, _ = finished
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["status", "two/tiny"]) == 0
    told = capsys.readouterr().out
    assert f"{TRIALS} of {TRIALS} trials, confirmed" in told
    assert "goes on with it" not in told
    before = (folder / "two" / "tiny" / "ledger.jsonl").read_bytes()
    assert main(["run", "tiny.yaml", "--storage", "two"]) == 0
    assert "nothing to run" in capsys.readouterr().out
    assert (folder / "two" / "tiny" / "ledger.jsonl").read_bytes() == before


@pytest.mark.faults
def test_kills_in_each_phase_and_one_worker_instead_of_two_give_the_same_lines(finished):
    folder, _ = finished
    storage = folder / "killed"
    storage.mkdir()
    (storage / "artifacts").symlink_to(folder / "two" / "artifacts")
    ledger = storage / "tiny" / "ledger.jsonl"
    for text, count, options in (
        (b'"fidelity":"search"', 3, []),
        # Retrain's is the first one in full.
        (b'"fidelity":"full"', 2, ["--workers", "1"]),
        (b'"fidelity":"confirm"', 1, []),
    ):
        process = start(folder / "tiny.yaml", storage, *options)
        wait_for(process, ledger, text, count)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
    result = run(folder / "tiny.yaml", storage, "--workers", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert outcome(storage) == outcome(folder / "two")
    assert len(read_ledger(storage / "tiny")) == len(read_ledger(folder / "two" / "tiny"))


@pytest.mark.faults
def test_pairs_may_be_added_when_a_study_has_ended(finished, tmp_path):
    folder, _ = finished
    storage = tmp_path / "runs"
    storage.mkdir()
    (storage / "artifacts").symlink_to(folder / "two" / "artifacts")
    result = run(write_space(tmp_path, **STAGED | {"confirm": None}), storage)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "unseen" not in result.stdout
    result = run(write_space(tmp_path, **STAGED), storage)
    assert result.returncode == 0, result.stdout + result.stderr
    assert outcome(storage) == outcome(folder / "two")
