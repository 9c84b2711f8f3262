"""The ledger: what was acknowledged stays, what was torn goes, one writer at a time, errors that say where."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from neglora.record import SCHEMA, Record, Status, trial_id
from study.ledger import Ledger, LedgerError, LedgerLocked, read_ledger

CELL = {"dataset": "digits", "model": "tinyvit_nano", "method": "neglora"}


def record(number: int, status: Status = "ok") -> Record:
    return Record(
        trial=trial_id(CELL, number),
        cell=CELL,
        params={"lr": 1e-3, "targets": "ffn"},
        status=status,
        reason=None if status == "ok" else "Überlauf in Schritt 3",
        metrics={"ua": 1.0, "mia": None} if status == "ok" else {},
    )


def written(directory: Path, *records: Record) -> Path:
    with Ledger.open(directory) as ledger:
        for item in records:
            ledger.append(item)
    return directory / "ledger.jsonl"


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    records = [record(0), record(1, "diverged"), replace(record(0), fidelity="confirm")]
    file = written(tmp_path / "runs" / "study", *records)
    assert read_ledger(file) == read_ledger(file.parent) == records
    assert [json.loads(line)["trial"] for line in file.read_text("utf-8").splitlines()] == [r.trial for r in records]
    with Ledger.open(file.parent) as ledger:
        assert ledger.records == tuple(records)
        ledger.append(record(2))
        assert ledger.records[-1] == read_ledger(file)[-1] == record(2)


def test_no_ledger_holds_no_records(tmp_path: Path) -> None:
    assert read_ledger(tmp_path) == read_ledger(tmp_path / "ledger.jsonl") == read_ledger(tmp_path / "nowhere") == []


def test_a_last_line_torn_at_any_byte_is_left_out_and_then_cut_off(tmp_path: Path) -> None:
    file = written(tmp_path, record(0), record(1))
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    for size in range(first, len(whole) - 1, 7):
        file.write_bytes(whole[:size])
        assert read_ledger(file) == [record(0)]
        assert file.read_bytes() == whole[:size], "reading changes nothing"
        with Ledger.open(tmp_path) as ledger:
            assert ledger.records == (record(0),)
            assert file.read_bytes() == whole[:first]
            ledger.append(record(1))
        assert file.read_bytes() == whole


def test_a_last_line_that_lacks_only_its_newline_gets_one(tmp_path: Path) -> None:
    file = written(tmp_path, record(0), record(1))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert read_ledger(file) == [record(0), record(1)]
    written(tmp_path)
    assert file.read_bytes() == whole


def test_a_writer_killed_at_any_moment_leaves_whole_records(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from test_ledger import record; from study.ledger import Ledger\n"
        "with Ledger.open(Path(sys.argv[1])) as ledger:\n"
        "    for number in range(100000): ledger.append(record(number)); print(number, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ) as writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(20)]
        with pytest.raises(LedgerLocked, match=f"process {writer.pid} "), Ledger.open(tmp_path):
            pytest.fail("two write the ledger")
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout.read().split()]
    with Ledger.open(tmp_path) as ledger:
        numbers = [item.number for item in ledger.records]
    assert numbers == list(range(len(numbers)))
    assert len(acknowledged) <= len(numbers) <= len(acknowledged) + 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{torn} in the middle", "not a JSON object"),
        ("", "not a JSON object"),
        ('{"trial": "x-0001"}', "no integer 'schema'"),
        (record(1).to_line().replace('"ok"', '"fine"'), "'status' should be one of"),
        (record(1).to_line().replace(f'"schema":{SCHEMA}', '"schema":99'), "schema 99 is newer than this program's"),
        (record(0).to_line(), "stands on line 1 already"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_changed(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "ledger.jsonl"
    content = f"{record(0).to_line()}\n{line}\n{record(2).to_line()}\n{{torn"
    file.write_text(content, "utf-8")
    with pytest.raises(LedgerError, match=r"ledger\.jsonl:2: .*" + message):
        read_ledger(file)
    with pytest.raises(LedgerError, match=r"ledger\.jsonl:2: "), Ledger.open(tmp_path):
        pytest.fail("opened")
    assert file.read_text("utf-8") == content


def test_a_newer_last_line_without_newline_is_no_torn_one(tmp_path: Path) -> None:
    line = record(0).to_line().replace(f'"schema":{SCHEMA}', '"schema":99')
    (tmp_path / "ledger.jsonl").write_text(line)
    with pytest.raises(LedgerError, match="upgrade neglora"), Ledger.open(tmp_path):
        pytest.fail("opened")
    assert (tmp_path / "ledger.jsonl").read_text() == line


def test_bytes_that_are_no_text_are_a_bad_line(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_bytes(record(0).to_line().encode() + b"\n\xff\xfe\n")
    with pytest.raises(LedgerError, match=r"ledger\.jsonl:2: "):
        read_ledger(tmp_path)


def test_a_trial_has_one_line_per_fidelity(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.append(record(0))
        with pytest.raises(LedgerError, match=r"neglora-0000 already has a line of fidelity 'full'"):
            ledger.append(record(0, "failed"))
        ledger.append(replace(record(0), fidelity="search"))
    assert len(read_ledger(tmp_path)) == 2


def test_a_second_writer_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    with Ledger.open(tmp_path):
        with pytest.raises(LedgerLocked, match=f"process {os.getpid()} of .*, since .*same command again"):
            written(tmp_path)
        assert read_ledger(tmp_path) == []
    written(tmp_path, record(0))


class Disk:
    """A disk that takes `room` more bytes: a part without an error, then none with one, as Linux does."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def write(self, descriptor: int, content: bytes) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = self._write(descriptor, bytes(content)[: self.room])
        self.room -= count
        return count


