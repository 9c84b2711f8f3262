"""What of Tune's loop is changed, without a cluster: stand-ins for the controller's parts."""

from __future__ import annotations

from ray.tune import registry
from ray.tune import tune as running
from ray.tune.execution.tune_controller import TuneController

from study.cluster.controller import Controller, Registry, our_tune


def controller(monkeypatch, **state):
    monkeypatch.setattr(TuneController, "on_step_end", lambda self: None)
    made = Controller.__new__(Controller)
    made.__dict__.update(state)
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


def test_a_picture_of_the_experiment_is_written_at_the_end_only(monkeypatch):
    written = []
    monkeypatch.setattr(TuneController, "checkpoint", lambda self, force, wait: written.append((force, wait)))
    made = controller(monkeypatch)
    made.checkpoint()
    made.checkpoint(force=True, wait=True)
    assert written == [(True, True)]


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
