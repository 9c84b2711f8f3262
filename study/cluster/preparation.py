"""Prerequisites as Ray tasks: base models and Retrain side by side, pruned bases when theirs is there.

A task whose worker or node was lost is handed out again from here: Ray itself would repeat it in silence, and drop
what it tells until it has told as much as before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import ray

from neglora.mirrored import MirroredStore, Packed, open_artifacts
from neglora.prerequisites import Prerequisite
from neglora.storage import StorageError
from study.cluster.failures import PreparationError, WorkersLost
from study.cluster.losses import Loss, loss_of, told
from study.cluster.making import Dropped, Event, Finished, Kept, Resumed, Started, Trained, checkpoint_name, make
from study.cluster.waiting import Patience, waited_for
from study.progress import Progress

logger = logging.getLogger(__name__)

#: Ray says no more of a task whose process is gone.
CRASHED = "its process died: killed (SIGKILL, as the kernel does when memory runs out) or crashed"


@dataclass
class Attempts:
    """All attempts at one prerequisite.

    Attributes:
        wanted: what.
        node, node_id: where it is being made now; None until a node has taken it up.
        kept: the epoch of the last checkpoint, counted from 0; None without one.
        losses: of workers, one for each attempt that was lost.
    """

    wanted: Prerequisite
    node: str | None = None
    node_id: str | None = None
    kept: int | None = None
    losses: list[Loss] = field(default_factory=list)


def prepare(
    absent: Sequence[Prerequisite],
    storage: str,
    *,
    cpus: float,
    gpus: float,
    slots: int,
    retries: int,
    progress: Progress,
) -> None:
    """Make what is absent, each exactly once, in parallel where resources allow.

    Args:
        absent: what to make (see `missing`).
        storage: the folder of `artifacts/`, shared by all nodes; or a URI, which is then written by this process alone.
        cpus, gpus: what one task, or each worker of a training, asks for: the same as a trial, so that times compare.
        slots: how many of them fit at once.
        retries: after a lost worker or node.
        progress: told about every epoch.

    Raises:
        PreparationError: naming the first that failed.
        StorageError: the storage cannot be written.
    """
    store = open_artifacts(storage, commits=True)
    waiting = [Attempts(one) for one in absent]
    patience = Patience(progress)
    running: dict[Any, Attempts] = {}
    while waiting or running:
        for one in _ready(waiting, list(running.values()), slots):
            waiting.remove(one)
            running[_start(one.wanted, storage, cpus, gpus)] = one
        told_of = ray.wait(list(running), num_returns=1, timeout=1.0)[0]
        for stream in [] if told_of else _cut_off(running):
            one = running.pop(stream)
            _lost(one, Loss(f"its machine {one.node} was lost"), retries, progress)
            waiting.insert(0, one)
        for stream in told_of:
            one = running[stream]
            try:
                event: Event = ray.get(next(stream))
            except StopIteration:
                del running[stream]
                progress.prepared(one.wanted.title)
            except ray.exceptions.RayError as error:
                del running[stream]
                _lost(one, _loss(one.wanted, error), retries, progress)
                waiting.insert(0, one)
            else:
                _take(event, one, store, progress)
        if running and not any(one.node for one in running.values()):
            patience.say(waited_for(cpus, gpus, f"{len(running)} models to make"))
        else:
            patience.reset()


def _ready(waiting: Sequence[Attempts], running: Sequence[Attempts], slots: int) -> list[Attempts]:
    """What can be started now: what it needs is there, and a group of workers finds room beside other groups."""
    unfinished = {repr(one.wanted) for one in (*waiting, *running)}
    taken = sum(one.wanted.workers for one in running)
    chosen: list[Attempts] = []
    for one in waiting:
        wanted = one.wanted
        if wanted.needs is not None and repr(wanted.needs) in unfinished:
            continue
        if wanted.workers > 1 and taken and taken + wanted.workers > slots:
            continue
        taken += wanted.workers
        chosen.append(one)
    return chosen


def _cut_off(running: Mapping[Any, Attempts]) -> list[Any]:
    """The tasks whose node is dead to the cluster.

    Of a machine that went without closing its connections, Ray tells an actor's caller within seconds, but lets a
    task's caller wait until TCP gives up.
    """
    dead = {node["NodeID"] for node in ray.nodes() if not node["Alive"]}
    return [stream for stream, one in running.items() if one.node_id in dead]


def _start(wanted: Prerequisite, storage: str, cpus: float, gpus: float) -> Any:
    # What only waits for a group of workers asks for nothing, or it would hold what they wait for.
    asked = {"num_cpus": 0, "num_gpus": 0} if wanted.workers > 1 else {"num_cpus": cpus, "num_gpus": gpus}
    task = ray.remote(make).options(
        **asked,
        name=f"prepare {wanted.title}",
        max_retries=0,
        num_returns="streaming",
        # The next event leaves the node when this one was taken: no checkpoints pile up on the way.
        _generator_backpressure_num_objects=1,
    )
    return task.remote(asdict(wanted), storage, {"cpus": cpus, "gpus": gpus})


def _loss(wanted: Prerequisite, error: ray.exceptions.RayError) -> Loss:
    """What the loss of a worker means.

    Raises:
        PreparationError: no worker was lost: the making itself failed.
    """
    if isinstance(error, ray.exceptions.WorkerCrashedError):
        return Loss(CRASHED)
    if not isinstance(error, ray.exceptions.RayTaskError):
        return loss_of(f"{type(error).__name__}: {error}")
    if isinstance(error.cause, WorkersLost):
        return Loss(str(error.cause))
    if isinstance(error.cause, ray.exceptions.RayError):
        return loss_of(f"{type(error.cause).__name__}: {error.cause}")
    raise PreparationError(f"{wanted.title}: {error.cause or error}") from error


def _lost(one: Attempts, loss: Loss, retries: int, progress: Progress) -> None:
    """
    Raises:
        PreparationError: it was lost too often.
    """
    title = one.wanted.title
    one.losses.append(loss)
    one.node = one.node_id = None
    if len(one.losses) > retries:
        raise PreparationError(f"{title}: {told(one.losses)}")
    on = "starts anew" if one.kept is None else f"goes on from epoch {one.kept + 1}"
    progress.say(f"{title} lost its worker and {on} on another: {loss.words}")


def _take(event: Event, one: Attempts, store: Any, progress: Progress) -> None:
    """What one event of a task means for the storage and for who watches."""
    title = one.wanted.title
    match event:
        case Started():
            one.node, one.node_id = event.node, event.node_id
            logger.info("%s is made on %s", title, event.node)
        case Resumed():
            if one.kept is None:
                progress.say(f"{title} goes on from epoch {event.epoch + 1}, where it was interrupted")
            one.kept = event.epoch
        case Trained():
            progress.preparing(title, event.epoch, event.epochs)
        case Kept():
            if event.data is None or _written(store, event, title, progress):
                one.kept = event.epoch
        case Dropped():
            store.storage.delete(event.name)
        case Finished():
            started = time.monotonic()
            store.commit(Packed(event.key, event.description, event.weights.tobytes()))
            store.storage.delete(checkpoint_name(event.key))
            logger.info("%s was written in %.1f s", title, time.monotonic() - started)


def _written(store: MirroredStore, kept: Kept, title: str, progress: Progress) -> bool:
    """Write a checkpoint. The training itself does without."""
    if kept.data is None:
        return False
    try:
        store.storage.write(kept.name, kept.data.tobytes())
    except StorageError as error:
        progress.say(f"{title} goes on, but its training could not be kept: {error}")
        return False
    return True
