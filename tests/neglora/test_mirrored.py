"""Artifacts on a URI: who may write, what counts, what is fetched, and what hostile ones do."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from neglora import mirrored
from neglora.artifact import FACTS, WEIGHTS, ArtifactError, Packed, artifact_key
from neglora.artifacts import ArtifactStore
from neglora.mirrored import MirroredStore, open_artifacts
from neglora.prerequisites import base_of, ensure
from neglora.session import Session
from neglora.storage import ObjectStorage, StorageError
from tests.s3 import S3, line_to

WHAT = {"data": "digits", "seed": 3, "shares": [0.1, 0.25]}
KEY = artifact_key("base", WHAT)


class Maker:
    def __init__(self, value: float = 1.0) -> None:
        self.value, self.made = value, 0

    def __call__(self, partial: Path) -> Any:
        self.made += 1
        return {"w": torch.full((3, 5), self.value)}, {"accuracy": self.value}


def never(partial: Path) -> Any:
    raise AssertionError("it is there: nobody makes it")


def packed(value: float = 1.0) -> Packed:
    return Packed.of("base", WHAT, *Maker(value)(Path()))


@pytest.fixture(params=["s3", "file"])
def uri(request: pytest.FixtureRequest, s3: S3, tmp_path: Path) -> str:
    return s3.uri() if request.param == "s3" else f"file://{tmp_path}/shared/runs"


@pytest.fixture
def machine(tmp_path: Path, uri: str) -> Callable[..., MirroredStore]:
    """The store as a machine of this name sees it: with a cache of its own."""

    def at(name: str, *, commits: bool = True, via: str = uri) -> MirroredStore:
        return MirroredStore(ObjectStorage(via), tmp_path / name, commits=commits)

    return at


def objects(store: MirroredStore) -> list[str]:
    return [name.removeprefix(f"artifacts/{KEY}/") for name in store.storage.names()]


def weights_name(one: Packed) -> str:
    return f"weights-{one.described().sha256}.safetensors"


def test_made_once_and_found_on_another_machine(machine, uri):
    here, there = machine("here"), machine("there", commits=False)
    maker = Maker()
    assert there.get("base", WHAT) is None
    made = here.get_or_make("base", WHAT, maker)
    assert objects(here) == [FACTS, weights_name(packed())]
    found = there.get_or_make("base", WHAT, never)
    assert maker.made == 1
    assert torch.equal(found.tensors["w"], made.tensors["w"])
    assert (found.key, found.facts) == (KEY, {"accuracy": 1.0})
    assert {path.name for path in (there.root / KEY).iterdir()} == {FACTS, WEIGHTS}, "as in a folder"
    assert ArtifactStore(there.root).get("base", WHAT).facts == found.facts


def test_weights_are_fetched_once(machine, monkeypatch):
    machine("here").commit(packed())
    store, read = machine("there"), []
    original = ObjectStorage.read
    monkeypatch.setattr(ObjectStorage, "read", lambda self, name: (read.append(name), original(self, name))[1])
    for _ in range(3):
        assert store.get("base", WHAT).facts == {"accuracy": 1.0}
    assert sum(name.endswith(".safetensors") for name in read) == 1
    assert sum(name.endswith(FACTS) for name in read) == 3, "what the storage holds counts, and is looked at each time"


def test_a_worker_writes_nothing_to_the_storage(machine):
    worker, driver = machine("worker", commits=False), machine("driver")
    made = worker.get_or_make("base", WHAT, Maker())
    assert objects(worker) == []
    assert worker.get("base", WHAT) is None, "it is not there until the driver says so"
    assert worker.get_or_make("base", WHAT, never).facts == made.facts, "but nothing is made twice"
    driver.commit(worker.pack(KEY))
    assert driver.get("base", WHAT).facts == made.facts
    assert worker.get("base", WHAT).facts == made.facts


def test_nothing_to_pack(machine):
    with pytest.raises(ArtifactError, match=f"no copy of artifact {KEY}"):
        machine("here").pack(KEY)


def test_of_two_machines_one_wins_and_the_other_adopts(machine):
    slow, fast = machine("slow"), machine("fast")
    won = []

    def overtaken(partial: Path) -> Any:
        won.append(fast.get_or_make("base", WHAT, Maker(2.0)))
        return Maker(1.0)(partial)

    got = slow.get_or_make("base", WHAT, overtaken)
    assert got.facts == won[0].facts == {"accuracy": 2.0}
    assert torch.equal(got.tensors["w"], torch.full((3, 5), 2.0))
    assert slow.pack(KEY) == fast.pack(KEY)
    assert objects(slow) == [FACTS, weights_name(packed(2.0))]


def test_a_commit_that_loses_leaves_nothing_of_its_own(machine, monkeypatch):
    first, second = machine("first"), machine("second")
    write_new = ObjectStorage.write_new

    def overtaken(self: ObjectStorage, name: str, data: bytes) -> bool:
        monkeypatch.setattr(ObjectStorage, "write_new", write_new)
        second.commit(packed(2.0))
        return write_new(self, name, data)

    monkeypatch.setattr(ObjectStorage, "write_new", overtaken)
    first.commit(packed(1.0))
    assert first.get("base", WHAT).facts == {"accuracy": 2.0}
    assert objects(first) == [FACTS, weights_name(packed(2.0))]


def test_what_is_there_is_not_sent_again(s3, tmp_path):
    store = MirroredStore(ObjectStorage(s3.uri()), tmp_path / "here", commits=True)
    store.commit(packed())
    before = len(s3.requests)
    store.commit(packed())
    store.commit(packed(2.0))
    assert "PUT" not in {method for method, _ in s3.requests[before:]}


def test_of_eight_commits_at_once_one_wins(machine):
    stores = [machine(f"machine{number}") for number in range(8)]
    start = threading.Barrier(8)

    def commit(number: int) -> None:
        start.wait()
        stores[number].commit(packed(float(number)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(commit, range(8)))
    found = [store.get("base", WHAT).facts["accuracy"] for store in stores]
    assert len(set(found)) == 1
    assert objects(stores[0]) == [FACTS, weights_name(packed(found[0]))]


def test_eight_workers_of_a_machine_fetch_once(s3, tmp_path):
    """Threads, each with a store of its own: the lock of a file keeps them apart like processes."""
    uri = s3.uri()
    MirroredStore(ObjectStorage(uri), tmp_path / "here", commits=True).commit(packed())
    before, start = len(s3.requests), threading.Barrier(8)

    def get(number: int) -> float:
        store = MirroredStore(ObjectStorage(uri), tmp_path / "there", commits=False)
        start.wait()
        return store.get("base", WHAT).tensors["w"].sum().item()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(get, range(8))) == [15.0] * 8
    assert sum(path.endswith(".safetensors") for _, path in s3.requests[before:]) == 1


def test_an_interrupted_commit_is_made_up_for_without_making_again(machine, monkeypatch):
    store = machine("here")
    write = ObjectStorage.write

    def cut(self: ObjectStorage, name: str, data: bytes) -> None:
        if name.endswith(".safetensors"):
            raise StorageError(f"{name} cannot be written: the line was cut")
        write(self, name, data)

    monkeypatch.setattr(ObjectStorage, "write", cut)
    maker = Maker()
    with pytest.raises(StorageError, match=r"the line was cut; what was made is kept in .*here"):
        store.get_or_make("base", WHAT, maker)
    assert objects(store) == []
    monkeypatch.setattr(ObjectStorage, "write", write)
    assert machine("here").get_or_make("base", WHAT, never).facts == {"accuracy": 1.0}
    assert objects(store) == [FACTS, weights_name(packed())]
    assert maker.made == 1


@pytest.mark.parametrize("uri", ["s3"], indirect=True)
def test_a_line_that_breaks_in_a_commit(s3, uri, machine, monkeypatch):
    """Whole or absent for all others, and mended by the next attempt."""
    own = Packed.of("base", WHAT, {"w": torch.zeros(500, 500)}, {})
    watching = machine("watching")
    with line_to(s3.port) as line:
        store = machine("here", via=uri.replace(f":{s3.port}", f":{line.port}"))
        assert store.get("base", WHAT) is None
        store.storage.patience = 0
        for cut in (100, 5_000, 900_000):
            line.cut(up=cut)
            with pytest.raises(StorageError, match="does not answer"):
                store.commit(own)
            assert watching.get("base", WHAT) is None
            assert FACTS not in objects(watching), "which is written last"
        line.cut(down=0)
        with pytest.raises(StorageError, match="does not answer"):
            store.commit(own)
        store.storage.patience = 10
        line.cut(up=900_000)
        store.commit(own)
        assert line.done == 5
    assert torch.equal(watching.get("base", WHAT).tensors["w"], torch.zeros(500, 500))


def test_a_storage_that_cannot_be_written_is_found_out_before_anything_is_made(s3, tmp_path, monkeypatch):
    store = MirroredStore(ObjectStorage(s3.uri()), tmp_path / "here", commits=True)

    def denied(self: ObjectStorage, name: str, data: bytes) -> None:
        raise StorageError(f"{name} cannot be written: access is denied")

    monkeypatch.setattr(ObjectStorage, "write", denied)
    monkeypatch.setattr(ObjectStorage, "write_new", denied)
    with pytest.raises(StorageError, match="access is denied"):
        store.get_or_make("base", WHAT, never)


def test_a_damaged_copy_is_fetched_again(machine, caplog):
    machine("here").commit(packed())
    store = machine("there")
    for damage in (
        lambda: (store.root / KEY / WEIGHTS).write_bytes(b"rotten"),
        lambda: (store.root / KEY / WEIGHTS).unlink(),
        lambda: (store.root / KEY / FACTS).write_text("{"),
    ):
        assert store.get("base", WHAT).facts == {"accuracy": 1.0}
        damage()
    assert store.get("base", WHAT).facts == {"accuracy": 1.0}
    assert f"the copy of artifact {KEY}" in caplog.text
    assert store.pack(KEY) == packed()


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(machine, caplog, tmp_path):
    machine("here").commit(packed())
    (tmp_path / "file").write_text("")
    store = machine("file")
    assert store.get("base", WHAT).facts == {"accuracy": 1.0}
    assert "give another folder by NEGLORA_CACHE" in caplog.text
    machine("here").storage.delete(f"artifacts/{KEY}/{FACTS}")
    with pytest.raises(ArtifactError, match=r"cannot write to .*file.*NEGLORA_CACHE"):
        store.get_or_make("base", WHAT, never)


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


def described(**changes: Any) -> bytes:
    return json.dumps(json.loads(packed().description) | changes).encode()


PICKLED = pickle.dumps({"w": Bomb()})
HOSTILE = {
    "no JSON": b"{",
    "no text": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "empty": b"{}",
    "of another": Packed.of("base", WHAT | {"seed": 4}, {}, {}).description,
    "of another kind": described(kind="../../base"),
    "no kind": described(kind=["base"]),
    "nothing determined": described(determines=None),
    "NaN determined": packed().description.replace(b'"seed": 3', b'"seed": NaN'),
    "facts": described(facts=[1, 2]),
    "checksum": described(sha256="../../../../escaped"),
    "checksum with a line": described(sha256="0" * 64 + "\n"),
    "short checksum": described(sha256="00"),
    "checksum as number": described(sha256=7),
    "missing weights": described(sha256="0" * 64),
    "a pickle": described(sha256=hashlib.sha256(PICKLED).hexdigest()),
    "nonsense": described(sha256=hashlib.sha256(b"\xff" * 64).hexdigest()),
}


@pytest.mark.parametrize("uri", ["file"], indirect=True)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_artifact_is_refused_without_harm_and_replaced(name, machine, caplog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = machine("here")
    store.storage.write(f"artifacts/{KEY}/{FACTS}", HOSTILE[name])
    for weights in (PICKLED, b"\xff" * 64):
        digest = hashlib.sha256(weights).hexdigest()
        store.storage.write(f"artifacts/{KEY}/weights-{digest}.safetensors", weights)
    (tmp_path / "shared" / "escaped.safetensors").write_bytes(packed().weights)
    assert store.get("base", WHAT) is None
    assert f"artifact {KEY} in file://" in caplog.text
    assert "damaged and will be made again" in caplog.text
    assert store.get_or_make("base", WHAT, Maker()).facts == {"accuracy": 1.0}
    assert machine("there").get("base", WHAT).facts == {"accuracy": 1.0}
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_folder_refuses_the_same(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = ArtifactStore(tmp_path / "artifacts")
    store.get_or_make("base", WHAT, Maker())
    (store.root / KEY / FACTS).write_bytes(HOSTILE[name])
    (store.root / KEY / WEIGHTS).write_bytes(b"\xff" * 64 if name == "nonsense" else PICKLED)
    assert store.get("base", WHAT) is None
    assert store.get_or_make("base", WHAT, Maker(2.0)).facts == {"accuracy": 2.0}
    assert not (tmp_path / "exploded").exists()


def test_what_a_worker_returns_is_verified_before_it_is_written(machine):
    store = machine("here")
    for wrong in (
        replace(packed(), weights=PICKLED),
        replace(packed(), weights=PICKLED, description=HOSTILE["a pickle"]),
        replace(packed(), description=HOSTILE["facts"]),
        replace(packed(), key="../../escaped"),
        replace(packed(), key=artifact_key("base", {})),
    ):
        with pytest.raises(ArtifactError):
            store.commit(wrong)
    assert store.storage.names() == []


def test_weights_that_are_lost_in_the_storage(machine):
    first = machine("here")
    first.commit(packed())
    first.storage.delete(f"artifacts/{KEY}/{weights_name(packed())}")
    other = machine("other")
    assert other.get("base", WHAT) is None
    assert other.get_or_make("base", WHAT, Maker(2.0)).facts == {"accuracy": 2.0}
    assert machine("third").get("base", WHAT).facts == {"accuracy": 2.0}


def test_a_folder_or_a_uri(s3, tmp_path):
    folder = open_artifacts(str(tmp_path / "runs"), commits=True)
    assert type(folder) is ArtifactStore
    assert folder.title == str(tmp_path / "runs" / "artifacts")
    remote = open_artifacts(s3.at("tests/runs"), commits=False)
    assert isinstance(remote, MirroredStore)
    assert remote.title == "s3://tests/runs/artifacts"
    assert (tmp_path / "cache") in remote.root.parents
    assert remote.root.name == mirrored.ARTIFACTS


KILLED = """
import json, os, sys
from pathlib import Path
import torch
from neglora.mirrored import MirroredStore
from neglora.storage import ObjectStorage