def test_a_full_disk_loses_nothing_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.append(record(0))
        before = (tmp_path / "ledger.jsonl").read_bytes()
        disk = Disk(room=40)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", disk.write)
            with pytest.raises(
                LedgerError, match=r"No space left.*Free space on this disk and run the same command"
            ) as info:
                ledger.append(record(1))
        assert disk.room == 0
        assert "1 records before it are safe" in str(info.value)
        assert (tmp_path / "ledger.jsonl").read_bytes() == before
        assert ledger.records == (record(0),)
        ledger.append(record(1))
    assert read_ledger(tmp_path) == [record(0), record(1)]


def test_short_writes_are_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, bytes(content)[:13]))
    written(tmp_path, record(0), record(1))
    assert read_ledger(tmp_path) == [record(0), record(1)]


def test_a_tail_that_could_not_be_taken_back_is_cut_by_the_next_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, size: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Ledger.open(tmp_path) as ledger:
        ledger.append(record(0))
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", Disk(room=40).write)
            patch.setattr(os, "ftruncate", refuse)
            with pytest.raises(LedgerError, match="Free space"):
                ledger.append(record(1))
        assert read_ledger(tmp_path) == [record(0)]
        ledger.append(record(2))
    assert read_ledger(tmp_path) == [record(0), record(2)]


def test_a_line_that_is_not_on_the_disk_is_not_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Ledger.open(tmp_path) as ledger:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(LedgerError, match="Mend the storage"):
                ledger.append(record(0))
        assert ledger.records == ()
    assert read_ledger(tmp_path) == []


def test_a_ledger_changed_from_outside_is_noticed(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.append(record(0))
        os.truncate(tmp_path / "ledger.jsonl", 10)
        with pytest.raises(LedgerError, match="the file has"):
            ledger.append(record(1))


def test_storage_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(LedgerError, match=r"cannot be written here.*--storage"), Ledger.open(tmp_path / "file"):
        pytest.fail("opened")
    with pytest.raises(LedgerError, match=r"cannot be written here.*--storage"), Ledger.open(tmp_path / "file" / "s"):
        pytest.fail("opened")


def test_failed_trials_are_set_aside_and_their_lines_kept(tmp_path: Path) -> None:
    file = written(tmp_path, record(0), record(1, "failed"), record(2, "diverged"), record(3, "failed"))
    lines = file.read_bytes().splitlines(keepends=True)
    with Ledger.open(tmp_path) as ledger:
        assert ledger.set_failed_aside() == [record(1, "failed"), record(3, "failed")]
        assert ledger.records == (record(0), record(2, "diverged"))
        assert ledger.set_failed_aside() == []
        ledger.append(record(1))
        assert read_ledger(tmp_path) == [record(0), record(2, "diverged"), record(1)]
        ledger.append(record(3, "failed"))
        assert ledger.set_failed_aside() == [record(3, "failed")]
    first, second = sorted(tmp_path.glob("ledger.failed-*Z*.jsonl"), key=lambda path: -path.stat().st_size)
    assert first.read_bytes() == lines[1] + lines[3]
    assert read_ledger(second) == [record(3, "failed")]
    assert file.read_bytes().startswith(lines[0] + lines[2])
    assert {path.name for path in tmp_path.iterdir()} == {"ledger.jsonl", "ledger.lock", first.name, second.name}


def test_setting_aside_on_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(tmp_path) as ledger:
        for item in (record(0), record(1, "failed")):
            ledger.append(item)
        room = len(record(1, "failed").to_line()) + 10
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", Disk(room).write)
            with pytest.raises(LedgerError, match="Free space"):
                ledger.set_failed_aside()
        assert read_ledger(tmp_path) == [record(0), record(1, "failed")]
        ledger.append(record(2))
    assert len(read_ledger(tmp_path)) == 3
