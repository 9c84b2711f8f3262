"""What of Tune's inside is changed, without a cluster: stand-ins for actors and resources."""

from __future__ import annotations

from typing import Any

import pytest
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import ObjectLostError, OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.execution import tune_controller

from study.cluster import actors
from study.cluster.actors import ActorManager, as_loss, our_actors
from study.cluster.titles import LONGEST, title


class NoResources:
    """Stands for Tune's manager of resources."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


class Method:
    """Stands for a method of an actor, and remembers under which name it was called."""

    def __init__(self, calls: list[tuple[str, str | None]], method: str, name: str | None = None) -> None:
        self.calls, self.method, self.name = calls, method, name

    def options(self, name: str) -> Method:
        return Method(self.calls, self.method, name)

    def remote(self, *args: Any) -> object:
        self.calls.append((self.method, self.name))
        return object()


class Actor:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str | None]] = []

    def __getattr__(self, name: str) -> Method:
        return Method(self.calls, name)


def config(trial: str, **params: Any) -> dict[str, Any]:
    return {"task": {"trial": trial, "params": params}}


@pytest.mark.parametrize(
    "error", [OutOfMemoryError("the node is low on memory"), ObjectLostError("ab", "127.0.0.1", "stack")]
)
def test_errors_that_tune_does_not_know_are_losses_of_the_actor(error):
    manager, seen = ActorManager(NoResources()), []
    actor = TrackedActor(1, on_error=lambda actor, error: seen.append(("actor", error)))
    manager._live_actors_to_ray_actors_resources[actor] = (Actor(), None)
    task = TrackedActorTask(actor, on_error=lambda actor, error: seen.append(("task", error)))
    manager._actor_task_failed(task, error)
    assert [who for who, _ in seen] == ["actor", "task"]
    assert all(isinstance(told, RayActorError) and type(error).__name__ in str(told) for _, told in seen)
    assert manager.is_actor_failed(actor)


def test_other_errors_stay_what_they_are():
    for error in (RayActorError(), RayTaskError("f", "traceback", ValueError("x")), KeyError("x")):
        assert as_loss(error) is error


def test_the_task_of_a_trial_is_named_after_it_also_on_a_reused_worker():
    manager = ActorManager(NoResources())
    tracked = manager.add_actor(object, {"config": config("digits-neglora-0001", rank=4, lr=0.0031622)}, "request")
    actor = Actor()
    manager._live_actors_to_ray_actors_resources[tracked] = (actor, None)
    manager.schedule_actor_task(tracked, "train")
    manager.schedule_actor_task(tracked, "reset", (config("digits-neglora-0002", rank=8),), {})
    manager.schedule_actor_task(tracked, "train")
    assert actor.calls == [
        ("train", "digits-neglora-0001 rank=4 lr=0.00316"),
        ("reset", None),
        ("train", "digits-neglora-0002 rank=8"),
    ]
    assert manager.num_actor_tasks == 3


def test_names_of_trials_do_not_grow_without_end(monkeypatch):
    monkeypatch.setattr(actors, "NAMED", 2)
    manager, actor = ActorManager(NoResources()), Actor()
    tracked = manager.add_actor(object, {"config": config("digits-neglora-0000", rank=4)}, "request")
    manager._live_actors_to_ray_actors_resources[tracked] = (actor, None)
    for number in range(4):
        manager.schedule_actor_task(tracked, "reset", (config(f"digits-neglora-{number:04d}", rank=4), {}))
        manager.schedule_actor_task(tracked, "train")
    assert [name for method, name in actor.calls if method == "train"] == [
        "digits-neglora-0000 rank=4",
        "digits-neglora-0001 rank=4",
        "digits-neglora",
        "digits-neglora",
    ]


def test_nothing_is_kept_of_an_actor_that_was_taken_back_before_it_started():
    manager = ActorManager(NoResources())
    tracked = manager.add_actor(object, {"config": config("digits-neglora-0001")}, "request")
    manager.schedule_actor_task(tracked, "stop")
    assert not manager.remove_actor(tracked)
    assert not manager._pending_actors_to_enqueued_actor_tasks
    assert not manager._pending_actors_to_attrs
    assert not manager._names


def test_an_actor_that_has_not_started_is_held_and_starts_for_another_trial():
    manager = ActorManager(NoResources())
    first, second = (
        manager.add_actor(object, {"config": config(f"digits-neglora-000{place}")}, "request") for place in (1, 2)
    )
    assert manager.hold(first)
    assert manager._resource_request_to_pending_actors["request"] == [second], "what is held does not start"
    assert manager.num_pending_actors == 1
    manager.release(first, {"config": config("digits-neglora-0003")})
    assert manager._resource_request_to_pending_actors["request"] == [second, first]
    assert manager._pending_actors_to_attrs[first][1] == {"config": config("digits-neglora-0003")}
    assert manager._names[first] == "digits-neglora-0003"
    assert manager.num_pending_actors == 2
    manager._live_actors_to_ray_actors_resources[second] = (Actor(), None)
    del manager._pending_actors_to_attrs[second]
    assert not manager.hold(second), "it has started"


def test_a_title_is_short():
    assert title("t-0000", {}) == "t-0000"
    assert len(title("t-0000", {"targets": "ffn" * 200})) == LONGEST


def test_tune_uses_them_within_the_context_only():
    usual = tune_controller.RayActorManager
    with our_actors():
        assert tune_controller.RayActorManager is ActorManager
    assert tune_controller.RayActorManager is usual