uri, cache, what, use, when = sys.argv[1:]
original = getattr(ObjectStorage, use)

def dies(self, name, data):
    if not name.startswith("artifacts/"):
        return original(self, name, data)
    if when == "after":
        original(self, name, data)
    os.kill(os.getpid(), 9)

setattr(ObjectStorage, use, dies)
store = MirroredStore(ObjectStorage(uri), Path(cache), commits=True)
store.get_or_make("base", json.loads(what), lambda partial: ({"w": torch.ones(3, 5)}, {"accuracy": 1.0}))
"""


@pytest.mark.faults
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("use", ["write", "write_new"])
def test_a_maker_that_is_killed_in_its_commit(use, when, s3, uri, machine, tmp_path):
    """Whole or absent for others, and made up for by the next on this machine without being made again."""
    command = [sys.executable, "-c", KILLED, uri, str(tmp_path / "here"), json.dumps(WHAT), use, when]
    assert subprocess.run(command, timeout=250).returncode == -9
    found = machine("there").get("base", WHAT)
    assert (found is not None) == (use == "write_new" and when == "after")
    assert machine("here").get_or_make("base", WHAT, never).facts == {"accuracy": 1.0}
    assert machine("there").get("base", WHAT).facts == {"accuracy": 1.0}
    assert objects(machine("there")) == [FACTS, weights_name(packed())]


def test_a_session_on_a_uri(s3, setting, tiny):
    quick = replace(setting, training=setting.training | {"epochs": 1})
    uri = s3.uri()
    session = Session(uri)
    wanted = base_of(quick, 0, 0.0)
    with pytest.raises(LookupError, match=r"is missing from s3://tests/.*/runs/artifacts$"):
        session.get(wanted)
    ensure(wanted, session.store, tiny)
    assert session.get(wanted).artifact.facts["epochs"] == 1
    worker = Session(uri, commits=False)
    assert worker.get(wanted).artifact.key == session.get(wanted).artifact.key
