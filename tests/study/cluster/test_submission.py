"""Studies that are sent to a real cluster of two nodes which asks for a token."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.token_nodes import RAY_FOLDER, Nodes, two_nodes

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

SPACE = """
study: {name}
datasets: [digits]
models: [tinyvit_nano]
replicates: {{forget: [3], seeds: [0]}}
search: {{sampler: random, trials: {trials}, seed: 0, batch: 2}}
training: {{epochs: 1}}
methods: {{neggrad: {{lr: {{log: [1.0e-6, 1.0e-4]}}, epochs: 1}}}}
"""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with two_nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        yield nodes


class Laptop:
    """Where commands are typed: a folder outside the checkout, with the cluster's token or without."""

    def __init__(self, nodes: Nodes, folder: Path) -> None:
        self.nodes, self.folder = nodes, folder
        self.storage = folder / "runs"

    def words(self, name: str, trials: int = 3) -> list[str]:
        space = self.folder / f"{name}.yaml"
        space.write_text(SPACE.format(name=name, trials=trials))
        return ["submit", str(space), "--address", self.nodes.server, "--storage", str(self.storage), "--follow"]

    def start(self, words: list[str], **environment: str) -> subprocess.Popen[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        clean |= {"RAY_AUTH_TOKEN_PATH": str(self.nodes.token_file)} | environment
        return subprocess.Popen(
            [sys.executable, "-m", "study.cli", *words],
            cwd=Path(__file__).parents[3],
            env=clean,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Tests that run in the background of a shell are deaf to it, and so is what they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, words: list[str], **environment: str) -> tuple[int, str]:
        process = self.start(words, **environment)
        told = process.communicate(timeout=500)[0]
        assert self.nodes.token_file.read_text() not in told
        assert "Traceback" not in told, told
        return process.returncode, told


@pytest.fixture
def laptop(nodes: Nodes, tmp_path: Path) -> Laptop:
    return Laptop(nodes, tmp_path)


def test_a_study_is_sent_followed_and_finished(laptop: Laptop) -> None:
    code, told = laptop.run(laptop.words("sent"))
    assert code == 0, told
    assert re.search(r"\[4/4\S*\] digits-tinyvit_nano-\S+: UA", told)
    assert f"Report: {laptop.storage}/sent/report.html" in told
    lines = [json.loads(line) for line in (laptop.storage / "sent" / "ledger.jsonl").read_text().splitlines()]
    assert len({line["trial"] for line in lines}) == len(lines) == 4
    assert lines[0]["provenance"]["neglora"]
    job = re.search(r"Job (sent-\S+):", told)
    assert job is not None
    code, again = laptop.run(["submit", "--attach", job[1], "--address", laptop.nodes.server])
    assert code == 0
    assert "[4/4" in again
    token = laptop.nodes.token_file.read_bytes()
    kept = [file for folder in (RAY_FOLDER, laptop.storage) for file in folder.rglob("*") if file.is_file()]
    assert len(kept) > 20
    assert [file for file in kept if token in file.read_bytes()] == []


def test_a_job_outlives_who_follows_it_and_a_second_one_is_refused(laptop: Laptop) -> None:
    words = laptop.words("outlives", trials=3000)
    process = laptop.start(words)
    assert process.stdout is not None
    told = ""
    while "] digits-tinyvit_nano" not in told:
        line = process.stdout.readline()
        assert line, told
        told += line
    process.send_signal(signal.SIGINT)
    told += process.stdout.read()
    assert process.wait(timeout=60) == 130
    assert "the job goes on" in told
    code, refused = laptop.run(words)
    assert code == 2, refused
    assert "another neglora writes this study" in refused
    job = re.search(r"Job (outlives-\S+):", told)
    assert job is not None
    ledger = laptop.storage / "outlives" / "ledger.jsonl"
    seen, deadline = ledger.read_text().count("\n"), time.monotonic() + 120
    while ledger.read_text().count("\n") <= seen:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert "is stopping" in laptop.run(["submit", "--stop", job[1], "--address", laptop.nodes.server])[1]
    code, told = laptop.run(["submit", "--attach", job[1], "--address", laptop.nodes.server])
    assert code != 0
    assert "was stopped" in told


def test_who_has_no_token_or_another_gets_nowhere(laptop: Laptop, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not the token")
    wrong.chmod(0o600)
    for place, said in ((wrong, "refuses the token in"), (tmp_path / "absent", "asks for a token, and there is none")):
        code, told = laptop.run(laptop.words("nowhere"), RAY_AUTH_TOKEN_PATH=str(place))
        assert code == 2
        assert said in told
        words = ["run", str(tmp_path / "nowhere.yaml"), "--storage", str(laptop.storage)]
        code, told = laptop.run([*words, "--address", laptop.nodes.address], RAY_AUTH_TOKEN_PATH=str(place))
        assert code == 2
        assert said in told
    assert (
        not (laptop.storage / "nowhere" / "ledger.jsonl").exists()
        or not (laptop.storage / "nowhere" / "ledger.jsonl").read_text()
    )


def test_a_driver_here_joins_with_the_token(laptop: Laptop) -> None:
    laptop.words("joins")
    words = ["run", str(laptop.folder / "joins.yaml"), "--storage", str(laptop.storage)]
    code, told = laptop.run([*words, "--address", laptop.nodes.address])
    assert code == 0, told
    assert f"it asks for the token in {laptop.nodes.token_file}" in told
