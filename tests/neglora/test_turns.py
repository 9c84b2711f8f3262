"""Turns at a device, with several holders in one process: each has files of its own."""

from __future__ import annotations

import errno
import fcntl
import logging
import threading
from pathlib import Path

import pytest
import torch

from neglora.turns import Turns

CPU = torch.device("cpu")
#: Seconds until something that has to happen is given up.
PATIENCE = 30.0


class Worker(threading.Thread):
    """Takes a turn, and stays until it is told to leave."""

    def __init__(self, folder: Path, alone: bool = False) -> None:
        super().__init__(daemon=True)
        self.turns, self.alone_wanted = Turns(CPU, folder), alone
        self.inside, self.leave, self.released = threading.Event(), threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with self.turns.alone() if self.alone_wanted else self.turns.together(self.released.set):
            self.inside.set()
            assert self.leave.wait(PATIENCE)
        self.turns.close()

    def go(self) -> None:
        self.leave.set()
        self.join(PATIENCE)
        assert not self.is_alive()


def test_many_work_together(tmp_path):
    workers = [Worker(tmp_path) for _ in range(3)]
    assert all(worker.inside.wait(PATIENCE) for worker in workers)
    for worker in workers:
        worker.go()
    assert not any(worker.released.is_set() for worker in workers), "nobody wanted to be alone"


def test_one_alone_waits_for_those_inside_and_keeps_newcomers_out(tmp_path):
    inside = Worker(tmp_path)
    assert inside.inside.wait(PATIENCE)
    alone = Worker(tmp_path, alone=True)
    wait_until_shut(tmp_path)
    assert not alone.inside.is_set()
    late = Worker(tmp_path)
    assert late.released.wait(PATIENCE), "who waits lets go of memory"
    assert not late.inside.is_set()
    inside.go()
    assert inside.released.is_set(), "who leaves while somebody waits to be alone lets go of memory"
    assert alone.inside.wait(PATIENCE)
    assert not late.inside.is_set()
    alone.go()
    assert late.inside.wait(PATIENCE)
    late.go()


def test_two_who_want_to_be_alone_are_so_one_after_the_other(tmp_path):
    first = Worker(tmp_path, alone=True)
    assert first.inside.wait(PATIENCE)
    second = Worker(tmp_path, alone=True)
    assert not second.inside.wait(0.1)
    first.go()
    assert second.inside.wait(PATIENCE)
    second.go()


def test_a_holder_that_is_gone_holds_nothing(tmp_path):
    gone = Turns(CPU, tmp_path)
    gone.alone().__enter__()
    gone.close()
    worker = Worker(tmp_path)
    assert worker.inside.wait(PATIENCE)
    worker.go()


def test_without_a_place_for_its_files_nobody_waits(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        turns = Turns(CPU, tmp_path / "missing")
    assert "run side by side in any case" in caplog.text
    with turns.alone(), Turns(CPU, tmp_path / "missing").together(pytest.fail):
        pass


def test_on_a_file_system_without_locks_nobody_waits(tmp_path, monkeypatch, caplog):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    turns = Turns(CPU, tmp_path)
    assert "run side by side in any case" in caplog.text
    with turns.together(lambda: pytest.fail("released")):
        pass
    with turns.alone():
        pass


def test_a_folder_that_others_can_write_is_not_used(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Turns(CPU).close()
    [folder] = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert caplog.text == ""
    folder.chmod(0o777)
    Turns(CPU).close()
    assert "is not a folder of this user alone" in caplog.text


def wait_until_shut(folder: Path) -> None:
    """Until somebody who wants to be alone has shut the door."""
    for _ in range(int(PATIENCE * 100)):
        probe, released = Turns(CPU, folder), threading.Event()
        thread = threading.Thread(target=lambda: enter(probe, released), daemon=True)  # noqa: B023
        thread.start()
        if released.wait(0.05):
            return
        thread.join(PATIENCE)
    raise AssertionError("nobody shut the door")


def enter(turns: Turns, released: threading.Event) -> None:
    with turns.together(released.set):
        pass
    turns.close()
