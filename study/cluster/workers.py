"""Warm workers: one process a slot that keeps data, base models and their logits from trial to trial."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError

from neglora.session import Session
from neglora.setting import Setting
from neglora.storage import is_uri
from neglora.trial import Stop, Task, run_task
from study.cluster.rendezvous import START_TOGETHER_SECONDS
from study.cluster.titles import configuration
from study.cluster.worker_log import log_here, show_title
from study.progress import outcome

logger = logging.getLogger(__name__)

#: What a result holds: the ledger's lines; files of adapters; or why this node cannot work at all. And Tune's own copy
#: of the trial's configuration.
LINES, ADAPTERS, UNABLE, CONFIG = "lines", "adapters", "unable", "config"

_sessions: dict[str, Session] = {}


@dataclass(frozen=True, repr=False)
class Parcel:
    """Files by name. Tune puts every result into the messages of its debug log, which should not hold them."""

    files: dict[str, bytes]

    def __repr__(self) -> str:
        return f"Parcel of {len(self.files)} files"


def pack(task: Task) -> dict[str, Any]:
    """A task as plain data, for Tune's configuration of a trial."""
    return asdict(task)


def unpack(plain: dict[str, Any]) -> Task:
    """The task that `pack` made plain."""
    replicates = tuple((forget, seed) for forget, seed in plain["replicates"])
    stops = tuple(Stop(**stop) for stop in plain["stops"])
    return Task(**(plain | {"setting": Setting.of(plain["setting"]), "replicates": replicates, "stops": stops}))


class TrialWorker(tune.Trainable):
    """Tune's view of a warm worker: `step` runs one whole task and returns its ledger lines."""

    def setup(self, config: dict[str, Any]) -> None:
        log_here()
        self.storage = config["storage"]
        self.task = unpack(config["task"])
        self.node = ray.util.get_node_ip_address()
        self._warm_up()
        try:
            meeting = ray.get_actor(config["rendezvous"])
            ray.get(meeting.arrive.remote(), timeout=2 * START_TOGETHER_SECONDS)
        except (RayError, ValueError) as error:
            # Its node was lost, or is cut off. Starting together is quicker, and no more than that.
            logger.warning("this worker does not wait for the others: %s", error)

    def __repr__(self) -> str:
        """What the dashboard shows for as long as the worker lives, and Ray before each line of its log."""
        return f"neglora worker on {self.node}"

    def _warm_up(self) -> None:
        try:
            session_of(self.storage).dataset(self.task.setting)
        except Exception:
            # The trial meets the same error and records it as its reason.
            logger.exception("warming up failed")

    def step(self) -> dict[str, Any]:
        reason = unable(self.storage, self.task, self.node)
        if reason:
            logger.error("trial %s failed: %s", self.task.trial, reason)
            return {LINES: [], ADAPTERS: Parcel({}), UNABLE: reason, "done": True}
        files: dict[str, bytes] | None = {} if is_uri(self.storage) else None
        with show_title(self.task.trial):
            logger.info("trial %s starts: %s", self.task.trial, configuration(self.task.params))
            started = time.perf_counter()
            records = run_task(session_of(self.storage), self.task, files)
            seconds = time.perf_counter() - started
            for record in records:
                logger.info("trial %s %s in %.1f s: %s", record.trial, record.status, seconds, outcome(record))
        lines = [record.to_line() for record in records]
        return {LINES: lines, ADAPTERS: Parcel(files or {}), UNABLE: None, "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if any(session.spent for session in _sessions.values()):
            # Tune replaces a worker that leaves, and the trial that it would have run is handed out again.
            logger.info("this worker ran out of memory, and makes room for a fresh one")
            ray.actor.exit_actor()
        self.task = unpack(new_config["task"])
        return True


def session_of(storage: str) -> Session:
    """What this process keeps of a storage.

    Raises:
        StorageError: a URI that nothing on this node opens.
    """
    if storage not in _sessions:
        _sessions[storage] = Session(storage, commits=False)
    return _sessions[storage]


def unable(storage: str, task: Task, node: str) -> str | None:
    """Why a node can run no trial of the study at all; None where it can."""
    if is_uri(storage) or task.keep is None or Path(task.keep).is_dir():
        return None
    return (
        f"the node {node} does not see the study's folder {task.keep}: mount the storage {storage} there, "
        "or give --storage a URI that all nodes reach"
    )
