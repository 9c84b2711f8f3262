"""The commands on URIs: a study runs there, another machine reads it, and what goes wrong is told with exit code 2.

Trials are made up here, so that no Ray is needed; `tests/study/cluster` runs real ones.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from neglora.kept import adapter_name
from neglora.record import Record
from neglora.storage import CACHE, ObjectStorage, StorageError, objects
from study import lease
from study.cli import main
from study.cli import room as room_module
from study.cli.publishing import Publishing
from study.keeping import worth_keeping
from study.place import Place
from tests.study import handmade

QUICKSTART = Path(__file__).parents[3] / "search_spaces" / "quickstart.yaml"
RECORDS = handmade.searched(4)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(lease, "TIMING", lease.Timing(beat=0.05, patience=60, look=0.1))


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.faults)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.getfixturevalue("s3").uri() if request.param == "s3" else f"file://{tmp_path}/runs"


@pytest.fixture
def bucket(s3) -> str:
    return str(s3.uri())


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what a run records in place of trials; each leaves an adapter in the working copy."""

    def give(records: list[Record], error: BaseException | None = None) -> None:
        def run_study(space, ledger, options, progress, recorded) -> None:
            place = Place(options.storage, space.study)
            if place.is_remote:
                assert place.objects.exists(f"{place.name}/study.yaml"), "before the first trial"
            known = {record.trial for record in ledger.records}
            (place.folder / "adapters").mkdir(exist_ok=True)
            for record in records:
                if record.trial in known:
                    continue
                (place.folder / "adapters" / adapter_name(record.trial, 3, 0)).write_bytes(record.trial.encode())
                ledger.append(record)
                recorded(ledger.records)
            if error:
                raise error

        monkeypatch.setattr("study.cluster.execution.run_study", run_study)

    give(RECORDS)
    return give


