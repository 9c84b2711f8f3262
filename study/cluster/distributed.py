"""One training on several workers of the cluster, by Ray Train: data-parallel, every worker on its share of each batch.

All is passed to the process that starts them through a queue: epochs, and at the end the weights. In a folder that all
nodes see, checkpoints are written by the first worker; on a URI they go through the queue too, and the process that
starts a group reads the last one for all of them.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
import safetensors.torch
from ray import train
from ray.train.torch import TorchTrainer, get_device
from ray.util.queue import Empty, Queue

from neglora.artifacts import ArtifactStore, Made
from neglora.checkpoint import Checkpoint
from neglora.mirrored import MirroredStore, open_artifacts
from neglora.prerequisites import Fit, Keeping, OnEpoch, Prerequisite, in_file, make_here
from neglora.train import Epoch, TrainingDiverged
from study.cluster.failures import WorkersLost
from study.cluster.losses import loss_of
from study.cluster.making import Bytes, Dropped, Event, Kept, Tell, ToldCheckpoint, as_array, checkpoint_name

#: Read by Ray Train in the process that starts a training.
SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # A group waits for its resources, as any other task does.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # A worker on a machine that is reclaimed is lost as any other; checkpoints are written all the time.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
#: What the loss of one worker never makes the others raise: where it is raised, it would be raised again.
OWN_ERRORS = (ValueError, TypeError, LookupError, AttributeError, ImportError, AssertionError)
#: Seconds between two looks for what workers told.
PATIENCE = 0.2


@dataclass(frozen=True, repr=False)
class Done:
    """What the first worker made: weights as safetensors, and facts."""

    weights: Bytes
    facts: dict[str, Any]


@dataclass(frozen=True)
class Diverged:
    """All workers ended so together. As an error it would be tried again, and diverge again."""

    reason: str


@dataclass(frozen=True, repr=False)
class Plan:
    """What every worker is given.

    Attributes:
        wanted: the prerequisite as plain data.
        storage: a folder or a URI.
        partial: the folder of what is unfinished, where the storage is a folder.
        checkpoint: where the storage is a URI, what was read there; None where nothing was.
        events: where it is told what happens.
    """

    wanted: dict[str, Any]
    storage: str
    partial: str
    checkpoint: Any
    events: Queue


def group_fit(*, cpus: float, gpus: float, storage: str, tell: Tell) -> Fit:
    """What makes a prerequisite on as many workers as its recipe says.

    Args:
        cpus, gpus: of each worker.
        storage: a folder that all nodes see, or a URI.
        tell: told about checkpoints.
    """

    def fit(wanted: Prerequisite, store: ArtifactStore, partial: Path, on_epoch: OnEpoch | None) -> Made:
        return _fit(wanted, store, storage, partial.absolute(), Listener(on_epoch, tell), cpus, gpus)

    return fit


class Listener:
    """Passes on what workers put into their queue, until they are done."""

    def __init__(self, on_epoch: OnEpoch | None, tell: Tell) -> None:
        self.end: Done | Diverged | None = None
        self._on_epoch, self._tell = on_epoch, tell
        self._over = threading.Event()

    def start(self, events: Queue) -> Callable[[], None]:
        """Begin; call what it returns to end, when all that was told is passed on."""
        thread = threading.Thread(target=self._listen, args=(events,), daemon=True)
        thread.start()

        def stop() -> None:
            self._over.set()
            thread.join()

        return stop

    def _listen(self, events: Queue) -> None:
        while True:
            last = self._over.is_set()
            with suppress(Empty):
                while True:
                    self._pass_on(events.get(timeout=None if last else PATIENCE, block=not last))
            if last:
                return

    def _pass_on(self, told: Any) -> None:
        if isinstance(told, Done | Diverged):
            self.end = told
        elif isinstance(told, Event):
            self._tell(told)
        elif self._on_epoch:
            epoch, epochs = told
            self._on_epoch(Epoch(**epoch), epochs)


def _fit(
    wanted: Prerequisite,
    store: ArtifactStore,
    storage: str,
    partial: Path,
    listener: Listener,
    cpus: float,
    gpus: float,
) -> Made:
    """
    Raises:
        TrainingDiverged: as in one process.
        WorkersLost: a worker was lost, or failed of what may be otherwise the next time.
        RuntimeError: the training itself failed.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    events = Queue(actor_options={"num_cpus": 0})
    plan = Plan(asdict(wanted), storage, str(partial), _interrupted(store, partial), events)
    asked = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    stop = listener.start(events)
    try:
        # Ray Train's own files: its controller runs on this node, and workers that report nothing never look at them.
        with tempfile.TemporaryDirectory(prefix="neglora-train-") as scratch:
            TorchTrainer(
                _work,
                train_loop_config={"plan": plan},
                scaling_config=train.ScalingConfig(
                    num_workers=wanted.workers, use_gpu=gpus > 0, resources_per_worker=asked
                ),
                # The driver counts retries, and tells of them.
                run_config=train.RunConfig(
                    name="group", storage_path=scratch, failure_config=train.FailureConfig(max_failures=0)
                ),
            ).fit()
    except train.TrainingFailedError as error:
        raise failure_of(error) from error
    finally:
        stop()
        events.shutdown(force=True)
    return made_of(listener.end)


