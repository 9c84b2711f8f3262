"""The lease: one holder, told by its beats; a dead one's is taken over by one, and who lost it knows."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neglora.storage import ObjectStorage, StorageError
from study.holders import Holder, LockHeld
from study.lease import Lease, LeaseLost, Timing, lease_holder, leased

LOCK = "study/ledger.lock"
QUICK = Timing(beat=0.05, patience=0.4, look=0.1)
#: For holders that live, on a machine that may be busy.
PATIENT = Timing(beat=0.05, patience=60, look=0.1)
HOLD = """
import sys, time
from neglora.storage import ObjectStorage
from study.lease import Timing, leased
with leased(ObjectStorage(sys.argv[1]), "study/ledger.lock", timing=Timing(0.05, 60, 0.1)):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStorage:
    if request.param == "s3":
        return ObjectStorage(request.getfixturevalue("s3").uri())
    return ObjectStorage(f"file://{tmp_path}/runs")


@pytest.fixture
def folder(tmp_path: Path) -> ObjectStorage:
    return ObjectStorage(f"file://{tmp_path}/runs")


def foreign(storage: ObjectStorage, **changes: object) -> bytes:
    """A lease of a process of another machine, which nobody renews."""
    held = {"host": "elsewhere", "pid": 7, "user": "ann", "since": "2026-01-02T03:04:05+00:00", "machine": "b pid:[1]"}
    content = json.dumps(held | {"started": 5, "nonce": "theirs", "beat": 3} | changes).encode()
    storage.write(LOCK, content)
    return content


@contextmanager
def beaten(storage: ObjectStorage) -> Iterator[None]:
    """A process of another machine that lives: its beats go on."""
    done = threading.Event()

    def beat() -> None:
        for count in range(10000):
            if done.is_set():
                return
            foreign(storage, beat=count)
            time.sleep(0.05)

    thread = threading.Thread(target=beat)
    foreign(storage)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def until(condition) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_object_says_who_holds_it_and_its_beats_go_on(storage: ObjectStorage) -> None:
    with leased(storage, LOCK, timing=QUICK):
        held = json.loads(storage.read(LOCK))
        assert (held["host"], held["pid"]) == (socket.gethostname(), os.getpid())
        until(lambda: json.loads(storage.read(LOCK))["beat"] > held["beat"] + 1)
        assert json.loads(storage.read(LOCK))["nonce"] == held["nonce"]
    assert storage.names() == [], "given back"


def test_a_second_holder_is_refused_as_soon_as_the_first_is_seen_to_live(storage: ObjectStorage) -> None:
    said: list[str] = []
    with leased(storage, LOCK, timing=PATIENT):
        started = time.monotonic()
        with (
            pytest.raises(LockHeld, match=f"process {os.getpid()} of .* on {socket.gethostname()}, since 2"),
            leased(storage, LOCK, say=said.append, timing=PATIENT),
        ):
            pytest.fail("two hold the lease")
        assert time.monotonic() - started < PATIENT.patience
    assert said == [f"waiting up to 60 s to see whether {said[0].split('whether ')[1]}"]
    assert said[0].endswith("is still alive")


def test_a_holder_elsewhere_that_is_dead_is_waited_for_and_taken_over(storage: ObjectStorage) -> None:
    foreign(storage)
    said: list[str] = []
    with leased(storage, LOCK, say=said.append, timing=QUICK) as lease:
        lease.verify(now=True)
        assert json.loads(storage.read(LOCK))["pid"] == os.getpid()
        assert len(storage.names()) == 2, "and its claim"
    assert storage.names() == []
    assert said == [
        "waiting up to 0.4 s to see whether process 7 of ann on elsewhere, since 2026-01-02T03:04:05+00:00 is still "
        "alive",
        "no sign of life of process 7 of ann on elsewhere, since 2026-01-02T03:04:05+00:00: taking over",
    ]


def test_a_clock_that_jumps_kills_nobody(folder: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = iter(range(0, 10**9, 10**6))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(jumps)))
    with (
        beaten(folder),
        pytest.raises(LockHeld, match="process 7 of ann on elsewhere"),
        leased(folder, LOCK, timing=PATIENT),
    ):
        pytest.fail("taken from a holder that lives")


FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


@pytest.mark.skipif(FAKETIME is None, reason="needs Debian's package faketime")
def test_the_clock_of_a_holder_jumps_and_its_beats_go_on(folder: ObjectStorage, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environment = os.environ | {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock)}
    environment |= {"FAKETIME_NO_CACHE": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder.uri], stdout=subprocess.PIPE, text=True, env=environment
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            for jump in ("+3d", "-3d", "+1h"):
                clock.write_text(jump)
                before = json.loads(folder.read(LOCK))["beat"]
                until(lambda before=before: json.loads(folder.read(LOCK))["beat"] > before + 2)
                with pytest.raises(LockHeld, match=f"process {other.pid} "), leased(folder, LOCK, timing=PATIENT):
                    pytest.fail("two hold the lease")
        finally:
            other.kill()


