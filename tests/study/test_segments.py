"""The ledger of objects: what was acknowledged stays and is there once, whatever dies at which step."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from neglora.record import Record, Status, trial_id
from neglora.storage import ObjectStorage, StorageError
from study import segments
from study.lease import Timing
from study.ledger import LedgerError, LedgerLocked
from study.segments import SegmentLedger, read_segments, segment_name

CELL = {"dataset": "digits", "model": "tinyvit_nano", "method": "neglora"}
QUICK = Timing(beat=0.05, patience=0.4, look=0.1)
#: A holder is seen to live, also on a busy machine.
BUSY = Timing(beat=0.05, patience=60, look=0.1)
#: Nothing is noticed between two requests of a test.
SLOW = Timing(beat=3600, patience=7200, look=0.1)
KINDS = ["file", "s3"]


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStorage:
    if request.param == "s3":
        return ObjectStorage(request.getfixturevalue("s3").uri())
    return ObjectStorage(f"file://{tmp_path}/runs")


@pytest.fixture
def folder(tmp_path: Path) -> ObjectStorage:
    return ObjectStorage(f"file://{tmp_path}/runs")


def record(number: int, status: Status = "ok") -> Record:
    return Record(
        trial=trial_id(CELL, number),
        cell=CELL,
        params={"lr": 1e-3, "targets": "ffn"},
        status=status,
        reason=None if status == "ok" else "Überlauf in Schritt 3",
        metrics={"ua": 1.0, "mia": None} if status == "ok" else {},
    )


def read(storage: ObjectStorage) -> list[Record]:
    return [line.record for line in read_segments(storage, "study")]


def written(storage: ObjectStorage, *records: Record) -> None:
    with SegmentLedger.open(storage, "study", timing=SLOW) as ledger:
        for item in records:
            ledger.append(item)


def names(storage: ObjectStorage) -> list[str]:
    return [name.removeprefix("study/") for name in storage.names("study")]


def test_what_was_appended_is_read_back(storage: ObjectStorage) -> None:
    assert read(storage) == []
    records = [record(0), record(1, "diverged"), replace(record(0), fidelity="confirm")]
    written(storage, *records)
    assert read(storage) == records
    assert names(storage) == [f"ledger/0000000{number}.jsonl" for number in (1, 2, 3)]
    with SegmentLedger.open(storage, "study", timing=BUSY) as ledger:
        assert ledger.records == tuple(records)
        ledger.append(record(2))
        assert ledger.records[-1] == read(storage)[-1] == record(2)
        with pytest.raises(LedgerError, match=r"neglora-0002 already has a line of fidelity 'full'"):
            ledger.append(record(2, "failed"))
        with (
            pytest.raises(LedgerLocked, match=f"process {os.getpid()} of .*, since .*same command again"),
            SegmentLedger.open(storage, "study", timing=BUSY),
        ):
            pytest.fail("two write the ledger")


def test_it_is_put_together_now_and_then(storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "EVERY", 4)
    records = [record(number) for number in range(11)]
    written(storage, *records[:6])
    written(storage, *records[6:])
    assert read(storage) == records
    assert names(storage) == ["ledger/00000008.base.jsonl", *(segment_name(number) for number in (9, 10, 11))]
    lines = storage.read("study/ledger/00000008.base.jsonl").splitlines(keepends=True)
    assert lines == [item.to_line().encode() + b"\n" for item in records[:8]]


class Crash(BaseException):
    """The process is gone: nothing catches it."""


class Failing:
    """An object storage that fails at request number `at` that changes something, before or after it has done it."""

    def __init__(self, inner: ObjectStorage, at: int, *, after: bool, error: Callable[[], BaseException]) -> None:
        self.inner, self.at, self.after, self.error, self.count = inner, at, after, error, 0

    def __getattr__(self, name: str) -> object:
        found = getattr(self.inner, name)
        if name not in ("write", "write_new", "delete"):
            return found

        def request(*arguments: object) -> object:
            # Only the ledger's own: the lease has tests of its own.
            if not str(arguments[0]).startswith(("study/ledger/", "study/ledger.failed")):
                return found(*arguments)
            self.count += 1
            if self.count != self.at:
                return found(*arguments)
            if self.after:
                found(*arguments)
            raise self.error()

        return request


def outcome(storage: ObjectStorage, count: int, fate: Callable[[ObjectStorage], object]) -> list[Record]:
    """Append, set failed aside, append: the records that were acknowledged before the fate struck."""
    acknowledged: dict[str, Record] = {}
    try:
        with SegmentLedger.open(fate(storage), "study", timing=SLOW) as ledger:  # type: ignore[arg-type]
            for number in range(count):
                item = record(number, "failed" if number % 3 == 2 else "ok")
                ledger.append(item)
                acknowledged[item.trial] = item
            for item in ledger.set_failed_aside():
                del acknowledged[item.trial]
            ledger.append(record(count))
            acknowledged[record(count).trial] = record(count)
    except Crash:
        pass
    return list(acknowledged.values())


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_step_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    monkeypatch.setattr(segments, "EVERY", 3)
    crashes = 0
    for at in range(1, 100):
        inner = ObjectStorage(f"file://{tmp_path}/{at}")
        fate = Failing(inner, at, after=after, error=Crash)
        acknowledged = outcome(inner, 7, lambda _, fate=fate: fate)
        if fate.count < at:
            break
        crashes += 1
        found = read(inner)
        trials = [item.trial for item in found]
        assert len(trials) == len(set(trials)), "once each"
        aside = [
            json.loads(line)["trial"]
            for name in names(inner)
            if "failed-" in name
            for line in inner.read(f"study/{name}").splitlines()
        ]
        assert {item.trial for item in acknowledged} <= {*trials, *aside}, (at, names(inner))
        assert len(found) <= len(acknowledged) + 3
        assert aside in ([], [record(2).trial, record(5).trial])
        written(inner, record(50))
        assert read(inner) == [*found, record(50)], "and it goes on from there"
        assert not any(name.endswith("writing") for name in names(inner))
    assert crashes > 15


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_append_that_failed_may_be_tried_again(folder: ObjectStorage, after: bool) -> None:
    fate = Failing(folder, 2, after=after, error=lambda: StorageError("the line is cut"))
    with SegmentLedger.open(fate, "study", timing=SLOW) as ledger:  # type: ignore[arg-type]
        ledger.append(record(0))
        with pytest.raises(LedgerError, match="the line is cut"):
            ledger.append(record(1))
        # Also where it was written, and only the answer was lost.
        ledger.append(record(1))
        ledger.append(record(2))
        assert ledger.records == (record(0), record(1), record(2)) == tuple(read(folder))


def test_a_ledger_that_cannot_be_put_together_is_written_further(
    folder: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "EVERY", 4)
    fate = Failing(folder, 5, after=False, error=lambda: StorageError("the line is cut"))
    with SegmentLedger.open(fate, "study", timing=SLOW) as ledger:  # type: ignore[arg-type]
        for number in range(6):
            ledger.append(record(number))
    assert names(folder) == ["ledger/00000005.base.jsonl", "ledger/00000006.jsonl"]
    assert read(folder) == [record(number) for number in range(6)]


def test_storage_that_is_gone_is_a_clear_error_and_loses_nothing(
    folder: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise StorageError("s3://bucket/runs/x cannot be written: the line is cut")

    with SegmentLedger.open(folder, "study", timing=SLOW) as ledger:
        ledger.append(record(0))
        with monkeypatch.context() as patch:
            patch.setattr(folder, "write_new", fail)
            with pytest.raises(LedgerError, match=r"the line is cut\. Mend the storage and run the same command again"):
                ledger.append(record(1))
        assert ledger.records == (record(0),) == tuple(read(folder))
        ledger.append(record(1))
    assert read(folder) == [record(0), record(1)]
    monkeypatch.setattr(folder, "names", fail)
    with pytest.raises(LedgerError, match=r"the ledger cannot be read: .*the line is cut"):
        read(folder)


def test_storage_that_cannot_be_written_is_a_clear_error(s3) -> None:
    s3.denied.add("closed")
    with (
        pytest.raises(LedgerError, match=r"cannot be written here: .*another with --storage"),
        SegmentLedger.open(ObjectStorage(s3.uri(bucket="closed")), "study", timing=QUICK),
    ):
        pytest.fail("opened")


def test_failed_trials_are_set_aside_and_their_lines_kept(storage: ObjectStorage) -> None:
    first = [record(0), record(1, "failed"), record(2, "diverged"), record(3, "failed")]
    written(storage, *first)
    with SegmentLedger.open(storage, "study", timing=SLOW) as ledger:
        assert ledger.set_failed_aside() == [record(1, "failed"), record(3, "failed")]
        assert ledger.records == (record(0), record(2, "diverged")) == tuple(read(storage))
        assert ledger.set_failed_aside() == []
        ledger.append(record(1))
        ledger.append(record(3, "failed"))
        assert ledger.set_failed_aside() == [record(3, "failed")]
        ledger.append(record(3))
    expected = [record(0), record(2, "diverged"), record(1), record(3)]
    assert read(storage) == expected
    written(storage)
    assert read(storage) == expected
    aside = [name for name in names(storage) if name.startswith("ledger.failed-")]
    kept = sorted((storage.read(f"study/{name}") for name in aside), key=len)
    assert kept == [
        record(3, "failed").to_line().encode() + b"\n",
        b"".join(item.to_line().encode() + b"\n" for item in (first[1], first[3])),
    ]


def test_a_process_that_lost_the_study_stops_writing(storage: ObjectStorage) -> None:
    with SegmentLedger.open(storage, "study", timing=SLOW) as late:
        late.append(record(0))
        storage.delete("study/ledger.lock")
        with SegmentLedger.open(storage, "study", timing=SLOW) as ledger:
            ledger.append(record(1))
            with pytest.raises(LedgerError, match=r"another neglora has taken this study over: process \d+ .*stopped"):
                late.append(record(2))
            ledger.append(record(2))
    assert read(storage) == [record(0), record(1), record(2)]


def test_what_such_a_process_wrote_before_it_knew_is_kept_once(folder: ObjectStorage) -> None:
    with SegmentLedger.open(folder, "study", timing=SLOW) as late:
        late.append(record(0))
        folder.delete("study/ledger.lock")
        with SegmentLedger.open(folder, "study", timing=SLOW) as ledger:
            late.append(record(1))
            late.append(record(2))
            ledger.append(record(3))
            assert ledger.records == (record(0), record(1), record(2), record(3))
            ledger.append(replace(record(1), reason="the same trial, run here as well"))
    assert read(folder) == [record(0), record(1), record(2), record(3)]


def test_the_same_trial_of_both_is_recorded_once(folder: ObjectStorage) -> None:
    with SegmentLedger.open(folder, "study", timing=SLOW) as late:
        folder.delete("study/ledger.lock")
        with SegmentLedger.open(folder, "study", timing=SLOW) as ledger:
            late.append(record(0))
            ledger.append(replace(record(0), reason="the same trial, run here as well"))
            assert ledger.records == (record(0),)
            ledger.append(record(1))
    assert read(folder) == [record(0), record(1)]


def test_what_such_a_process_writes_where_another_has_swept_is_not_acknowledged(
    folder: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "EVERY", 3)
    real = folder.write_new

    def others_first(name: str, data: bytes) -> bool:
        # It is stopped here for long: another comes, puts the ledger together, and goes.
        monkeypatch.setattr(folder, "write_new", real)
        with SegmentLedger.open(ObjectStorage(folder.uri), "study", timing=QUICK) as other:
            for number in range(1, 6):
                other.append(record(number))
        return real(name, data)

    with SegmentLedger.open(folder, "study", timing=Timing(beat=3600, patience=0.4, look=0.1)) as ledger:
        ledger.append(record(0))
        monkeypatch.setattr(folder, "write_new", others_first)
        with pytest.raises(LedgerError, match="has taken this study over"):
            ledger.append(record(50))
    assert [item.number for item in read(folder)] == [0, 1, 2, 3, 4, 5]


def test_of_two_objects_with_one_trial_the_first_counts(folder: ObjectStorage) -> None:
    written(folder, record(0))
    folder.write("study/ledger/00000002.jsonl", record(0, "failed").to_line().encode() + b"\n")
    assert read(folder) == [record(0)]
    written(folder, record(1))
    assert read(folder) == [record(0), record(1)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{torn\n", "not a JSON object"),
        (record(1).to_line().encode()[:-20], "not a JSON object"),
        (b"\xff\xfe\n", "0xff"),
        (record(1).to_line().replace('"schema":1', '"schema":99').encode(), "upgrade neglora"),
        (2 * (record(1).to_line().encode() + b"\n"), "stands on line 1 already"),
    ],
)
def test_a_bad_line_is_named_by_object_and_line(folder: ObjectStorage, content: bytes, message: str) -> None:
    written(folder, record(0))
    folder.write("study/ledger/00000002.jsonl", content)
    with pytest.raises(LedgerError, match=r"study/ledger/00000002\.jsonl:[12]: .*" + message):
        read(folder)
    with (
        pytest.raises(LedgerError, match=r"study/ledger/00000002\.jsonl:[12]: "),
        SegmentLedger.open(folder, "study", timing=SLOW),
    ):
        pytest.fail("opened")
    assert not folder.exists("study/ledger.lock"), "given back"


def test_an_object_that_somebody_removed_is_named(folder: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "LOOKS", 2)
    written(folder, record(0), record(1), record(2))
    folder.delete("study/ledger/00000002.jsonl")
    with pytest.raises(LedgerError, match=r"study/ledger/00000002\.jsonl is missing: somebody removed.*--fresh"):
        read(folder)


def test_what_else_lies_there_is_no_part_of_it(folder: ObjectStorage) -> None:
    written(folder, record(0))
    for name in ("notes.txt", "00000002.jsonl.writing", "x/00000002.jsonl", "2.jsonl", ".00000002.jsonl.ab"):
        folder.write(f"study/ledger/{name}", b"not a record")
    assert read(folder) == [record(0)]


def test_it_is_read_while_it_is_put_together(storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "EVERY", 2)
    wrong: list[str] = []
    done = threading.Event()
    acknowledged = [0]

    def look() -> None:
        while not done.is_set():
            least = acknowledged[0]
            found = [item.number for item in read(storage)]
            if found != list(range(len(found))) or len(found) < least:
                wrong.append(f"{found} after {least}")

    readers = [threading.Thread(target=look) for _ in range(2)]
    with SegmentLedger.open(storage, "study", timing=SLOW) as ledger:
        for reader in readers:
            reader.start()
        for number in range(24):
            ledger.append(record(number))
            acknowledged[0] = number + 1
        done.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert len(read(storage)) == 24


APPEND = """
import sys
from test_segments import record
from neglora.storage import ObjectStorage
from study import segments
from study.segments import SegmentLedger
segments.EVERY = 5
with SegmentLedger.open(ObjectStorage(sys.argv[1]), "study") as ledger:
    for number in range(len(ledger.records), 100000):
        ledger.append(record(number)); print(number, flush=True)
