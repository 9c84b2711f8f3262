import gzip
import hashlib
import io
import logging
import tarfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from neglora.data import DataError, DataOptions, archive
from neglora.data.archive import Published, download, locate, read_files
from tests.archives import write_tar

FILES = {"one": b"first file", "two": b"second file " * 1000, "meta": b"names"}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def published(tmp_path) -> Published:
    """An archive, packed at `tmp_path / "origin"`, as its publisher describes it."""
    origin = tmp_path / "origin"
    origin.mkdir()
    write_tar(origin / "set.tar.gz", "set", {"readme": b"hello"} | dict(reversed(FILES.items())))
    return Published(
        dataset="cifar10",
        address="http://127.0.0.1:9/set.tar.gz",
        archive="set.tar.gz",
        checksum=md5((origin / "set.tar.gz").read_bytes()),
        folder="set",
        files={name: md5(content) for name, content in FILES.items()},
    )


def write_folder(folder, files=FILES):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def packed(tmp_path):
    return tmp_path / "origin" / "set.tar.gz"


def test_packed_and_unpacked_are_the_same(published, packed, tmp_path):
    folder = write_folder(tmp_path / "folder" / "set")
    for place in (packed, folder):
        assert list(read_files(published, place, verify=True)) == list(FILES.items())
    assert sorted(path.name for path in packed.parent.iterdir()) == ["set.tar.gz"], "nothing was unpacked"


def test_places(published, packed, tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "unpacked" / "set")
    assert locate(published, DataOptions(root=str(packed.parent))) == packed
    assert locate(published, DataOptions(root=str(folder.parent))) == folder
    assert locate(published, DataOptions(root=str(folder))) == folder
    write_folder(tmp_path / "data" / "set")
    monkeypatch.chdir(tmp_path)
    assert locate(published, DataOptions()) == tmp_path / "data" / "set"
    assert locate(published, DataOptions(root="unpacked")) == folder
    packed.rename(folder.parent / packed.name)
    assert locate(published, DataOptions(root="unpacked")) == folder.parent / packed.name, "one checksum before several"


def test_what_is_missing_says_where_what_and_how(published, tmp_path):
    with pytest.raises(DataError) as raised:
        locate(published, DataOptions(root=str(tmp_path / "nowhere")))
    said = str(raised.value)
    root = tmp_path / "nowhere"
    for part in (
        f"{root / 'set.tar.gz'},",
        f"{root / 'set'},",
        f"in {root} itself",
        published.checksum,
        published.address,
        "--download",
        "download: true",
        "--data-root",
    ):
        assert part in said
    assert not root.exists()


def test_another_archive_is_refused(published, packed):
    expected = replace(published, checksum="0" * 32)
    with pytest.raises(DataError) as raised:
        list(read_files(expected, packed, verify=True))
    for part in (str(packed), published.checksum, "0" * 32, "--no-verify", "verify: false", published.address):
        assert part in str(raised.value)
    assert dict(read_files(expected, packed, verify=False)) == FILES


