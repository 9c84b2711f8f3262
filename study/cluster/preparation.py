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
from neglora.prerequisites import Fit, OnEpoch, Prerequisite, ensure
from study.cluster.failures import PreparationError
from study.progress import Progress

logger = logging.getLogger(__name__)


def prepare(
    absent: Sequence[Prerequisite],
    storage: Path,
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
        storage: the folder of `artifacts/`, shared by all nodes.
        cpus, gpus: what one task, or each worker of a training, asks for: the same as a trial, so that times compare.
        slots: how many of them fit at once.
        retries: after a lost worker or node.
        progress: told about every epoch.

    Raises:
        PreparationError: naming the first that failed.
    """
    waiting = list(absent)
    make = ray.remote(_make)
    resources = {"cpus": cpus, "gpus": gpus, "retries": retries}
    running: dict[Any, Prerequisite] = {}
    while waiting or running:
        unfinished = {repr(one) for one in (*waiting, *running.values())}
        ready = [one for one in waiting if one.needs is None or repr(one.needs) not in unfinished]
        for wanted in ready:
            group = wanted.workers > 1
            if group and sum(one.workers for one in running.values()) + wanted.workers > slots and running:
                continue
            waiting.remove(wanted)
            # What only waits for a group of workers asks for nothing, or it would hold what they wait for.
            asked = {"num_cpus": 0, "num_gpus": 0} if group else {"num_cpus": cpus, "num_gpus": gpus}
            options = asked | {"name": f"prepare {wanted.title}", "max_retries": retries, "num_returns": "streaming"}
            stream = make.options(**options).remote(asdict(wanted), str(storage), resources)
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


def _make(plain: dict[str, Any], storage: str, resources: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """In a Ray task: make one prerequisite, yielding (epoch, epochs) as it goes."""
    wanted = Prerequisite.of(plain)
    fit: Fit | None = None
    if wanted.workers > 1:
        # Imported here, since it takes a second that no other task needs.
        from study.cluster.distributed import group_fit

        fit = group_fit(**resources)
    events: queue.Queue[tuple[int, int] | BaseException | None] = queue.Queue()

    def work() -> None:
        try:
            on_epoch: OnEpoch = lambda epoch, epochs: events.put((epoch.epoch, epochs))  # noqa: E731
            ensure(wanted, ArtifactStore(Path(storage) / "artifacts"), wanted.setting.load_dataset(), on_epoch, fit)
            events.put(None)
        except BaseException as error:
            events.put(error)

    # Training runs beside the generator, so that progress flows while it computes.
    threading.Thread(target=work, daemon=True).start()
    while (event := events.get()) is not None:
        if isinstance(event, BaseException):
            raise event
        yield event
