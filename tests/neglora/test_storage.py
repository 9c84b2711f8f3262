"""Objects below a URI: on S3 over HTTP, in a folder treated as an object store, and through pyarrow."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from neglora.storage import (
    ObjectStorage,
    StorageError,
    Transient,
    cache_folder,
    is_uri,
    objects,
    shown,
)
from neglora.storage import (
    s3 as s3_backend,
)
from neglora.storage.folder import FolderBackend
from tests.s3 import S3, Line, line_to

BIG = bytes(range(256)) * 8000


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage that has never answered is given up after two attempts."""
    monkeypatch.setattr(objects, "FIRST_PATIENCE", 0.5)


@pytest.fixture
def folder(tmp_path: Path) -> ObjectStorage:
    return ObjectStorage(f"file://{tmp_path}/a%20folder/runs")


@pytest.fixture
def line(s3: S3) -> Iterator[Line]:
    with line_to(s3.port) as line:
        yield line


@pytest.fixture
def broken(s3: S3, line: Line) -> ObjectStorage:
    """A storage behind a line that may break, and that has answered once."""
    storage = ObjectStorage(s3.uri(port=line.port), patience=20)
    assert storage.names() == []
    return storage


@pytest.fixture(params=["s3", "file", "arrow"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStorage:
    if request.param == "s3":
        return ObjectStorage(request.getfixturevalue("s3").uri("some runs"))
    if request.param == "file":
        return ObjectStorage(f"file://{tmp_path}/some/runs")
    return ObjectStorage(f"fsspec+memory://{tmp_path}/runs")


def test_objects_are_written_read_listed_and_removed(storage):
    assert storage.names() == []
    assert not storage.exists("a/one")
    with pytest.raises(FileNotFoundError):
        storage.read("a/one")
    storage.delete("a/one")
    for name, data in {"a/one": b"1", "a/two.gz": b"2", "ab": b"", "b/c/d é": BIG}.items():
        storage.write(name, data)
        assert storage.exists(name)
        assert storage.read(name) == data
    assert storage.names() == ["a/one", "a/two.gz", "ab", "b/c/d é"]
    assert storage.names("a") == ["a/one", "a/two.gz"], "and not what only starts like the folder"
    assert storage.names("nowhere") == []
    storage.write("a/one", b"another")
    assert storage.read("a/one") == b"another"
    storage.delete("a/one")
    assert storage.names("a") == ["a/two.gz"]
    assert not storage.exists("a/on")


def test_what_is_there_is_not_written_anew(storage):
    assert storage.write_new("lock", b"mine")
    assert not storage.write_new("lock", b"mine"), "also if it is the same"
    assert not storage.write_new("lock", b"yours")
    assert storage.read("lock") == b"mine"
    storage.delete("lock")
    assert storage.write_new("lock", b"yours")


@pytest.mark.parametrize("storage", ["s3", "file"], indirect=True)
def test_of_twelve_writers_one_wins(storage):
    start = threading.Barrier(12)

    def write(number: int) -> bool:
        start.wait()
        return storage.write_new("race", f"writer {number}".encode() * 1000)

    with ThreadPoolExecutor(12) as pool:
        won = list(pool.map(write, range(12)))
    assert won.count(True) == 1
    assert storage.read("race") == f"writer {won.index(True)}".encode() * 1000
    assert storage.names() == ["race"]


def test_more_objects_than_a_page_of_the_store(s3):
    storage = ObjectStorage(s3.uri())
    prefix = storage.title.removeprefix("s3://tests/")
    for number in range(1103):
        s3.plant(f"{prefix}/many/{number:05d}")
    assert storage.names() == [f"many/{number:05d}" for number in range(1103)]


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../other", "a/../../b", "a//b", "a/./b", "a/", "a\\..\\b", "a\nb", "a\0b"]
)
def test_names_that_leave_the_root_are_no_names(folder, name):
    for use in (folder.read, folder.exists, folder.delete, lambda name: folder.write(name, b"")):
        with pytest.raises(ValueError, match="no name of an object"):
            use(name)
    if name:
        with pytest.raises(ValueError, match="no name of an object"):
            folder.names(name)


def test_names_that_others_gave_are_passed_over_if_no_file_may_have_them(s3, caplog):
    storage = ObjectStorage(s3.at("tests/hostile"))
    for key in ("good", "../escapes", "a/../../escapes", "/absolute", "line\nbreak", "folder/"):
        s3.plant(f"hostile/{key}")
    assert storage.names() == ["good"]
    assert "4 objects with unsafe names" in caplog.text


def test_a_denied_bucket_says_whose_rights_are_missing(s3):
    s3.denied.add("closed")
    storage = ObjectStorage(s3.at("closed/runs"))
    uses = {
        "read": lambda: storage.read("a"),
        "written": lambda: storage.write("a", BIG),
        "listed": storage.names,
        "removed": lambda: storage.delete("a"),
    }
    for done, use in uses.items():
        before = len(s3.requests)
        with pytest.raises(StorageError, match=rf"^s3://closed/runs/\S+ cannot be {done}: access is denied.*'closed'"):
            use()
        assert len(s3.requests) == before + 1, "nobody gets rights by asking again"
    with pytest.raises(StorageError, match="access is denied"):
        storage.write_new("a", b"")
    with pytest.raises(StorageError, match="access is denied"):
        storage.exists("a")
    with pytest.raises(StorageError, match="cannot be written"):
        storage.check_writable()


def test_a_bucket_that_is_missing_is_not_made(s3):
    storage = ObjectStorage(s3.at("nosuch/runs"))
    uses = [lambda: storage.read("a"), lambda: storage.write("a", b""), lambda: storage.write_new("a", b"")]
    for use in [*uses, storage.names, lambda: storage.exists("a")]:
        with pytest.raises(StorageError, match="no bucket 'nosuch': make it, or mend the URI"):
            use()
    assert [one["Name"] for one in s3.client.list_buckets()["Buckets"]] == ["tests"]


def test_no_credentials_says_where_they_are_looked_for(s3, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(StorageError, match=r"no credentials were found: set AWS_ACCESS_KEY_ID .*AWS_PROFILE"):
        ObjectStorage(s3.uri()).names()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StorageError, match=r"cannot be opened: .*nobody"):
        ObjectStorage(s3.uri())


def test_check_writable_leaves_nothing(storage):
    storage.check_writable()
    assert storage.names() == []


def test_a_store_that_overwrites_what_it_is_told_to_leave_is_refused(s3):
    storage = ObjectStorage(s3.uri())
    s3.unconditional = True
    with pytest.raises(StorageError, match=r"^s3://tests/\S+: this store ignores conditional writes"):
        storage.check_writable()
    assert storage.names() == []


def test_the_endpoint_may_come_from_the_environment(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    ObjectStorage("s3://tests/by-environment").write("a", b"1")
    assert ObjectStorage(s3.at("tests/by-environment")).read("a") == b"1"


def test_a_port_where_nobody_listens(s3):
    with pytest.raises(StorageError, match=r"http://127.0.0.1:9 does not answer .*network.*endpoint_override"):
        ObjectStorage(s3.uri(port=9)).names()


def test_a_storage_that_takes_connections_and_says_nothing(s3, line, monkeypatch):
    monkeypatch.setattr(s3_backend, "READ_SECONDS", 0.3)
    line.dead = True
    storage = ObjectStorage(s3.uri(port=line.port))
    for use in (storage.names, lambda: storage.write("a", BIG), lambda: storage.write_new("a", BIG)):
        with pytest.raises(StorageError, match="does not answer"):
            use()


@pytest.mark.parametrize("cut", [0, 100, 20_000, 1_500_000])
def test_a_line_that_breaks_in_a_write_leaves_the_object_whole_or_absent(s3, line, broken, cut):
    broken.write("old", b"old")
    broken.patience = 0
    line.cut(up=cut)
    with pytest.raises(StorageError, match="old cannot be written"):
        broken.write("old", BIG)
    line.cut(up=cut)
    with pytest.raises(StorageError, match="new cannot be written"):
        broken.write_new("new", BIG)
    assert line.done == 2
    assert broken.read("old") == b"old"
    assert broken.names() == ["old"]
    broken.write("old", BIG)
    assert broken.write_new("new", BIG)
    assert broken.read("old") == broken.read("new") == BIG


def test_a_line_that_breaks_is_tried_again(line, broken):
    line.cut(up=20_000, times=3)
    broken.write("a", BIG)
    assert line.done == 3
    line.cut(down=20_000, times=2)
    assert broken.read("a") == BIG
    line.cut(down=10, times=1)
    assert broken.names() == ["a"]
    assert line.done == 6


def test_a_lost_answer_does_not_lose_the_race_against_oneself(line, broken):
    line.cut(down=0, times=2)
    assert broken.write_new("mine", BIG)
    assert line.done == 2
    line.cut(down=0)
    assert not broken.write_new("mine", BIG), "of another call, though the same"
    assert broken.read("mine") == BIG


def test_a_busy_store_is_tried_again(s3):
    storage = ObjectStorage(s3.uri())
    s3.busy = 1
    storage.write("a", b"1")
    assert storage.read("a") == b"1"
    s3.busy = 3
    assert storage.write_new("b", b"2")
    storage.patience = 0.5
    s3.busy = 1000
    with pytest.raises(StorageError, match=r"busy or ill \(SlowDown\): try again later"):
        storage.read("a")


def test_what_answered_before_is_waited_for_longer(folder, monkeypatch):
    """By a clock of its own: nobody waits here."""
    now, attempts = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(objects, "FIRST_PATIENCE", 8.0)

    def fail(self: FolderBackend, name: str) -> bytes:
        attempts.append(now[0])
        raise Transient("gone")

    folder.write("a", b"1")
    fresh = ObjectStorage(folder.uri)
    monkeypatch.setattr(FolderBackend, "read", fail)
    with pytest.raises(StorageError, match="gone"):
        fresh.read("a")
    assert 4 <= attempts[-1] <= 8
    assert 4 <= len(attempts) <= 7
    attempts.clear()
    start = now[0]
    with pytest.raises(StorageError, match="gone"):
        folder.read("a")
    assert 40 <= attempts[-1] - start <= 60
    assert 8 <= len(attempts) <= 20


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    storage = ObjectStorage(f"file://{tmp_path}/file/runs")
    with pytest.raises(StorageError, match=r"a cannot be written: Not a directory; free space or mend the rights"):
        storage.write("a", b"")
    with pytest.raises(FileNotFoundError):
        storage.read("a")
    assert storage.names() == []


def test_a_place_that_is_missing_for_a_write_is_no_missing_object(folder, monkeypatch):
    def nowhere(self: FolderBackend, name: str, data: bytes) -> None:
        raise FileNotFoundError("no such container")

    monkeypatch.setattr(FolderBackend, "write", nowhere)
    with pytest.raises(StorageError, match="a cannot be written: no such container"):
        folder.write("a", b"")


def test_a_file_of_a_folder_appears_whole(folder):
    """Killed while it writes: what is there is what was there."""
    folder.write("a", b"old")
    killed = (
        "import os, sys, neglora.synced, neglora.storage.folder as f\n"
        "def half(path, data):\n"
        "    path.write_bytes(data[:10]); os._exit(9)\n"
        "f.write_synced = half\n"
        "from neglora.storage import ObjectStorage\n"
        "getattr(ObjectStorage(sys.argv[1]), sys.argv[2])(sys.argv[3], b'n' * 100)\n"
    )
    for use, name in (("write", "a"), ("write_new", "b")):
        assert subprocess.run([sys.executable, "-c", killed, folder.uri, use, name]).returncode == 9
    assert folder.names() == ["a"]
    assert folder.read("a") == b"old"
    assert folder.write_new("b", b"new")


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("s3://AKIA:hidden@bucket/runs", "s3://bucket/runs"),
        ("s3://AKIA:hid/den@bucket/runs", "s3://bucket/runs"),
        ("s3://AKIA:hidden/runs", "s3://..."),
        ("s3://bucket/runs?secret_key=hidden", "s3://bucket/runs"),
        ("s3://bucket/runs?endpoint_override=me:hidden@host", "s3://bucket/runs"),
        ("gs://bucket/runs?access_token=hidden", "gs://bucket/runs"),
        ("abfs://box:hidden@me.dfs.core.windows.net/runs", "abfs://box@me.dfs.core.windows.net/runs"),
        ("abfs://box@me.dfs.core.windows.net/runs?client_secret=hidden", "abfs://box@me.dfs.core.windows.net/runs"),
        ("abfs://box@me.dfs.core.windows.net/runs?sig=hidden", "abfs://box@me.dfs.core.windows.net/runs"),
        ("ftp://me:hidden@host/runs", "ftp://host/runs"),
    ],
)
def test_credentials_in_a_uri_are_refused_and_never_shown(uri, text):
    assert shown(uri) == text
    with pytest.raises(StorageError, match=r"credentials.*do not belong in a URI") as caught:
        ObjectStorage(uri)
    assert str(caught.value).startswith(f"{text}: ")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://", "names no bucket"),
        ("s3://bucket/runs?regoin=here", "unknown option 'regoin'; options are scheme, endpoint_override"),
        ("s3://bucket/runs?allow_bucket_creation=true", "unknown option 'allow_bucket_creation'"),
        ("file://runs", "a folder's URI is file:// and an absolute path"),
        ("file:///", "a folder's URI is file:// and an absolute path"),
        ("nfs://host/runs", "cannot be opened.*a storage is a folder, s3://BUCKET/PATH"),
        ("gs://bucket/runs?foo=1", "gs://bucket/runs cannot be opened: .*'foo'"),
        ("runs", "no URI such as s3://bucket/runs"),
    ],
)
def test_what_cannot_be_opened_says_what_can(uri, message):
    with pytest.raises(StorageError, match=message):
        ObjectStorage(uri)