@pytest.fixture
def short_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of a line: the real one takes its time, and one test makes it."""

    def write_report(folders: list[Path], out: Path) -> Path:
        out.write_text("a report")
        return out

    monkeypatch.setattr("study.report.write_report", write_report)


def said(capsys: pytest.CaptureFixture[str], *words: str, expected: int = 0) -> str:
    """Run a command; all that it printed, on one line."""
    assert main(list(words)) == expected
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return " ".join((captured.out + captured.err).split())


def at(storage: str) -> str:
    """The URI of the study in a storage."""
    place, mark, options = storage.partition("?")
    return f"{place}/quickstart{mark}{options}"


def names(storage: str) -> list[str]:
    return [name.removeprefix("quickstart/") for name in ObjectStorage(storage).names("quickstart")]


def test_a_study_on_a_uri_from_its_space_to_its_report(
    storage: str, runs: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = said(capsys, "run", str(QUICKSTART), "--storage", storage)
    assert f"{len(RECORDS)} trials" in told
    assert Path("reports/quickstart.html").stat().st_size > 10**6
    files = {name for name in names(storage) if not name.startswith(("ledger/", "adapters/"))}
    tables = {f"tables/{name}.{kind}" for name in ("paper", "decision", "cells") for kind in ("csv", "md", "tex")}
    assert files == {
        "study.yaml", "ledger.jsonl", "report.html", "trials.csv", "front.csv", "summary.json", *tables
    }  # fmt: skip
    lines = ObjectStorage(storage).read("quickstart/ledger.jsonl")
    assert lines == b"".join(record.to_line().encode() + b"\n" for record in RECORDS)
    adapters = [name for name in names(storage) if name.startswith("adapters/")]
    kept = worth_keeping(RECORDS, handmade.study())
    assert adapters == sorted(f"adapters/{adapter_name(trial, 3, 0)}" for trial in kept)
    assert 0 < len(kept) < len(RECORDS)

    # Another machine, which has no copy.
    monkeypatch.setenv(CACHE, "elsewhere")
    told = said(capsys, "status", at(storage))
    assert "Study quickstart: not running" in told
    assert "The same `neglora run` command goes on with it." in told
    Path("reports/quickstart.html").unlink()
    assert "Report: reports/quickstart.html" in said(capsys, "report", at(storage))
    assert Path("reports/quickstart.html").read_bytes() == ObjectStorage(storage).read("quickstart/report.html")
    told = said(capsys, "report", at(storage), "-o", "mine/report.html")
    assert "Report: mine/report.html" in told

    # Again: nothing is run twice, and adapters that another machine published stay.
    said(capsys, "run", str(QUICKSTART), "--storage", storage)
    assert Place(storage, "quickstart").read_ledger() == RECORDS
    assert [name for name in names(storage) if name.startswith("adapters/")] == adapters


@pytest.mark.usefixtures("short_reports")
def test_failed_trials_run_again_and_a_fresh_study_is_another(
    bucket: str, runs: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    failed = handmade.record(9, status="failed", reason="the worker was lost")
    runs([*RECORDS[:5], failed])
    assert "failed trials run again with --retry-failed" in said(capsys, "run", str(QUICKSTART), "--storage", bucket)
    again = handmade.record(9)
    runs([again])
    assert "1 failed trials will run again" in said(
        capsys, "run", str(QUICKSTART), "--storage", bucket, "--retry-failed"
    )
    assert Place(bucket, "quickstart").read_ledger() == [*RECORDS[:5], again]
    runs(RECORDS[:3])
    told = said(capsys, "run", str(QUICKSTART), "--storage", bucket, "--fresh")
    assert "the earlier study is now" in told
    assert Place(bucket, "quickstart").read_ledger() == RECORDS[:3]
    (earlier,) = {name.partition("/")[0] for name in ObjectStorage(bucket).names()} - {"quickstart"}
    assert Place(bucket, earlier).read_ledger() == [*RECORDS[:5], again]
    assert said(capsys, "status", at(bucket).replace("quickstart", earlier))


@pytest.mark.usefixtures("short_reports")
def test_two_spaces_are_not_mixed_and_two_runs_neither(
    bucket: str, runs: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said(capsys, "run", str(QUICKSTART), "--storage", bucket)
    other = yaml.safe_load(QUICKSTART.read_text())
    other["search"]["seed"] = 5
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    told = said(capsys, "run", "other.yaml", "--storage", bucket, expected=2)
    assert "quickstart holds a study of another space" in told
    with Place(bucket, "quickstart").open_ledger():
        told = said(capsys, "run", str(QUICKSTART), "--storage", bucket, expected=2)
        assert "another neglora writes this study: process" in told
        assert "written by process" in said(capsys, "status", at(bucket))


@pytest.mark.usefixtures("short_reports")
def test_an_interrupted_run_says_where_its_trials_are(
    bucket: str, runs: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    runs(RECORDS[:5], KeyboardInterrupt())
    told = said(capsys, "run", str(QUICKSTART), "--storage", bucket, expected=130)
    assert "Stopped: 5 finished trials are in" in told
    assert Place(bucket, "quickstart").read_ledger() == RECORDS[:5]
    assert any(name.startswith("adapters/") for name in names(bucket)), "published as far as they are"
    assert "ledger.lock" not in names(bucket)


def test_adapters_are_published_while_a_study_runs(s3, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place(s3.uri(), "quickstart")
    (place.folder / "adapters").mkdir(parents=True)
    publishing = Publishing(place, handmade.study(), lambda records: None, every=4)
    for count, record in enumerate(RECORDS, 1):
        (place.folder / "adapters" / adapter_name(record.trial, 3, 0)).write_bytes(b"adapter")
        publishing(RECORDS[:count])
    there = {name.partition(".forget")[0].removeprefix("adapters/") for name in place.published("adapters")}
    last = len(RECORDS) - len(RECORDS) % 4
    assert there == worth_keeping(RECORDS[:last], handmade.study())
    s3.denied.add("tests")
    publishing.try_now(RECORDS)


@pytest.mark.usefixtures("short_reports")
def test_whoever_may_only_read_has_the_report_all_the_same(
    bucket: str, runs: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said(capsys, "run", str(QUICKSTART), "--storage", bucket)

    def refuse(*_: object) -> None:
        raise StorageError("access is denied")

    monkeypatch.setattr(ObjectStorage, "write", refuse)
    told = said(capsys, "report", at(bucket))
    assert "were not written to the storage: access is denied" in told
    assert "Report: reports/quickstart.html" in told


@pytest.mark.parametrize("command", ["run", "unlearn"])
def test_a_bucket_that_is_denied_is_told_before_anything_is_made(
    command: str, s3, runs: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    s3.denied.add("closed")
    words = {
        "run": f"run {QUICKSTART}",
        "unlearn": "unlearn --dataset digits --model tinyvit_nano --method neglora --forget 3",
    }[command]
    told = said(capsys, *shlex.split(words), "--storage", s3.uri(bucket="closed"), expected=2)
    assert "access is denied" in told


@pytest.mark.parametrize("command", ["status", "report", "export --trial x --to y"])
def test_readers_of_a_bucket_that_is_denied_or_away_are_told(
    command: str, s3, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "FIRST_PATIENCE", 0.1)
    s3.denied.add("closed")
    first, *rest = command.split()
    told = said(capsys, first, at(s3.uri(bucket="closed")), *rest, expected=2)
    assert "access is denied" in told
    assert "there is no bucket" in said(capsys, first, at(s3.uri(bucket="absent")), *rest, expected=2)
    assert "does not answer" in said(capsys, first, at(s3.uri(port=1)), *rest, expected=2)
    assert "holds no study" in said(capsys, first, at(s3.uri()), *rest, expected=2)


@pytest.mark.parametrize("text", ["s3:/bucket/runs", "s3:bucket", "gs:/b", "file:/shared/runs"])
@pytest.mark.parametrize("command", ["run", "unlearn --dataset digits --model resnet_nano --method neggrad --forget 3"])
def test_a_uri_with_too_few_slashes_makes_no_folder(
    command: str, text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first, *rest = command.split()
    words = [first, *rest, *([str(QUICKSTART)] if first == "run" else []), "--storage", text]
    assert f"expected {text.partition(':')[0]}://" in said(capsys, *words, expected=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("short_reports")
def test_a_full_disk_is_told_before_a_run(
    runs: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(room_module, "LEAST", 2**60)
    monkeypatch.setattr(room_module, "ENOUGH", 2**61)
    told = said(capsys, "run", str(QUICKSTART), "--storage", str(tmp_path / "runs"), expected=2)
    assert "MB are free for the study in" in told
    assert "give another folder with --storage" in told
    told = said(capsys, "run", str(QUICKSTART), "--storage", f"file://{tmp_path}/runs", expected=2)
    assert f"name another folder in {CACHE}" in told
    monkeypatch.setattr(room_module, "LEAST", 0)
    told = said(capsys, "run", str(QUICKSTART), "--storage", str(tmp_path / "runs"))
    assert "MB are free for Ray's files in" in told
    assert f"{len(RECORDS)} trials" in told
