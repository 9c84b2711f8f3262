"""The token: where it is found, that only its user can read what is made, and that nothing shows it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from study.cluster.failures import ClusterError
from study.cluster.token import ask_for_token, how_to_give, read_token, token_place


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "")
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_one_is_made_where_none_is_for_its_user_alone(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert ask_for_token()
        token = read_token()
        assert ask_for_token()
    file = home / ".ray" / "auth_token"
    assert token is not None
    assert len(token) == 64
    assert read_token() == token == file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert token not in caplog.text + token_place() + how_to_give()


def test_the_environment_comes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_for_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "other"))
    assert read_token() is None
    (home / "other").write_text("of a file\n")
    assert read_token() == "of a file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    assert read_token() == "given"
    assert token_place() == "$RAY_AUTH_TOKEN"


def test_who_asks_for_none_gets_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert not ask_for_token()
    assert not (home / ".ray").exists()


def test_a_token_that_others_may_read_is_told(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    ask_for_token()
    file = home / ".ray" / "auth_token"
    file.chmod(0o644)
    read_token()
    assert f"chmod 600 {file}" in caplog.text
    assert file.read_text() not in caplog.text


def test_an_empty_file_is_filled(home: Path) -> None:
    (home / ".ray").mkdir()
    file = home / ".ray" / "auth_token"
    file.touch()
    ask_for_token()
    assert len(file.read_text()) == 64
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_home_that_cannot_be_written_leaves_a_token_of_this_process(home: Path) -> None:
    (home / ".ray").write_text("a file where the folder should be")
    assert ask_for_token()
    assert Path(token_place()).stat().st_mode & 0o777 == 0o600
    assert not Path(token_place()).is_relative_to(home)
    assert read_token()


def test_such_a_token_is_gone_with_its_process(home: Path) -> None:
    (home / ".ray").write_text("a file where the folder should be")
    told = "from study.cluster.token import ask_for_token, token_place; ask_for_token(); print(token_place())"
    environment = os.environ | {"HOME": str(home), "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True)
    assert not Path(done.stdout.strip()).parent.exists()


def test_a_place_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    (home / "file").touch()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "file" / "token"))
    with pytest.raises(ClusterError, match="RAY_AUTH_TOKEN_PATH names"):
        ask_for_token()


def test_a_file_that_is_no_text_is_told(home: Path) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_bytes(b"\xff\xfe")
    with pytest.raises(ClusterError, match="it is no text"):
        read_token()