def _interrupted(store: ArtifactStore, partial: Path) -> Any:
    """What a group on a URI goes on from: read once, so that all workers have the same, though the driver writes on."""
    if not isinstance(store, MirroredStore):
        return None
    key = partial.name.removeprefix(".").removesuffix(".partial")
    name = checkpoint_name(key)
    return ray.put(as_array(store.storage.read(name))) if store.storage.exists(name) else None


def _work(config: dict[str, Any]) -> None:
    """In every worker: the whole making, with torch.distributed set up; the first one passes on what came out."""
    import torch

    plan: Plan = config["plan"]
    if torch.cuda.is_available():
        torch.cuda.set_device(get_device())
    wanted = Prerequisite.of(plan.wanted)
    first = train.get_context().get_world_rank() == 0
    on_epoch: OnEpoch = lambda epoch, epochs: plan.events.put((asdict(epoch), epochs))  # noqa: E731
    store = open_artifacts(plan.storage, commits=False)
    try:
        dataset = wanted.setting.load_dataset()
        keeping = keeping_in_group(plan, store, tells=first)
        tensors, facts = make_here(wanted, store, dataset, Path(plan.partial), on_epoch if first else None, keeping)
    except TrainingDiverged as error:
        if first:
            plan.events.put(Diverged(str(error)))
        return
    if first:
        data = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        plan.events.put(Done(as_array(data), facts))


def keeping_in_group(plan: Plan, store: ArtifactStore, *, tells: bool) -> Keeping:
    """Where a worker of a group reads what was kept; only the first of them writes, and tells."""
    tell: Tell = plan.events.put if tells else _silent

    def keeping(partial: Path, key: str, every: float) -> Checkpoint:
        if isinstance(store, MirroredStore):
            return GroupCheckpoint(plan.checkpoint, key, every, tell)
        return ToldCheckpoint(in_file(partial, key, every).path, key, every, tell)

    return keeping


def _silent(event: Event) -> None:
    """All workers of a group have the same to tell; the first one does."""


class GroupCheckpoint(ToldCheckpoint):
    """The training of a group on a URI: read by who started the group, sent through its queue."""

    def __init__(self, held: Any, belongs_to: str, every: float, tell: Tell) -> None:
        self.name = checkpoint_name(belongs_to)
        super().__init__(Path(self.name), belongs_to, every, tell)
        self._held = held

    def read(self) -> bytes:
        if self._held is None:
            raise FileNotFoundError(self.name)
        data: bytes = ray.get(self._held).tobytes()
        return data

    def write(self, data: memoryview, state: dict[str, Any]) -> None:
        self._tell(Kept(state["epoch"], self.name, as_array(data)))

    def remove(self) -> None:
        self._tell(Dropped(self.name))


def made_of(end: Done | Diverged | None) -> Made:
    """What the first worker passed on.

    Raises:
        TrainingDiverged: that it did.
        WorkersLost: nothing.
    """
    if isinstance(end, Diverged):
        raise TrainingDiverged(end.reason)
    if end is None:
        raise WorkersLost("its group ended without weights")
    return safetensors.torch.load(end.weights.tobytes()), end.facts


def failure_of(error: train.TrainingFailedError) -> RuntimeError:
    """The end of a group as `WorkersLost`, which is tried again; as another error where it would only fail again.

    It tells of the worker that made the others fail, if that can be told, else of the first that failed.
    """
    failures = getattr(error, "worker_failures", None) or {}
    if not failures:
        return WorkersLost(f"{type(error).__name__}: {error}")
    rank, cause = min(failures.items(), key=lambda failed: (_consequence(failed[1]), failed[0]))
    if (gone := _gone(cause)) is not None:
        return WorkersLost(f"worker {rank} of its training: {loss_of(f'{type(gone).__name__}: {gone}').words}")
    told = f"{type(cause).__name__} on worker {rank} of its training: {cause}"
    return RuntimeError(told) if isinstance(cause, OWN_ERRORS) else WorkersLost(told)


def _consequence(cause: Exception) -> int:
    """How likely one worker's failure comes from another's."""
    return 0 if isinstance(cause, OWN_ERRORS) else 1 if _gone(cause) is not None else 2


def _gone(cause: Exception) -> Exception | None:
    """What Ray says of a worker that no longer answers; None where it told its error itself."""
    return getattr(cause, "health_check_failure", None)
