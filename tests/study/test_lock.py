"""The lock names who holds it, refuses a second holder, and dies with its process."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest

from study.ledger import Ledger, LedgerError
from study.lock import LockHeld, holder, locked

HOLD = "import sys, time; from pathlib import Path; from study.lock import locked\n"
HOLD += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_the_file_says_who_holds_it_since_when(tmp_path: Path) -> None:
    with locked(tmp_path / "ledger.lock"):
        held = json.loads((tmp_path / "ledger.lock").read_text())
    assert held["host"] == socket.gethostname()
    assert held["pid"] == os.getpid()
    assert held["user"]
    assert datetime.fromisoformat(held["since"]).utcoffset() is not None


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    file = tmp_path / "ledger.lock"
    with locked(file):
        with (
            pytest.raises(LockHeld, match=f"process {os.getpid()} of .* on {socket.gethostname()}, since 2"),
            locked(file),
        ):
            pytest.fail("two hold the lock")
        assert json.loads(file.read_text())["pid"] == os.getpid()
    with locked(file):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    file = tmp_path / "ledger.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(LockHeld, match=f"process {other.pid} "), locked(file):
            pytest.fail("two hold the lock")
        other.send_signal(signal.SIGKILL)
        other.wait()
    with locked(file):
        assert json.loads(file.read_text())["pid"] == os.getpid()


def test_a_holder_that_has_not_written_yet_is_not_made_up(tmp_path: Path) -> None:
    file = tmp_path / "ledger.lock"
    with locked(file):
        file.write_text('{"host": ')
        with pytest.raises(LockHeld, match="a process that has just started"), locked(file):
            pytest.fail("two hold the lock")


def test_a_killed_holder_of_a_study_leaves_it_free(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "ledger.lock")], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert f"process {other.pid} " in str(holder(tmp_path / "ledger.lock"))
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert holder(tmp_path / "ledger.lock") is None
    with Ledger.open(tmp_path):
        pass


@pytest.mark.parametrize("anew", [False, True])
def test_a_lock_that_is_moved_while_it_is_taken_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: bool
) -> None:
    file = tmp_path / "study" / "ledger.lock"
    with Ledger.open(file.parent):
        pass
    real = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        file.parent.rename(tmp_path / "aside")
        if anew:
            file.parent.mkdir()
            stack.enter_context(locked(file))
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with ExitStack() as stack:
        with pytest.raises(LockHeld, match="moved the study away"), locked(file):
            pytest.fail("two hold the lock")
        assert (holder(file) is not None) == anew


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(LedgerError, match=r"keeps no locks \(flock: .*NFS.*--storage, or a URI such as"),
        Ledger.open(tmp_path / "study"),
    ):
        pytest.fail("opened")
    assert holder(tmp_path / "study" / "ledger.lock") is None, "nobody could"


def test_what_a_hostile_lock_says_moves_no_cursor(tmp_path: Path) -> None:
    file = tmp_path / "ledger.lock"
    with locked(file):
        hostile = {"host": "h\x1b[2J" + "h" * 1000, "pid": 3, "user": "ann\n", "since": "now"}
        file.write_text(json.dumps(hostile))
        assert str(holder(file)).isprintable()
        assert len(str(holder(file))) < 400
