"""Tune's loop, without what it does for readers that a study does not have.

Tune writes a picture of the whole experiment now and then, to resume from, and keeps every trial that ended, for its
tables; here the ledger is both. It asks the cluster's store for the class of the workers several times a trial, which
stays what it is. And for every trial that waits it asks for an actor, which it takes back when a free worker takes the
trial; every such request costs the driver, and some memory for good. Here the next trial that waits takes it over.

Like `actors.py` this touches Tune's inside. Its tests fail where another version of Ray is different there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.tune import registry
from ray.tune import tune as running
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.experiment.trial import _get_trainable_kwargs

from study.cluster.actors import our_actors

#: So long a request for an actor waits for another trial. Then it is taken back: a cluster might grow for it.
HELD_SECONDS = 2.0


class Controller(TuneController):
    """Tune's controller, which lets go of trials that have ended, and passes requests for actors on."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Actors that were asked for and that no trial waits for, and since when.
        self._held: deque[tuple[float, TrackedActor]] = deque()

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
        self._take_back(time.monotonic() - HELD_SECONDS)

    def _take_back(self, before: float = float("inf")) -> None:
        """Take back requests that have waited since a time before."""
        while self._held and self._held[0][0] < before:
            _, actor = self._held.popleft()
            self._actor_manager.release(actor)
            self._actor_manager.remove_actor(actor)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_held"}

    def _cleanup_trials(self) -> None:
        self._take_back()
        super()._cleanup_trials()

    def _maybe_reuse_cached_actor(self, trial: Trial) -> bool:
        free = trial not in self._resetting_trials and self._actor_cache.has_cached_object(
            trial.placement_group_factory
        )
        actor = self._trial_to_actor.get(trial)
        if free and actor is not None and self._actor_manager.hold(actor):
            del self._trial_to_actor[trial], self._actor_to_trial[actor]
            self._held.append((time.monotonic(), actor))
        return bool(super()._maybe_reuse_cached_actor(trial))

    def _schedule_trial_actor(self, trial: Trial) -> None:
        if not self._held or self._actor_cache.has_cached_object(trial.placement_group_factory):
            super()._schedule_trial_actor(trial)
            return
        _, actor = self._held.popleft()
        self._actor_manager.release(actor, _get_trainable_kwargs(trial))
        self._trial_to_actor[trial], self._actor_to_trial[actor] = actor, trial


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