def test_since_when_a_holder_holds_does_not_matter(folder: ObjectStorage) -> None:
    foreign(folder, since="2999-01-01T00:00:00+00:00")
    with leased(folder, LOCK, timing=QUICK):
        pass


def test_the_lease_of_a_killed_process_of_this_machine_is_taken_at_once(storage: ObjectStorage) -> None:
    said: list[str] = []
    with subprocess.Popen([sys.executable, "-c", HOLD, storage.uri], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(LockHeld, match=f"process {other.pid} "), leased(storage, LOCK, timing=PATIENT):
            pytest.fail("two hold the lease")
        assert f"process {other.pid} " in str(lease_holder(storage, LOCK, PATIENT))
        other.send_signal(signal.SIGKILL)
        # Also before anybody has waited for it.
        until(lambda: lease_holder(storage, LOCK, QUICK) is None)
        with leased(storage, LOCK, say=said.append, timing=PATIENT):
            pass
    assert said == [said[0]]
    assert "has ended without giving the study back" in said[0]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells when a process started")
def test_another_process_of_the_same_number_is_no_holder() -> None:
    mine = Holder.mine()
    assert not mine.has_ended
    assert Holder(mine.host, mine.pid, mine.user, mine.since, mine.machine, (mine.started or 0) - 1).has_ended
    assert not Holder(mine.host, 2**22 + 1, mine.user, mine.since, "another boot pid:[1]", 5).has_ended
    for number in (0, -1, 2**40):
        assert not Holder(mine.host, number, mine.user, mine.since, mine.machine, 5).has_ended


def test_a_lease_that_nobody_can_read_is_waited_for_too(folder: ObjectStorage) -> None:
    said: list[str] = []
    for content in (b"", b"{torn", b"[1]", b'{"nonce": 3, "pid": "x"}', b"[" * 100_000, b"\xff"):
        folder.write(LOCK, content)
        with leased(folder, LOCK, say=said.append, timing=QUICK):
            assert LOCK in folder.names()
        assert folder.names() == []
    assert len(said) == 12


def test_what_a_hostile_lease_says_moves_no_cursor(folder: ObjectStorage) -> None:
    said: list[str] = []
    foreign(folder, user="\x1b[2Jann\n", host="h" * 10_000, nonce="../../../etc/passwd")
    with leased(folder, LOCK, say=said.append, timing=QUICK):
        assert {name.partition("lock")[0] for name in folder.names()} == {"study/ledger."}
    assert all(text.isprintable() and len(text) < 400 for text in said)


def test_a_holder_whose_lease_is_taken_knows(storage: ObjectStorage) -> None:
    with leased(storage, LOCK, timing=QUICK) as lease:
        theirs: list[bytes] = []

        def is_lost() -> bool:
            # Taken again, where a beat that was under way has written over it.
            theirs[:] = [foreign(storage)]
            return _is_lost(lease, now=True)

        until(is_lost)
        with pytest.raises(LeaseLost, match="process 7 of ann on elsewhere"):
            lease.verify(now=True)
        until(lambda: not lease._thread.is_alive())
        with pytest.raises(LeaseLost):
            lease.verify()
        assert [storage.read(LOCK)] == theirs
    assert [storage.read(LOCK)] == theirs, "another's lease is not given back"


def test_a_holder_that_could_not_beat_for_long_asks_before_it_goes_on(
    folder: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after the sleep of a whole machine: the thread has not beaten yet.
    with leased(folder, LOCK, timing=Timing(beat=3600, patience=0.4, look=0.1)) as lease:
        foreign(folder)
        lease.verify()
        until(lambda: _is_lost(lease))


def _is_lost(lease: Lease, *, now: bool = False) -> bool:
    try:
        lease.verify(now=now)
    except LeaseLost:
        return True
    return False


def test_a_lease_that_somebody_removed_is_made_again(folder: ObjectStorage) -> None:
    with leased(folder, LOCK, timing=PATIENT) as lease:
        folder.delete(LOCK)
        until(lambda: folder.exists(LOCK))
        lease.verify(now=True)


def test_a_holder_that_was_away_while_another_came_and_went_knows(storage: ObjectStorage) -> None:
    with leased(storage, LOCK, timing=Timing(beat=3600, patience=0.4, look=0.1)) as lease:
        with leased(storage, LOCK, timing=QUICK):
            pass
        with pytest.raises(LeaseLost, match="has given it back since"):
            lease.verify()
        assert storage.names() == []


def test_beats_go_on_in_a_process_with_many_open_files(folder: ObjectStorage) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with leased(folder, LOCK, timing=PATIENT):
            until(lambda: json.loads(folder.read(LOCK))["beat"] > 1)
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_storage_that_fails_for_a_while_costs_nobody_the_lease(
    folder: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with leased(folder, LOCK, timing=QUICK) as lease:
        failed: list[str] = []

        def fail(name: str, *_: object) -> bytes:
            failed.append(name)
            raise StorageError("the line is cut")

        with monkeypatch.context() as patch:
            patch.setattr(folder, "read", fail)
            until(lambda: len(failed) > 3)
            with pytest.raises(StorageError, match="the line is cut"):
                lease.verify(now=True)
        before = json.loads(folder.read(LOCK))["beat"]
        until(lambda: json.loads(folder.read(LOCK))["beat"] > before)
        lease.verify()


def test_a_lost_answer_is_no_other_holder(folder: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    # A client that tries again after the answer was lost is told that the object is there: its own.
    real = folder.write_new
    monkeypatch.setattr(folder, "write_new", lambda name, data: real(name, data) and False)
    with leased(folder, LOCK, timing=QUICK) as lease:
        lease.verify(now=True)


def test_a_claimant_that_died_is_claimed_in_turn(folder: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = foreign(folder)
    real = folder.write

    def die(name: str, data: bytes) -> None:
        if name == LOCK:
            raise KeyboardInterrupt
        real(name, data)

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(folder, "write", die)
            with pytest.raises(KeyboardInterrupt), leased(folder, LOCK, timing=QUICK):
                pytest.fail("held")
    assert folder.read(LOCK) == theirs
    assert len(folder.names()) == 3
    with leased(folder, LOCK, timing=QUICK) as lease:
        lease.verify(now=True)
        assert json.loads(folder.read(LOCK))["nonce"] == lease.nonce
    assert folder.names() == []


def test_a_holder_that_was_stopped_while_it_beat_takes_nothing_back(folder: ObjectStorage) -> None:
    theirs = foreign(folder)
    with leased(folder, LOCK, timing=QUICK) as lease:
        # It had read the lease as its own before it was stopped.
        folder.write(LOCK, theirs)
        until(lambda: json.loads(folder.read(LOCK))["nonce"] == lease.nonce)
        folder.write(LOCK, theirs)
        lease.verify(now=True)
        folder.write(LOCK, theirs)
        assert f"process {os.getpid()} " in str(lease_holder(folder, LOCK, QUICK))
    assert folder.names() == []


def test_a_claim_that_comes_too_late_takes_nothing(folder: ObjectStorage) -> None:
    from study.lease import _take_over

    old = foreign(folder)
    late = Lease(folder, LOCK, QUICK)
    with leased(folder, LOCK, timing=QUICK) as winner:
        assert not _take_over(late, folder, LOCK, old)
        winner.verify(now=True)
    assert not _take_over(late, folder, LOCK, old)
    assert folder.names() == []


RACE = """
import sys, time
from neglora.storage import ObjectStorage
from study.holders import LockHeld
from study.lease import Timing, leased
storage = ObjectStorage(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    with leased(storage, "study/ledger.lock", timing=Timing(0.05, float(sys.argv[2]), 0.1)) as lease:
        print("won", flush=True)
        sys.stdin.readline()
        lease.verify(now=True)
        print("kept", flush=True)
except LockHeld as error:
    print(f"held by {error}", flush=True)
"""


@pytest.mark.parametrize("taken", [False, True], ids=["free", "left by a dead holder"])
@pytest.mark.parametrize("kind", ["file", pytest.param("s3", marks=pytest.mark.faults)])
def test_of_eight_processes_one_wins(kind: str, taken: bool, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    uri = request.getfixturevalue("s3").uri() if kind == "s3" else f"file://{tmp_path}/runs"
    storage = ObjectStorage(uri)
    if taken:
        # A process of this machine that has ended, so that all of them go for the claim at once.
        with subprocess.Popen(["true"]) as ended:
            ended.wait()
        gone = {"machine": Holder.mine().machine, "pid": ended.pid, "host": socket.gethostname()}
        foreign(storage, **gone)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, uri, "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    lines: list[str] = []
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        for racer in racers:
            assert racer.stdout is not None
            lines.append(racer.stdout.readline().strip())
        winner = racers[lines.index("won")]
        assert sorted(lines, key=len)[0] == "won"
        assert all(f"process {winner.pid} " in line for line in lines if line != "won"), lines
        assert lines.count("won") == 1
        assert winner.stdin is not None
        assert winner.stdout is not None
        winner.stdin.write("go\n")
        winner.stdin.flush()
        assert winner.stdout.readline() == "kept\n"
        assert winner.wait() == 0
        assert storage.names() == []
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
