"""What of Tune's loop is changed, without a cluster: stand-ins for the controller's parts."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

from ray.tune import registry
from ray.tune import tune as running
from ray.tune.execution.tune_controller import TuneController

from study.cluster.controller import HELD_SECONDS, Controller, Registry, our_tune


def controller(monkeypatch, **state):
    monkeypatch.setattr(TuneController, "on_step_end", lambda self: None)
    made = Controller.__new__(Controller)
    made.__dict__.update({"_held": deque(), **state})
    return made


def test_trials_that_ended_are_let_go(monkeypatch):
    waiting, going, ended, failed = trials = [object() for _ in range(4)]
    made = controller(
        monkeypatch,
        _trials=list(trials),
        _live_trials={waiting, going, failed},
        _stopped_trials={ended},
        _failed_trials={failed},
    )
    made.on_step_end()
    assert made._trials == [waiting, going]
    assert made._live_trials == {waiting, going}
    assert not made._stopped_trials | made._failed_trials


class Actors:
    """Stands for the manager of actors, none of which has started."""

    def __init__(self) -> None:
        self.held, self.removed, self.arguments = set(), [], {}

    def hold(self, actor):
        self.held.add(actor)
        return True

    def release(self, actor, kwargs=None):
        self.held.remove(actor)
        self.arguments[actor] = kwargs

    def remove_actor(self, actor):
        assert actor not in self.held
        self.removed.append(actor)


class Waiting:
    """Stands for a trial that waits."""

    placement_group_factory = "one CPU"

    def __init__(self, name):
        self.name = name


def passing_on(monkeypatch, free):
    """A controller with a trial that has asked for an actor, and with free workers."""
    monkeypatch.setattr(TuneController, "_maybe_reuse_cached_actor", lambda self, trial: True)
    monkeypatch.setattr(TuneController, "_schedule_trial_actor", lambda self, trial: self.asked.append(trial.name))
    monkeypatch.setattr("study.cluster.controller._get_trainable_kwargs", lambda trial: {"config": trial.name})
    trial, actor = Waiting("first"), object()
    made = controller(
        monkeypatch,
        asked=[],
        _trials=[],
        _stopped_trials=set(),
        _failed_trials=set(),
        _resetting_trials=[],
        _trial_to_actor={trial: actor},
        _actor_to_trial={actor: trial},
        _actor_cache=SimpleNamespace(has_cached_object=lambda request: bool(free)),
        _actor_manager=Actors(),
    )
    return made, trial, actor


def test_what_was_asked_for_a_trial_that_takes_a_free_worker_is_the_next_ones(monkeypatch):
    free = ["worker"]
    made, trial, actor = passing_on(monkeypatch, free)
    assert made._maybe_reuse_cached_actor(trial)
    assert trial not in made._trial_to_actor
    assert made._actor_manager.held == {actor}
    free.clear()
    second, third = Waiting("second"), Waiting("third")
    made._schedule_trial_actor(second)
    made._schedule_trial_actor(third)
    assert made._trial_to_actor[second] is actor
    assert made._actor_to_trial == {actor: second}
    assert made._actor_manager.arguments == {actor: {"config": "second"}}
    assert made.asked == ["third"], "for whom nothing was left"


def test_a_trial_without_a_free_worker_keeps_what_it_asked_for(monkeypatch):
    made, trial, actor = passing_on(monkeypatch, free=[])
    made._maybe_reuse_cached_actor(trial)
    assert made._trial_to_actor[trial] is actor
    assert not made._actor_manager.held


def test_what_nobody_takes_over_is_taken_back(monkeypatch):
    made, trial, actor = passing_on(monkeypatch, free=["worker"])
    now = [100.0]
    monkeypatch.setattr("study.cluster.controller.time.monotonic", lambda: now[0])
    made._maybe_reuse_cached_actor(trial)
    made.on_step_end()
    assert not made._actor_manager.removed
    now[0] += HELD_SECONDS + 0.1
    made.on_step_end()
    assert made._actor_manager.removed == [actor]
    assert not made._held


def test_a_picture_of_the_experiment_is_written_at_the_end_only(monkeypatch):
    written = []
    monkeypatch.setattr(TuneController, "checkpoint", lambda self, force, wait: written.append((force, wait)))
    made = controller(monkeypatch)
    made.checkpoint()
    made.checkpoint(force=True, wait=True)
    assert written == [(True, True)]


def test_the_picture_holds_no_actors(monkeypatch):
    monkeypatch.setattr(TuneController, "__getstate__", lambda self: dict(self.__dict__))
    assert controller(monkeypatch, _iteration=3).__getstate__() == {"_iteration": 3}


class Store:
    """Stands for Tune's registry of classes, and counts how often it is asked."""

    def __init__(self) -> None:
        self.known, self.asked = {}, 0

    def contains(self, category: str, key: str) -> bool:
        self.asked += 1
        return (category, key) in self.known

    def get(self, category: str, key: str) -> object:
        self.asked += 1
        return self.known[category, key]

    def register(self, category: str, key: str, value: object) -> None:
        self.known[category, key] = value


def test_a_class_is_read_from_the_store_once():
    store = Store()
    classes = Registry(store)
    assert not classes.contains("trainable_class", "worker")
    classes.register("trainable_class", "worker", int)
    for _ in range(3):
        assert classes.contains("trainable_class", "worker")
        assert classes.get("trainable_class", "worker") is int
    assert store.asked == 3


def test_tune_uses_them_within_the_context_only():
    usual, classes = running.TuneController, registry._global_registry
    with our_tune():
        assert running.TuneController is Controller
        assert isinstance(registry._global_registry, Registry)
    assert running.TuneController is usual
    assert registry._global_registry is classes