def test_google_and_azure_are_opened_without_a_request():
    for uri in ("gs://anonymous@bucket/runs", "gs://bucket/runs", "abfs://box@me.dfs.core.windows.net/runs"):
        assert ObjectStorage(uri).title == shown(uri)


def test_a_google_that_does_not_answer_is_given_up():
    uri = "gs://anonymous@bucket/runs?scheme=http&endpoint_override=127.0.0.1:9&retry_limit_seconds=1"
    with pytest.raises(StorageError, match=r"^gs://bucket/runs/a cannot be read: "):
        ObjectStorage(uri).exists("a")


def test_what_is_a_uri():
    assert all(map(is_uri, ("s3://b/x", "fsspec+memory:///x", "file:///x")))
    assert not any(map(is_uri, ("runs", "/runs", "./a:b", "s3:/b", "://x", "1://")))


def test_the_cache_is_one_of_the_place(monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("NEGLORA_CACHE", str(tmp_path))
    same = ["s3://b/x", "s3://b/x/", "s3://b/x?region=eu-west-1"]
    others = [
        "s3://b/y",
        "gs://b/x",
        "s3://b/x?endpoint_override=host:1",
        "s3://b/x?endpoint_override=host:2",
        "abfs://b@me.net/x",
        "abfs://c@me.net/x",
    ]
    assert len({cache_folder(uri) for uri in same}) == 1
    assert len({cache_folder(uri) for uri in [same[0], *others]}) == 1 + len(others)
    assert cache_folder(same[0]).parent == tmp_path
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://host:1")
    assert cache_folder(same[0]) == cache_folder("s3://b/x?endpoint_override=host:1")
    monkeypatch.delenv("NEGLORA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert cache_folder(same[0]).parent == tmp_path / "user" / "neglora"
