import json
import subprocess
import sys
import threading

import pytest
import torch

from neglora import artifacts
from neglora.artifacts import FACTS, WEIGHTS, ArtifactError, ArtifactStore, artifact_key

WHAT = {"seed": 0, "recipe": {"epochs": 2}}
TENSORS = {
    "a.weight": torch.arange(6.0).view(2, 3),
    "mask:a.weight": torch.tensor([True, False]),
    "count": torch.tensor(7),
}


class Maker:
    """Makes the same artifact each time and counts how often."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, partial):
        self.made += 1
        return TENSORS, {"made": self.made, "curve": [1.5, 0.5]}


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


def finished(store):
    """What a reader of the folder sees: everything but what is hidden."""
    return sorted(path.name for path in store.root.glob("*") if not path.name.startswith("."))


def test_made_once_and_kept(store, tmp_path):
    maker = Maker()
    assert store.get("base", WHAT) is None
    made = store.get_or_make("base", WHAT, maker)
    found = store.get_or_make("base", WHAT, maker)
    elsewhere = ArtifactStore(tmp_path / "artifacts").get("base", WHAT)
    assert maker.made == 1
    for artifact in (made, found, elsewhere):
        assert artifact.facts == {"made": 1, "curve": [1.5, 0.5]}
        assert artifact.key == artifact_key("base", WHAT)
        assert set(artifact.tensors) == set(TENSORS)
        for name, tensor in TENSORS.items():
            assert artifact.tensors[name].dtype == tensor.dtype
            assert torch.equal(artifact.tensors[name], tensor)
    assert finished(store) == [made.key]
    assert not [path for path in store.root.iterdir() if path.name.startswith(f".{made.key}")]


def test_a_folder_that_others_may_read(store):
    folder = store.root / store.get_or_make("base", WHAT, Maker()).key
    assert folder.stat().st_mode & 0o777 == 0o755
    description = json.loads((folder / FACTS).read_text())
    assert description["determines"] == WHAT
    assert description["kind"] == "base"


def test_the_key_is_of_everything_that_determines():
    key = artifact_key("base", WHAT)
    assert key.startswith("base-")
    assert key == artifact_key("base", {"recipe": {"epochs": 2}, "seed": 0})
    others = [
        artifact_key("sparse", WHAT),
        artifact_key("base", WHAT | {"seed": 1}),
        artifact_key("base", WHAT | {"recipe": {"epochs": 3}}),
        artifact_key("base", WHAT | {"more": None}),
    ]
    assert len({key, *others}) == 5


def test_tensors_that_are_views_or_need_gradients_are_kept(store):
    tensor = torch.nn.Parameter(torch.arange(6.0).view(2, 3))
    found = store.get_or_make("base", WHAT, lambda partial: ({"a": tensor.t()}, {}))
    assert torch.equal(found.tensors["a"], tensor.detach().t())


def test_exactly_once_in_a_race(store):
    """Each thread opens the lock for itself, as a process would."""
    count = 8
    start, maker = threading.Barrier(count), Maker()
    results = []

    def ask():
        own = ArtifactStore(store.root)
        start.wait()
        results.append(own.get_or_make("base", WHAT, maker))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert maker.made == 1
    assert [artifact.facts["made"] for artifact in results] == [1] * count
    assert finished(store) == [artifact_key("base", WHAT)]


def test_different_artifacts_do_not_wait_for_each_other(store):
    """Making one while making another: a sparse base asks for its base."""
    inner = Maker()

    def outer(partial):
        store.get_or_make("base", WHAT, inner)
        return TENSORS, {}

    store.get_or_make("sparse", WHAT, outer)
    assert inner.made == 1
    assert len(finished(store)) == 2


def test_the_lock_of_a_process_that_dies_is_given_back(store):
    key = artifact_key("base", WHAT)
    lock = store.root / ".locks" / f"{key}.lock"
    lock.parent.mkdir(parents=True)
    code = (
        "import fcntl, sys\n"
        "handle = open(sys.argv[1], 'w')\n"
        "fcntl.flock(handle, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        maker = Maker()
        asking = threading.Thread(target=store.get_or_make, args=("base", WHAT, maker))
        asking.start()
        asking.join(0.3)
        assert maker.made == 0, "another process holds the lock"
    finally:
        holder.kill()
        holder.communicate()
    asking.join(60)
    assert maker.made == 1
    assert finished(store) == [key]


def damage_bit(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)


def describe(folder, **changes):
    description = json.loads((folder / FACTS).read_text()) | changes
    (folder / FACTS).write_text(json.dumps({name: value for name, value in description.items() if value is not None}))


DAMAGES = {
    "a bit of the weights": damage_bit,
    "weights cut short": lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-5]),
    "empty weights": lambda folder: (folder / WEIGHTS).write_bytes(b""),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "no facts": lambda folder: (folder / FACTS).unlink(),
    "facts cut short": lambda folder: (folder / FACTS).write_text((folder / FACTS).read_text()[:40]),
    "facts in another encoding": lambda folder: (folder / FACTS).write_bytes(b"\xff\xfe{}"),
    "facts that are a list": lambda folder: (folder / FACTS).write_text("[]"),
    "no checksum": lambda folder: describe(folder, sha256=None),
    "facts of another kind": lambda folder: describe(folder, facts=[1]),
    "an empty folder": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_detected_and_made_again(store, caplog, damage):
    maker = Maker()
    folder = store.root / store.get_or_make("base", WHAT, maker).key
    DAMAGES[damage](folder)
    assert store.get("base", WHAT) is None
    assert "damaged" in caplog.text
    again = store.get_or_make("base", WHAT, maker)
    assert maker.made == 2
    assert again.facts["made"] == 2
    assert store.get("base", WHAT).facts == again.facts
    assert sorted(path.name for path in folder.iterdir()) == sorted([WEIGHTS, FACTS])


def test_a_maker_that_fails_leaves_nothing(store):
    def fail(partial):
        raise ZeroDivisionError("while training")

    with pytest.raises(ZeroDivisionError, match="while training"):
        store.get_or_make("base", WHAT, fail)
    assert finished(store) == []
    assert store.get("base", WHAT) is None
    assert store.get_or_make("base", WHAT, Maker()).facts["made"] == 1


def test_nothing_is_seen_before_it_is_whole(store, monkeypatch):
    """At the moment when the weights are written and the facts are not, and when the disk fails then."""
    write = artifacts.write_synced
    seen = []

    def full_disk(path, data):
        if path.name == FACTS:
            seen.append((finished(store), store.get("base", WHAT)))
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(artifacts, "write_synced", full_disk)
    with pytest.raises(ArtifactError, match="No space left on device"):
        store.get_or_make("base", WHAT, Maker())
    assert seen == [([], None)]
    assert [path.name for path in store.root.iterdir()] == [".locks"]


def test_facts_that_are_no_json_are_refused_and_leave_nothing(store):
    with pytest.raises(ValueError, match="JSON compliant"):
        store.get_or_make("base", WHAT, lambda partial: (TENSORS, {"loss": float("nan")}))
    assert [path.name for path in store.root.iterdir()] == [".locks"]


def test_a_store_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    store = ArtifactStore(tmp_path / "file" / "artifacts")
    maker = Maker()
    assert store.get("base", WHAT) is None
    with pytest.raises(ArtifactError, match=r"cannot write to .*file.*; give another --storage"):
        store.get_or_make("base", WHAT, maker)
    assert maker.made == 0, "found out before anything was trained"


def test_a_maker_that_lost_its_lock_replaces_nothing(store):
    """As on a node that was cut off while another made the artifact: trials start from that one already."""
    maker = Maker()

    def late(partial):
        (store.root / ".locks" / f"{artifact_key('base', WHAT)}.lock").unlink()
        ArtifactStore(store.root).get_or_make("base", WHAT, maker)
        return {"a": torch.zeros(3)}, {"made": "late"}

    assert store.get_or_make("base", WHAT, late).facts["made"] == 1
    assert maker.made == 1
