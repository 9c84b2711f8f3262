"""Warm workers: one process a slot that keeps data, base models and their logits from trial to trial."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray import tune

from neglora.prerequisites import Setting
from neglora.trial import Session, Task, run_trial

logger = logging.getLogger(__name__)

#: A worker that is up waits this long for the others before its first trial.
START_TOGETHER_SECONDS = 60.0

_sessions: dict[str, Session] = {}


def pack(task: Task) -> dict[str, Any]:
    """A task as plain data, for Tune's configuration of a trial."""
    return asdict(task)


def unpack(plain: dict[str, Any]) -> Task:
    """The task that `pack` made plain."""
    replicates = tuple((forget, seed) for forget, seed in plain["replicates"])
    return Task(**(plain | {"setting": Setting(**plain["setting"]), "replicates": replicates}))


class Rendezvous:
    """Lets workers start their first trials together.

    Tune gives a waiting trial to whichever worker is free and then cancels the worker that was starting for it. With
    trials shorter than a start, a study would end up in one process. So nobody finishes a trial before all are up.
    """

    def __init__(self, expected: int) -> None:
        self._missing = expected
        self._all_here = asyncio.Event()

    async def arrive(self) -> None:
        """Return when all expected workers have arrived, or after `START_TOGETHER_SECONDS`."""
        self._missing -= 1
        if self._missing <= 0:
            self._all_here.set()
        try:
            await asyncio.wait_for(self._all_here.wait(), START_TOGETHER_SECONDS)
        except TimeoutError:
            self._all_here.set()


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
