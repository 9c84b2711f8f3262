"""`neglora submit` against a job server that only pretends: what is sent, what is refused, how a log is followed."""

from __future__ import annotations

import argparse
import json
import shlex
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from study.cli import main, run_command, submit_command
from study.cluster import submission

TOKEN = "5ecret" * 10
SPACE = """
study: tiny
datasets: [digits]
models: [tinyvit_nano]
replicates: {forget: [3], seeds: [0]}
search: {sampler: random, trials: 3, seed: 0, batch: 2}
include: shared.yaml
"""
SHARED = "methods: {neggrad: {lr: {log: [1.0e-6, 1.0e-4]}, epochs: 1}}\n"


@dataclass
class Server:
    """A job server that keeps what it is asked.

    Attributes:
        token: that it asks for; None for none.
        ray: the version that it claims.
        states: of the job, one an inquiry; the last stays.
        authorized: the header of each request.
    """

    address: str = ""
    token: str | None = None
    ray: str = "2.60.0"
    states: list[dict[str, Any]] = field(default_factory=list)
    authorized: list[str | None] = field(default_factory=list)

    def answer(self, path: str, shown: str | None) -> tuple[int, str]:
        self.authorized.append(shown)
        if self.token is not None and shown is None:
            return 401, "Unauthorized: Missing authentication token"
        if self.token is not None and shown != f"Bearer {self.token}":
            return 403, "Forbidden: Invalid authentication token"
        if path == "/api/version":
            return 200, json.dumps({"version": "4", "ray_version": self.ray, "ray_commit": ""})
        if path == "/api/jobs/":
            return 200, json.dumps([{"submission_id": "tiny-1"}, {"submission_id": None}])
        if path.startswith("/api/jobs/tiny"):
            return 200, json.dumps(self.states[0] if len(self.states) == 1 else self.states.pop(0))
        return 404, "not found"


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = state.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Tests read the output."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


class Client:
    """Ray's client, as far as it is used.

    Attributes:
        sent: the arguments of jobs, with the files of their working folders.
        tails: what each connection sends of the log: texts, and errors that break it.
    """

    def __init__(self, tails: list[list[str | Exception]]) -> None:
        self.sent: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.tails = tails

    def submit_job(self, **job: Any) -> str:
        folder = Path(job["runtime_env"]["working_dir"])
        files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        self.sent.append(job | {"files": files})
        return str(job["submission_id"])

    def stop_job(self, job: str) -> bool:
        self.stopped.append(job)
        return True

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        for text in self.tails.pop(0):
            if isinstance(text, Exception):
                raise text
            yield text


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client([["Study tiny\n", "Report: there\n"]])
    monkeypatch.setattr(submission, "_client", lambda server: client)
    monkeypatch.setattr(submission, "PAUSES", (0.0,))
    return client


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No token of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def space(tmp_path: Path) -> Path:
    folder = tmp_path / "my spaces"
    folder.mkdir()
    (folder / "shared.yaml").write_text(SHARED)
    (folder / "tiny.yaml").write_text(SPACE)
    return folder / "tiny.yaml"


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(["submit", *words])
    captured = capsys.readouterr()
    assert TOKEN not in captured.out + captured.err
    assert "Traceback" not in captured.err
    return code, captured.out + captured.err


def test_it_takes_every_option_of_run() -> None:
    def options(module: Any) -> dict[str, tuple[Any, ...]]:
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        return {action.dest: tuple(action.option_strings) for action in parser._actions}

    own, of_run = options(submit_command), options(run_command)
    assert len(of_run) > 8
    assert of_run.items() <= own.items()


