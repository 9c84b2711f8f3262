"""One training on several workers of the cluster, by Ray Train: data-parallel, every worker on its share of each batch.

The workers and the process that starts them meet in the folder of what is unfinished, on the storage that all nodes
share: checkpoints, from which a group that lost a worker goes on, and at the end the weights, written by the first of
them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
import uuid
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from ray import train
from ray.train.torch import TorchTrainer, get_device
from ray.util.queue import Empty, Queue

from neglora.artifacts import ArtifactError, ArtifactStore, Made
from neglora.prerequisites import Fit, OnEpoch, Prerequisite, make_here
from neglora.synced import replace_synced
from neglora.train import Epoch, TrainingDiverged
from study.cluster.failures import PreparationError

logger = logging.getLogger(__name__)

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
#: Ray Train's own files, in the folder of what is unfinished.
SCRATCH = "ray-train"
#: Seconds between two looks for a finished epoch.
PATIENCE = 0.2


def group_fit(*, cpus: float, gpus: float, retries: int) -> Fit:
    """What makes a prerequisite on as many workers as its recipe says.

    Args:
        cpus, gpus: of each worker.
        retries: how often a group that lost a worker is started again.
    """

    def fit(wanted: Prerequisite, store: ArtifactStore, partial: Path, on_epoch: OnEpoch | None) -> Made:
        return _fit(wanted, store, partial.absolute(), on_epoch, cpus, gpus, retries)

    return fit


def _fit(
    wanted: Prerequisite,
    store: ArtifactStore,
    partial: Path,
    on_epoch: OnEpoch | None,
    cpus: float,
    gpus: float,
    retries: int,
) -> Made:
    """
    Raises:
        TrainingDiverged: as in one process.
        PreparationError: a worker failed, and again at every retry.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    partial.mkdir(parents=True, exist_ok=True)
    # A name that was never looked up: network file systems remember what was absent.
    outcome = partial / f"made-{uuid.uuid4().hex}"
    events = Queue(actor_options={"num_cpus": 0})
    plan = {"wanted": asdict(wanted), "store": str(store.root.absolute()), "outcome": str(outcome), "events": events}
    asked = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    trainer = TorchTrainer(
        _work,
        train_loop_config=plan,
        scaling_config=train.ScalingConfig(num_workers=wanted.workers, use_gpu=gpus > 0, resources_per_worker=asked),
        run_config=train.RunConfig(
            name=SCRATCH, storage_path=str(partial), failure_config=train.FailureConfig(max_failures=retries)
        ),
    )
    done = threading.Event()
    telling = threading.Thread(target=_tell, args=(events, done, on_epoch), daemon=True)
    telling.start()
    try:
        trainer.fit()
    except train.TrainingFailedError as error:
        raise PreparationError(reason(error)) from error
    finally:
        done.set()
        telling.join()
        events.shutdown(force=True)
        shutil.rmtree(partial / SCRATCH, ignore_errors=True)
    return read_outcome(outcome)


def _work(plan: dict[str, Any]) -> None:
    """In every worker: the whole making, with torch.distributed set up; the first one writes what came out."""
    if torch.cuda.is_available():
        torch.cuda.set_device(get_device())
    wanted = Prerequisite.of(plan["wanted"])
    outcome, events = Path(plan["outcome"]), plan["events"]
    first = train.get_context().get_world_rank() == 0
    on_epoch: OnEpoch = lambda epoch, epochs: events.put((asdict(epoch), epochs))  # noqa: E731
    store = ArtifactStore(Path(plan["store"]))
    try:
        dataset = wanted.setting.load_dataset()
        tensors, facts = make_here(wanted, store, dataset, outcome.parent, on_epoch if first else None)
    except TrainingDiverged as error:
        # All workers end so together. As an error it would be tried again, and diverge again.
        if first:
            replace_synced(outcome.with_suffix(".json"), json.dumps({"diverged": str(error)}).encode())
        return
    if first:
        data = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        replace_synced(outcome.with_suffix(".safetensors"), data)
        told = {"facts": facts, "sha256": hashlib.sha256(data).hexdigest()}
        replace_synced(outcome.with_suffix(".json"), json.dumps(told).encode())


def read_outcome(outcome: Path) -> Made:
    """What the first worker wrote.

    Raises:
        TrainingDiverged: that it did.
        ArtifactError: it is absent or damaged here: the storage is not the same for all nodes.
    """
    try:
        told = json.loads(outcome.with_suffix(".json").read_text(encoding="utf-8"))
        if "diverged" in told:
            raise TrainingDiverged(told["diverged"])
        data = outcome.with_suffix(".safetensors").read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"the trained weights are not in {outcome.parent}: all nodes need the same storage ({error.strerror})"
        ) from error
    if hashlib.sha256(data).hexdigest() != told["sha256"]:
        raise ArtifactError(f"the trained weights in {outcome.parent} are not those that were written")
    return safetensors.torch.load(data), told["facts"]


def _tell(events: Queue, done: threading.Event, on_epoch: OnEpoch | None) -> None:
    """Pass epochs on as they come, until the training is done and all are passed on."""
    while True:
        last = done.is_set()
        with suppress(Empty):
            while True:
                epoch, epochs = events.get(timeout=None if last else PATIENCE, block=not last)
                if on_epoch:
                    on_epoch(Epoch(**epoch), epochs)
        if last:
            return


def reason(error: train.TrainingFailedError) -> str:
    """What a worker failed of, in one line: the first one's own error, if there is one."""
    failures = getattr(error, "worker_failures", None) or {}
    for rank in sorted(failures):
        cause = getattr(failures[rank], "_base_exc", failures[rank])
        return f"{type(cause).__name__} on worker {rank} of its training: {cause}"
    return f"{type(error).__name__}: {error}"
