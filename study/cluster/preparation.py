"""Prerequisites as Ray tasks: base models and Retrain side by side, pruned bases when theirs is there."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray

from neglora.artifacts import ArtifactStore
from neglora.prerequisites import OnEpoch, Prerequisite, ensure, find
from study.cluster.failures import PreparationError
from study.progress import Progress

logger = logging.getLogger(__name__)


def missing(prerequisites: Sequence[Prerequisite], storage: Path) -> list[Prerequisite]:
    """Those that are absent or damaged, read and verified here."""
    store = ArtifactStore(storage / "artifacts")
    datasets: dict[str, Any] = {}
    absent = []
    for wanted in prerequisites:
        key = repr((wanted.setting.dataset, wanted.setting.data))
        if key not in datasets:
            datasets[key] = wanted.setting.load_dataset()
        if find(wanted, store, datasets[key]) is None:
            absent.append(wanted)
    return absent


def prepare(
    prerequisites: Sequence[Prerequisite], storage: Path, *, cpus: float, gpus: float, retries: int, progress: Progress
) -> None:
    """Make what is missing, each exactly once, in parallel where resources allow.

    Args:
        prerequisites: everything that trials need.
        storage: the folder of `artifacts/`, shared by all nodes.
        cpus, gpus: what one task asks for: the same as a trial, so that times compare.
        retries: after a lost worker or node.
        progress: told about every epoch.

    Raises:
        PreparationError: naming the first that failed.
    """
    waiting = missing(prerequisites, storage)
    progress.preparation(len(prerequisites), len(waiting))
    if not waiting:
        return
    make = ray.remote(_make)
    asked = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": retries, "num_returns": "streaming"}
    running: dict[Any, Prerequisite] = {}
    while waiting or running:
        unfinished = {repr(one) for one in (*waiting, *running.values())}
        ready = [one for one in waiting if one.needs is None or repr(one.needs) not in unfinished]
        for wanted in ready:
            waiting.remove(wanted)
            plain = asdict(wanted)
            stream = make.options(name=f"prepare {wanted.title}", **asked).remote(plain, str(storage))
            running[stream] = wanted
        for stream in ray.wait(list(running), num_returns=1, timeout=1.0)[0]:
            wanted = running[stream]
            try:
                epoch, epochs = ray.get(next(stream))
            except StopIteration:
                del running[stream]
                progress.prepared(wanted.title)
            except ray.exceptions.RayTaskError as error:
                raise PreparationError(f"{wanted.title}: {error.cause or error}") from error
            except ray.exceptions.RayError as error:
                raise PreparationError(f"{wanted.title}: the worker was lost: {type(error).__name__}") from error
            else:
                progress.preparing(wanted.title, epoch, epochs)


def _make(plain: dict[str, Any], storage: str) -> Iterator[tuple[int, int]]:
    """In a Ray task: make one prerequisite, yielding (epoch, epochs) as it goes."""
    wanted = Prerequisite.of(plain)
    events: queue.Queue[tuple[int, int] | BaseException | None] = queue.Queue()

    def work() -> None:
        try:
            on_epoch: OnEpoch = lambda epoch, epochs: events.put((epoch.epoch, epochs))  # noqa: E731
            ensure(wanted, ArtifactStore(Path(storage) / "artifacts"), wanted.setting.load_dataset(), on_epoch)
            events.put(None)
        except BaseException as error:
            events.put(error)

    # Training runs beside the generator, so that progress flows while it computes.
    threading.Thread(target=work, daemon=True).start()
    while (event := events.get()) is not None:
        if isinstance(event, BaseException):
            raise event
        yield event
