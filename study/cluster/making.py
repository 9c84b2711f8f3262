"""The task that makes one prerequisite on a node, and what it tells the driver while it does.

On a storage that is a folder, checkpoints and the artifact are written there by the task itself. On a URI only the
driver writes: both travel to it through Ray's object store, as arrays, which are neither pickled nor copied there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

from neglora.artifacts import ArtifactStore, artifact_key
from neglora.checkpoint import Checkpoint
from neglora.mirrored import ARTIFACTS, MirroredStore, Packed, open_artifacts
from neglora.prerequisites import TRAINING, Fit, Keeping, OnEpoch, Prerequisite, ensure, in_file
from neglora.storage import ObjectStorage, StorageError

#: Bytes as Ray carries them without a copy.
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Started:
    """A node has taken the task up: its address, and Ray's id of it."""

    node: str
    node_id: str


@dataclass(frozen=True)
class Resumed:
    """The training goes on in this epoch, counted from 0, from what an earlier attempt kept."""

    epoch: int


@dataclass(frozen=True)
class Trained:
    """So many epochs are done, of so many."""

    epoch: int
    epochs: int


@dataclass(frozen=True, repr=False)
class Kept:
    """A checkpoint of this epoch, counted from 0, and its bytes where the driver has to write them."""

    epoch: int
    name: str
    data: Bytes | None


@dataclass(frozen=True)
class Dropped:
    """The checkpoint is worth nothing any more."""

    name: str


@dataclass(frozen=True, repr=False)
class Finished:
    """The artifact, for the driver to write."""

    key: str
    description: bytes
    weights: Bytes


Event = Started | Resumed | Trained | Kept | Dropped | Finished
Tell = Callable[[Event], None]


class Outbox:
    """What a training tells beside the one who passes it on: the newest event of each kind, in the order they came.

    Who trains never waits. Where events are taken slowly, older ones give way, so that no two checkpoints pile up.
    """

    def __init__(self) -> None:
        self._waiting: dict[type, Event] = {}
        self._over = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, event: Event) -> None:
        with self._changed:
            self._waiting.pop(type(event), None)
            if isinstance(event, Dropped):
                self._waiting.pop(Kept, None)
            self._waiting[type(event)] = event
            self._changed.notify()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing comes any more; the error is raised to whoever takes events."""
        with self._changed:
            self._over, self._error = True, error
            self._changed.notify()

    def __iter__(self) -> Iterator[Event]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._over)
                if not self._waiting:
                    if self._error:
                        raise self._error
                    return
                event = self._waiting.pop(next(iter(self._waiting)))
            yield event


class ToldCheckpoint(Checkpoint):
    """In a file that all nodes see; the driver is told of it."""

    def __init__(self, path: Path, belongs_to: str, every: float, tell: Tell) -> None:
        super().__init__(path, belongs_to, every)
        self._tell = tell

    def load(self) -> dict[str, Any] | None:
        state = super().load()
        if state is not None:
            self._tell(Resumed(state["epoch"]))
        return state

    def write(self, data: memoryview, state: dict[str, Any]) -> None:
        super().write(data, state)
        self._tell(Kept(state["epoch"], self.title, None))


class SentCheckpoint(ToldCheckpoint):
    """In a storage that only the driver writes: its bytes are sent there."""

    def __init__(self, storage: ObjectStorage, belongs_to: str, every: float, tell: Tell) -> None:
        self.name = checkpoint_name(belongs_to)
        super().__init__(Path(self.name), belongs_to, every, tell)
        self._storage = storage

    def read(self) -> bytes:
        try:
            return self._storage.read(self.name)
        except StorageError as error:
            raise OSError(str(error)) from error

    def write(self, data: memoryview, state: dict[str, Any]) -> None:
        self._tell(Kept(state["epoch"], self.name, as_array(data)))

    def remove(self) -> None:
        self._tell(Dropped(self.name))


def checkpoint_name(key: str) -> str:
    """Where a storage on a URI keeps the training of an artifact."""
    return f"{ARTIFACTS}/.{key}.partial/{TRAINING}"


def as_array(data: bytes | memoryview) -> Bytes:
    return np.frombuffer(data, dtype=np.uint8)


def make(plain: dict[str, Any], storage: str, resources: dict[str, Any]) -> Iterator[Event]:
    """In a Ray task: make one prerequisite, telling what happens as it goes.

    Args:
        plain: the prerequisite as plain data.
        storage: a folder that all nodes see, or a URI.
        resources: of each worker, if several are to train it together.
    """
    wanted = Prerequisite.of(plain)
    outbox = Outbox()
    # Training runs beside the generator, so that progress flows while it computes.
    threading.Thread(target=_work, args=(wanted, storage, resources, outbox), daemon=True).start()
    yield Started(ray.util.get_node_ip_address(), ray.get_runtime_context().get_node_id())
    yield from outbox


def _work(wanted: Prerequisite, storage: str, resources: dict[str, Any], outbox: Outbox) -> None:
    try:
        store = open_artifacts(storage, commits=False)
        dataset = wanted.setting.load_dataset()
        on_epoch: OnEpoch = lambda epoch, epochs: outbox.put(Trained(epoch.epoch, epochs))  # noqa: E731
        fit: Fit | None = None
        if wanted.workers > 1:
            # Imported here, since it takes a second that no other task needs.
            from study.cluster.distributed import group_fit

            fit = group_fit(**resources, storage=storage, tell=outbox.put)
        ensure(wanted, store, dataset, on_epoch, fit, keeping_in(store, outbox.put))
        if isinstance(store, MirroredStore):
            outbox.put(_finished(store.pack(artifact_key(wanted.kind, wanted.determines(dataset.fingerprint)))))
        outbox.end()
    except BaseException as error:
        outbox.end(error)


def keeping_in(store: ArtifactStore, tell: Tell) -> Keeping:
    """Where a training is kept: in its store's folder, or by way of the driver."""

    def keeping(partial: Path, key: str, every: float) -> Checkpoint:
        if isinstance(store, MirroredStore):
            return SentCheckpoint(store.storage, key, every, tell)
        return ToldCheckpoint(in_file(partial, key, every).path, key, every, tell)

    return keeping


def _finished(packed: Packed) -> Finished:
    return Finished(packed.key, packed.description, as_array(packed.weights))