def test_code_and_space_travel_and_nothing_else(server, client, space, capsys, monkeypatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of this laptop")
    words = shlex.split("--data-root /data --workers 3 --fresh --retry-failed --no-verify --download -v")
    words += [str(space), "--address", server.address, "--storage", "s3://my bucket/runs"]
    code, told = run(words, capsys)
    assert code == 0
    (job,) = client.sent
    words = shlex.split(job["entrypoint"])
    assert words[:5] == ["python", "-m", "study.cli", "run", "spaces/tiny.yaml"]
    assert words[5:] == [
        *("--address", "auto", "--storage", "s3://my bucket/runs", "--data-root", "/data", "--workers", "3"),
        *("--fresh", "--retry-failed", "--no-verify", "--download", "--verbose"),
    ]
    sent = yaml.safe_load(job["files"]["spaces/tiny.yaml"])
    assert sent["methods"] == yaml.safe_load(SHARED)["methods"]
    assert "include" not in sent
    assert {"neglora/__init__.py", "study/cli/run_command.py", "study/report.css"} <= set(job["files"])
    assert {name.split("/")[0].partition("-")[0] for name in job["files"]} <= {
        *("neglora", "study", "spaces", "neglora.revision")
    }
    assert "of this laptop" not in str(job["runtime_env"])
    assert job["metadata"]["job_name"] == "tiny"
    assert job["submission_id"].startswith("tiny-2")
    assert f"--attach {job['submission_id']}" in told
    assert f"--stop {job['submission_id']}" in told


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--storage is missing"),
        (["--storage", "runs"], "absolute path"),
        (["--storage", "/runs", "--data-root", "data"], "absolute path"),
        (["--storage", "s3://key:word@bucket/runs"], "do not belong in a URI"),
        (["--storage", "/runs", "--attach", "tiny-1"], "either a SPACE.yaml"),
    ],
)
def test_what_means_nothing_there_is_refused_before_anything_is_asked(server, space, capsys, options, said) -> None:
    code, told = run([str(space), "--address", server.address, *options], capsys)
    assert (code, server.authorized) == (2, [])
    assert said in told


def test_all_mistakes_of_the_space_come_before_anything_is_asked(server, space, capsys) -> None:
    space.write_text(SPACE.replace("digits", "digitz").replace("study: tiny", "stady: tiny"))
    code, told = run([str(space), "--address", server.address, "--storage", "/runs"], capsys)
    assert (code, server.authorized) == (2, [])
    assert "digitz" in told
    assert "stady" in told


def test_data_may_be_on_the_cluster_alone(server, client, space, capsys) -> None:
    space.write_text(SPACE.replace("[digits]", "['imagefolder:/only/there']"))
    code, told = run([str(space), "--address", server.address, "--storage", "/runs"], capsys)
    assert (code, len(client.sent)) == (0, 1)
    assert "the cluster will look: datasets[0]" in told


def test_the_token_is_shown_to_who_asks_for_it_alone(server, client, space, capsys, tmp_path) -> None:
    file = tmp_path / "home" / ".ray" / "auth_token"
    file.parent.mkdir(parents=True)
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    words = [str(space), "--address", server.address, "--storage", "/runs"]
    assert run(words, capsys)[0] == 0
    assert set(server.authorized) == {None}
    server.token = TOKEN
    assert run(words, capsys)[0] == 0
    assert server.authorized[-1] == f"Bearer {TOKEN}"


def test_a_token_that_is_missing_or_wrong_is_told_with_its_place(server, space, capsys, tmp_path, monkeypatch) -> None:
    server.token = "another"
    words = [str(space), "--address", server.address, "--storage", "/runs"]
    code, told = run(words, capsys)
    assert code == 2
    assert "asks for a token, and there is none" in told
    assert str(tmp_path / "home" / ".ray" / "auth_token") in told
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    code, told = run(words, capsys)
    assert code == 2
    assert "refuses the token in $RAY_AUTH_TOKEN" in told
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert "RAY_AUTH_MODE=disabled is set here" in run(words, capsys)[1]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("auto", "neglora run"),
        ("ray://head:10001", "http://HEAD:8265"),
        ("os://head", "http://HEAD:8265"),
        ("http://me:word@head:8265", "a password"),
        ("http://[", "http://HEAD:8265"),
        ("http://127.0.0.1:9", "no job server answers"),
    ],
)
def test_addresses_that_are_none_of_a_job_server(space, capsys, address, said) -> None:
    code, told = run([str(space), "--address", address, "--storage", "/runs"], capsys)
    assert code == 2
    assert said in told