"""


def killed(storage: ObjectStorage, times: int, seconds: tuple[float, float]) -> Iterator[tuple[list[int], list[int]]]:
    """Kill a process that appends, again and again; what it acknowledged, and what is there."""
    generator = random.Random(storage.title.rpartition("/")[0][-4:])
    acknowledged: list[int] = []
    for _ in range(times):
        with subprocess.Popen(
            [sys.executable, "-c", APPEND, storage.uri], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
        ) as writer:
            assert writer.stdout is not None
            acknowledged.append(int(writer.stdout.readline()))
            time.sleep(generator.uniform(*seconds))
            writer.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in writer.stdout.read().split()]
        yield acknowledged, [item.number for item in read(storage)]


@pytest.mark.parametrize(
    ("kind", "times"),
    [("file", 4), pytest.param("file", 25, marks=pytest.mark.faults), pytest.param("s3", 20, marks=pytest.mark.faults)],
)
def test_a_writer_killed_at_any_moment_loses_and_doubles_nothing(
    kind: str, times: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    uri = request.getfixturevalue("s3").uri() if kind == "s3" else f"file://{tmp_path}/runs"
    storage = ObjectStorage(uri)
    rounds = 0
    for acknowledged, found in killed(storage, times, (0.0, 0.4)):
        rounds += 1
        assert found == list(range(len(found)))
        # One more may have been written whose acknowledgement the kill has cut off.
        assert set(acknowledged) <= set(found)
        assert len(found) <= len(acknowledged) + rounds
    assert rounds == times
    leased = json.loads(storage.read("study/ledger.lock"))
    assert leased["pid"] != os.getpid(), "the killed one's, which the next takes over"


GO_ON = """
import itertools, sys
from test_segments import STOPPED, record
from neglora.storage import ObjectStorage
from study.ledger import LedgerError
from study.segments import SegmentLedger
try:
    with SegmentLedger.open(ObjectStorage(sys.argv[1]), "study", timing=STOPPED) as ledger:
        for number in itertools.count(len(ledger.records)):
            ledger.append(record(number)); print(number, flush=True)
except LedgerError as error:
    print(error, flush=True)
"""
STOPPED = Timing(beat=0.05, patience=1.0, look=0.1)


def test_a_process_that_was_stopped_for_long_finds_its_study_taken(storage: ObjectStorage) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", GO_ON, storage.uri], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ) as stopped:
        try:
            assert stopped.stdout is not None
            acknowledged = [int(stopped.stdout.readline()) for _ in range(5)]
            stopped.send_signal(signal.SIGSTOP)
            said: list[str] = []
            with SegmentLedger.open(storage, "study", say=said.append, timing=STOPPED) as ledger:
                assert "no sign of life" in said[-1]
                ledger.append(record(10_000))
                stopped.send_signal(signal.SIGCONT)
                *more, last = stopped.stdout.read().splitlines()
                assert "another neglora has taken this study over" in last
                acknowledged += map(int, more)
                ledger.append(record(10_001))
        finally:
            stopped.kill()
    found = [item.number for item in read(storage)]
    assert len(found) == len(set(found))
    assert {*acknowledged, 10_000, 10_001} <= set(found)
