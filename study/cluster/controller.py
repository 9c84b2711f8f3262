"""Tune's loop, without what it does for readers that a study does not have.

Tune writes a picture of the whole experiment now and then, to resume from, and keeps every trial that ended, for its
tables; here the ledger is both. It asks the cluster's store for the class of the workers several times a trial, which
stays what it is.

Like `actors.py` this touches Tune's inside. Its tests fail where another version of Ray is different there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ray.tune import registry
from ray.tune import tune as running
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial

from study.cluster.actors import our_actors


class Controller(TuneController):
    """Tune's controller, which lets go of trials that have ended."""

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Write nothing until the end, when Tune wants to read it: nobody resumes from it."""
        if force:
            super().checkpoint(force=force, wait=wait)

    def _mark_trial_to_checkpoint(self, trial: Trial) -> None:
        """Nothing to mark."""

    def on_step_end(self) -> None:
        super().on_step_end()
        ended = self._stopped_trials | self._failed_trials
        if ended:
            self._trials: list[Trial] = [trial for trial in self._trials if trial not in ended]
            self._live_trials -= ended
            self._stopped_trials.clear()
            self._failed_trials.clear()


class Registry:
    """Tune's registry of classes, each of which is looked for in the cluster's store until it is found."""

    def __init__(self, usual: Any) -> None:
        self._usual = usual
        self._get = cache(usual.get)
        self._found: set[tuple[str, str]] = set()

    def contains(self, category: str, key: str) -> bool:
        if (category, key) not in self._found and self._usual.contains(category, key):
            self._found.add((category, key))
        return (category, key) in self._found

    def get(self, category: str, key: str) -> Any:
        return self._get(category, key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._usual, name)


@contextmanager
def our_tune() -> Iterator[None]:
    """Tune uses `Controller`, `ActorManager` and `Registry` for runs that begin here."""
    controller, classes = running.TuneController, registry._global_registry
    running.TuneController, registry._global_registry = Controller, Registry(classes)
    try:
        with our_actors():
            yield
    finally:
        running.TuneController, registry._global_registry = controller, classes