@pytest.mark.parametrize("name", FILES)
def test_another_file_is_refused(published, tmp_path, name):
    folder = write_folder(tmp_path / "set", FILES | {name: b"changed"})
    with pytest.raises(DataError) as raised:
        list(read_files(published, folder, verify=True))
    for part in (str(folder / name), md5(b"changed"), published.files[name], "--no-verify"):
        assert part in str(raised.value)
    assert dict(read_files(published, folder, verify=False)) == FILES | {name: b"changed"}


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(published, tmp_path, name):
    folder = write_folder(tmp_path / "set")
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"incomplete: {folder / name} is missing"):
        list(read_files(published, folder, verify=False))
    (folder / name).mkdir()
    with pytest.raises(DataError, match="no plain file"):
        list(read_files(published, folder, verify=False))
    write_tar(tmp_path / "set.tar.gz", "set", {other: FILES[other] for other in FILES if other != name})
    with pytest.raises(DataError, match=f"has no set/{name}"):
        list(read_files(published, tmp_path / "set.tar.gz", verify=False))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_member_that_is_no_plain_file_is_not_read(published, tmp_path, kind):
    secret = tmp_path / "secret"
    secret.write_bytes(b"first file")
    with tarfile.open(tmp_path / "links.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("set/one")
        member.type, member.linkname = kind, str(secret)
        tar.addfile(member)
    with pytest.raises(DataError, match=r"set/one in .* is no plain file"):
        list(read_files(published, tmp_path / "links.tar.gz", verify=False))


@pytest.mark.parametrize("name", ["../set/one", "/set/one", "set/../set/one", "./set/one"])
def test_only_the_exact_name_counts(published, tmp_path, name):
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(DataError, match="has no set/one"):
        list(read_files(published, tmp_path / "set.tar.gz", verify=False))


def test_a_damaged_archive_is_said_to_be(published, packed, tmp_path):
    whole = packed.read_bytes()
    broken = tmp_path / "set.tar.gz"
    for content in (
        whole[: len(whole) // 2],
        b"",
        b"not packed",
        gzip.compress(b"no tar at all"),
        whole[:-4] + b"abcd",
    ):
        broken.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            list(read_files(published, broken, verify=False))
    unpacked = gzip.decompress(whole)
    broken.write_bytes(gzip.compress(unpacked[: unpacked.index(b"second file") + 100]))
    with pytest.raises(DataError, match="damaged"):
        list(read_files(published, broken, verify=False))


def test_what_unpacks_to_too_much_is_refused(published, packed, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_BYTES", 2**20)
    assert dict(read_files(published, packed, verify=True)) == FILES
    bomb = tmp_path / "set.tar.gz"
    write_tar(bomb, "set", FILES | {"zeros": bytes(2**23)})
    assert bomb.stat().st_size < 2**15
    with pytest.raises(DataError, match="unpacks to more than"):
        list(read_files(published, bomb, verify=False))
    folder = write_folder(tmp_path / "set", FILES | {"two": bytes(2**21)})
    with pytest.raises(DataError, match="two has more than"):
        list(read_files(published, folder, verify=False))


@pytest.fixture
def server(packed, monkeypatch):
    """Serves the packed archive; `behaviour` is what it does."""
    monkeypatch.setenv("no_proxy", "*")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = packed.read_bytes()
            behaviour = self.server.behaviour
            self.server.asked += 1
            if behaviour == "gone":
                self.send_error(404)
                return
            self.send_response(200)
            if behaviour != "unsized":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:100] if behaviour == "breaks off" else content)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        running.behaviour, running.asked = "serves", 0
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def at(published, server):
    return replace(published, address=f"http://127.0.0.1:{server.server_port}/set.tar.gz")


@pytest.mark.parametrize("behaviour", ["serves", "unsized"])
def test_download(published, server, tmp_path, caplog, behaviour):
    caplog.set_level(logging.INFO, "neglora")
    server.behaviour = behaviour
    root = tmp_path / "new" / "root"
    options = DataOptions(root=str(root), download=True)
    place = locate(at(published, server), options)
    assert place == root / "set.tar.gz"
    assert dict(read_files(published, place, verify=True)) == FILES
    assert [path.name for path in root.iterdir()] == ["set.tar.gz"]
    assert ("fetched 100%" in caplog.text) == (behaviour == "serves")
    assert f"fetched {place}" in caplog.text
    assert locate(at(published, server), options) == place
    assert server.asked == 1, "what is there is not fetched again"


@pytest.mark.parametrize(("behaviour", "said"), [("gone", "404"), ("breaks off", "broke off after 100 of")])
def test_a_download_that_fails_leaves_nothing(published, server, tmp_path, behaviour, said):
    server.behaviour = behaviour
    with pytest.raises(DataError, match=said) as raised:
        locate(at(published, server), DataOptions(root=str(tmp_path / "root"), download=True))
    for part in (at(published, server).address, "Where there is no network", str(tmp_path / "root")):
        assert part in str(raised.value)
    assert list((tmp_path / "root").iterdir()) == []


def test_a_download_of_something_else_is_refused_and_removed(published, server, tmp_path):
    other = replace(at(published, server), checksum="0" * 32)
    with pytest.raises(DataError, match="expected is the published 00000"):
        locate(other, DataOptions(root=str(tmp_path / "root"), download=True))
    assert list((tmp_path / "root").iterdir()) == []
    accepted = locate(other, DataOptions(root=str(tmp_path / "root"), download=True, verify=False))
    assert dict(read_files(other, accepted, verify=False)) == FILES


def test_a_download_that_never_ends_is_ended(published, server, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_BYTES", 200)
    with pytest.raises(DataError, match="more than the 200 bytes"):
        download(at(published, server), tmp_path / "root" / "set.tar.gz", verify=True)
    assert list((tmp_path / "root").iterdir()) == []


def test_without_a_network_it_says_what_to_do(published, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DataError, match=r"Where there is no network, get set\.tar\.gz from") as raised:
        download(published, tmp_path / "root" / "set.tar.gz", verify=True)
    assert published.address in str(raised.value)
    assert list((tmp_path / "root").iterdir()) == []


def test_a_root_that_cannot_be_a_folder(published, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="could not be fetched"):
        locate(published, DataOptions(root=str(tmp_path / "file" / "data"), download=True))
