"""Warm workers: one process a slot that keeps data, base models and their logits from trial to trial."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray import tune

from neglora.setting import Setting
from neglora.trial import Session, Task, run_trial

logger = logging.getLogger(__name__)

_sessions: dict[str, Session] = {}


def pack(task: Task) -> dict[str, Any]:
    """A task as plain data, for Tune's configuration of a trial."""
    return asdict(task)


def unpack(plain: dict[str, Any]) -> Task:
    """The task that `pack` made plain."""
    replicates = tuple((forget, seed) for forget, seed in plain["replicates"])
    return Task(**(plain | {"setting": Setting.of(plain["setting"]), "replicates": replicates}))


class Worker(tune.Trainable):
    """Tune's view of a warm worker: `step` runs one whole trial and returns its ledger line."""

    def setup(self, config: dict[str, Any], *, storage: str, rendezvous: Any) -> None:
        self.task = unpack(config["task"])
        self.session = _sessions.setdefault(storage, Session(Path(storage)))
        self._warm_up()
        ray.get(rendezvous.arrive.remote())

    def _warm_up(self) -> None:
        try:
            self.session.dataset(self.task.setting)
        except Exception:
            # The trial meets the same error and records it as its reason.
            logger.exception("warming up failed")

    def step(self) -> dict[str, Any]:
        logger.info("trial %s on process %d", self.task.trial, os.getpid())
        return {"line": run_trial(self.session, self.task).to_line(), "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.task = unpack(new_config["task"])
        return True
