"""A study's place: what people write, a working copy that never wins over the storage, names that lead nowhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from neglora.storage import CACHE, ObjectStorage, StorageError
from study import aside, lease
from study.ledger import LedgerLocked, read_ledger
from study.place import Place
from tests.study.test_segments import record


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a holder lives is seen soon."""
    monkeypatch.setattr(lease, "TIMING", lease.Timing(beat=0.05, patience=60, look=0.1))


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    if request.param == "s3":
        return Place(request.getfixturevalue("s3").uri(), "study")
    return Place(f"file://{tmp_path}/runs", "study")


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return Place(f"file://{tmp_path}/runs", "study")


def filled(place: Place, *numbers: int) -> None:
    with place.open_ledger() as ledger:
        for number in numbers:
            ledger.append(record(number))
    place.folder.mkdir(parents=True, exist_ok=True)
    (place.folder / "study.yaml").write_text("study: study\n")
    (place.folder / "adapters").mkdir(exist_ok=True)
    (place.folder / "adapters" / "x.safetensors").write_bytes(b"\x00\x01")
    place.publish()


@pytest.mark.parametrize(
    ("text", "storage", "name"),
    [
        ("s3://bucket/runs/quickstart", "s3://bucket/runs", "quickstart"),
        ("s3://bucket/runs/quickstart/", "s3://bucket/runs", "quickstart"),
        ("s3://bucket/quickstart", "s3://bucket", "quickstart"),
        (
            "s3://bucket/runs/quick?scheme=http&endpoint_override=127.0.0.1:9000",
            "s3://bucket/runs?scheme=http&endpoint_override=127.0.0.1:9000",
            "quick",
        ),
        ("abfs://runs@account.dfs.core.windows.net/a/b", "abfs://runs@account.dfs.core.windows.net/a", "b"),
        ("file:///shared/runs/quickstart", "file:///shared/runs", "quickstart"),
        ("/shared/runs/quickstart/", "/shared/runs", "quickstart"),
        ("/shared/runs/x/../quickstart", "/shared/runs", "quickstart"),
    ],
)
def test_what_people_write(text: str, storage: str, name: str) -> None:
    assert Place.of(text) == Place(storage, name)


def test_a_relative_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Place.of("runs/quickstart") == Place(str(tmp_path / "runs"), "quickstart")
    assert Place.of("runs/quickstart").folder == tmp_path / "runs" / "quickstart"
    assert Place.of("~/runs/x").folder == Path.home() / "runs" / "x"


@pytest.mark.parametrize("text", ["s3://bucket", "s3://bucket/", "s3:///", "s3://b/runs/..", "file:///x"])
def test_a_uri_without_a_study_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="names no study: give one's URI"):
        Place.of(text)


def test_what_people_call_it_holds_no_option() -> None:
    place = Place.of("s3://bucket/runs/quickstart?endpoint_override=127.0.0.1:9000")
    assert place.title == "s3://bucket/runs/quickstart"
    assert place.folder != Place.of("s3://bucket/runs/quickstart").folder, "another server's"


def test_a_folder_is_as_it_was(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "runs"), "study")
    assert place.read_ledger() == []
    assert place.holder() is None
    with place.open_ledger() as ledger:
        ledger.append(record(0))
        assert "process" in str(place.holder())
        with pytest.raises(LedgerLocked), place.open_ledger():
            pytest.fail("two write")
    assert place.read_ledger() == [record(0)] == read_ledger(tmp_path / "runs" / "study")
    place.fetch()
    place.publish()
    place.clear()
    assert {path.name for path in place.folder.iterdir()} == {"ledger.jsonl", "ledger.lock"}
    moved = place.set_aside()
    assert moved is not None
    assert moved.folder.parent == tmp_path / "runs"
    assert moved.read_ledger() == [record(0)]
    assert not place.folder.exists()
    assert place.set_aside() is None


def test_what_is_published_is_fetched_elsewhere(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(place, 0, 1)
    (place.folder / "trials.csv.writing").write_text("half")
    (place.folder / ".tune").mkdir()
    (place.folder / ".tune" / "state").write_text("nobody's")
    place.publish()
    monkeypatch.setenv(CACHE, str(tmp_path / "elsewhere"))
    again = Place(place.storage, place.name)
    assert again.folder != place.folder
    again.fetch()
    files = {path.relative_to(again.folder).as_posix() for path in again.folder.rglob("*") if path.is_file()}
    assert files == {"study.yaml", "ledger.jsonl", "adapters/x.safetensors"}
    assert read_ledger(again.folder) == again.read_ledger() == [record(0), record(1)]
    assert (again.folder / "adapters" / "x.safetensors").read_bytes() == b"\x00\x01"


def test_an_old_copy_never_wins(place: Place) -> None:
    filled(place, 0)
    # Of the same size and newer.
    (place.folder / "study.yaml").write_text("study: STUDY\n")
    (place.folder / "ledger.jsonl").write_text(record(7).to_line() + "\n")
    (place.folder / "summary.json").write_text("{}")
    place.fetch(["study.yaml", "ledger.jsonl", "summary.json"])
    assert (place.folder / "study.yaml").read_text() == "study: study\n"
    assert read_ledger(place.folder) == [record(0)]
    assert not (place.folder / "summary.json").exists(), "the storage has none"
    place.clear()
    assert not place.folder.exists()
    place.clear()


@pytest.mark.parametrize("name", ["../../out", "/etc/out", "a/../../out", "..", "a\\..\\out", "x\ny"])
def test_a_name_that_leads_out_of_the_folder_is_refused(
    remote: Place, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(remote, 0)
    real = ObjectStorage.names
    monkeypatch.setattr(
        ObjectStorage, "names", lambda self, folder="": [*real(self, folder), f"study/{name}"] if folder else []
    )
    monkeypatch.setattr(ObjectStorage, "read", lambda self, name: b"hostile")
    before = set(tmp_path.rglob("*"))
    with pytest.raises(StorageError, match="leads out of"):
        remote.fetch()
    assert set(tmp_path.rglob("*")) == before


def test_several_may_fetch_at_once(remote: Place) -> None:
    filled(remote, 0)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: remote.fetch(["study.yaml"]), range(200)))
    assert (remote.folder / "study.yaml").read_text() == "study: study\n"
    assert not list(remote.folder.glob("*.writing"))