@pytest.mark.parametrize(("ray", "said"), [("2.9.0", "runs Ray 2.9.0"), ("no version", "is no job server")])
def test_a_server_of_another_age_or_kind(server, space, capsys, ray, said) -> None:
    server.ray = ray
    code, told = run([str(space), "--address", server.address, "--storage", "/runs"], capsys)
    assert code == 2
    assert said in told


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, 0, ""),
        ({"status": "FAILED", "driver_exit_code": 2}, 2, ""),
        ({"status": "FAILED", "driver_exit_code": 127}, 127, "found no `python`"),
        ({"status": "FAILED", "driver_exit_code": -9}, 137, ""),
        ({"status": "FAILED", "driver_exit_code": None, "message": "the node died"}, 1, "the node died"),
        ({"status": "STOPPED", "driver_exit_code": None}, 1, "was stopped"),
    ],
)
def test_its_exit_code_is_that_of_the_run(server, client, space, capsys, state, code, said) -> None:
    server.states = [state]
    got, told = run([str(space), "--address", server.address, "--storage", "/runs", "--follow"], capsys)
    assert got == code
    assert "Study tiny\nReport: there\n" in told
    assert said in told


def test_a_broken_connection_is_made_anew_and_nothing_is_told_twice(server, client, capsys) -> None:
    server.states = [{"status": "RUNNING"}, {"status": "RUNNING"}, {"status": "SUCCEEDED", "driver_exit_code": 0}]
    client.tails = [["one\ntw", RuntimeError("closed unexpectedly")], ["one\n", "two\n"], ["one\ntwo\nthree\n"]]
    code, told = run(["--attach", "tiny-1", "--address", server.address], capsys)
    assert code == 0
    lines = told.splitlines()
    assert told.count("tw") == told.count("one\n") == told.count("three") == 1
    assert any("the connection is lost" in line for line in lines)
    assert any("connected again" in line for line in lines)


def test_two_losses_far_apart_are_not_one_long_one(server, client, capsys, monkeypatch) -> None:
    """A job that prints nothing in between shows by its state that its server is there."""
    server.states = [*[{"status": "RUNNING"}] * 3, {"status": "SUCCEEDED", "driver_exit_code": 0}]
    client.tails = [[RuntimeError("closed")], [], [RuntimeError("closed")], []]
    clock = iter([0.0, 1e6])
    monkeypatch.setattr(submission, "AWAY", 60.0)
    monkeypatch.setattr(submission, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    code, told = run(["--attach", "tiny-1", "--address", server.address], capsys)
    assert code == 0
    assert told.count("connected again") == 1


def test_ctrl_c_leaves_the_job_alone_and_says_how_to_stop_it(server, client, capsys, monkeypatch) -> None:
    def interrupted(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(submission, "follow", interrupted)
    code, told = run(["--attach", "tiny-1", "--address", server.address], capsys)
    assert (code, client.stopped) == (130, [])
    assert f"neglora submit --stop tiny-1 --address {server.address}" in told


def test_jobs_are_stopped_by_name(server, client, capsys) -> None:
    server.states = [{"status": "RUNNING"}]
    assert run(["--stop", "tiny-1", "--address", server.address], capsys)[0] == 0
    assert client.stopped == ["tiny-1"]
    server.states = [{"status": "SUCCEEDED"}]
    assert "has ended" in run(["--stop", "tiny-1", "--address", server.address], capsys)[1]
    code, told = run(["--stop", "other", "--address", server.address], capsys)
    assert code == 2
    assert "it knows tiny-1" in told


def test_a_cluster_cannot_steer_the_terminal(server, client, capsys) -> None:
    server.states = [{"status": "SUCCEEDED", "driver_exit_code": 0}]
    client.tails = [["\x1b]52;c;cm0gLXJm\x07\x9b2Jevil\u202e\n"]]
    _, told = run(["--attach", "tiny-1", "--address", server.address], capsys)
    assert "evil" in told
    assert not set(told) & set("\x1b\x07\x9b\u202e")