def test_a_link_in_the_working_copy_leads_nowhere(remote: Place, tmp_path: Path) -> None:
    filled(remote, 0)
    (tmp_path / "outside").mkdir()
    remote.clear()
    remote.folder.mkdir()
    (remote.folder / "adapters").symlink_to(tmp_path / "outside")
    with pytest.raises(StorageError, match="leads out of"):
        remote.fetch()
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_hostile_name_in_a_bucket_stays_there(s3, tmp_path: Path) -> None:
    place = Place(s3.uri(), "study")
    filled(place, 0)
    bucket, _, path = place.storage.partition("://")[2].partition("?")[0].partition("/")
    for name in ("study/../../../../out", "study//etc/passwd", "study/adapters/../../../../../out"):
        s3.client.put_object(Bucket=bucket, Key=f"{path}/{name}", Body=b"hostile")
    place.clear()
    place.fetch()
    files = {file.relative_to(place.folder).as_posix() for file in place.folder.rglob("*") if file.is_file()}
    assert files == {"study.yaml", "ledger.jsonl", "adapters/x.safetensors"}
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.read_bytes() == b"hostile"]


def test_a_working_copy_that_cannot_be_written_says_what_to_do(
    remote: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(remote, 0)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(CACHE, str(tmp_path / "file"))
    with pytest.raises(StorageError, match=f"working copy in .* cannot be used: .*{CACHE}"):
        Place(remote.storage, remote.name).fetch()


def test_a_study_is_set_aside_under_a_dated_name(place: Place) -> None:
    assert place.set_aside() is None
    filled(place, 0, 1)
    place.objects.write("study2/study.yaml", b"study: study2\n")
    moved = place.set_aside()
    assert moved is not None
    assert moved.name.startswith("study.2")
    assert moved.read_ledger() == [record(0), record(1)]
    assert place.read_ledger() == []
    assert place.set_aside() is None
    names = place.objects.names()
    assert {name.partition("/")[0] for name in names} == {moved.name, "study2"}
    assert not place.folder.exists(), "and its working copy is gone"


def test_who_runs_it_now_keeps_it(place: Place) -> None:
    filled(place, 0)
    with place.open_ledger():
        with pytest.raises(LedgerLocked, match=r"another neglora writes this study"):
            place.set_aside()
        assert "process" in str(place.holder())
    assert place.holder() is None
    assert place.read_ledger() == [record(0)]


def test_setting_aside_is_finished_after_a_crash_at_any_step(
    remote: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        pass

    monkeypatch.setattr(aside, "AT_ONCE", 1)
    crashes = 0
    for at in range(1, 60):
        place = Place(f"file://{tmp_path}/{at}", "study")
        filled(place, 0, 1)
        place.objects.write("study/ledger/00000009.base.jsonl", place.objects.read("study/ledger/00000001.jsonl"))
        count = 0

        def crash(self: ObjectStorage, name: str, *data: bytes, real, at: int = at) -> object:
            nonlocal count
            if "ledger.lock" not in name:
                count += 1
                if count == at:
                    raise Crash
            return real(self, name, *data)

        with monkeypatch.context() as patch:
            for verb in ("write", "write_new", "delete"):
                real = getattr(ObjectStorage, verb)
                patch.setattr(ObjectStorage, verb, lambda *a, real=real: crash(*a, real=real))
            try:
                place.set_aside()
            except Crash:
                crashes += 1
            else:
                break
        # The next run, whether it asks for a fresh start again or not.
        if at % 2:
            place.set_aside()
        with place.open_ledger() as ledger:
            left = ledger.records
        others = [name for name in place.objects.names() if not name.startswith("study/")]
        targets = {name.partition("/")[0] for name in others}
        assert (left, len(targets)) == ((), 1), (at, place.objects.names())
        assert len(others) == 5
    assert crashes > 8


def test_a_hostile_mark_moves_nothing(remote: Place) -> None:
    filled(remote, 0)
    for target in ("other", "../study.x", "study.x/../../y", ""):
        remote.objects.write("study/.moved-to", target.encode())
        with pytest.raises(StorageError, match="is no study set aside: remove it"), remote.open_ledger():
            pytest.fail("opened")
    assert {name.partition("/")[0] for name in remote.objects.names()} == {"study"}
