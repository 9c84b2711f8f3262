"""How Tune handles its actors, with changes that it offers no setting for.

Ray tells of an actor that its out-of-memory killer ended, and of a result that was lost with its node, by errors that
Tune does not count among the losses of an actor: one such worker would end the whole run. And the task of a trial is
named after the trial, so that Ray's dashboard shows what runs. An actor that was asked for and has not started can be
held, so that another trial takes it over (see `controller.py`).

Only this file and `controller.py` touch Tune's inside. Their tests fail where another version of Ray is different.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.execution import tune_controller

from study.cluster.titles import cell_of, title

#: So many tasks of a run are named after their trials, later ones after their cells: Ray keeps numbers of every name,
#: which took 18 KB of the driver's memory each.
NAMED = 500


class ActorManager(RayActorManager):
    """Tune's manager of actors, which takes every error of Ray for the loss of the actor, and names tasks."""

    def __init__(self, resource_manager: Any) -> None:
        super().__init__(resource_manager)
        self._names: dict[TrackedActor, str] = {}
        self._held: set[TrackedActor] = set()
        self._named = 0

    @property
    def num_pending_actors(self) -> int:
        """Actors that start as soon as there is room."""
        return super().num_pending_actors - len(self._held)

    def add_actor(self, cls: Any, kwargs: dict[str, Any], resource_request: Any, **callbacks: Any) -> TrackedActor:
        actor = super().add_actor(cls, kwargs, resource_request, **callbacks)
        self._names[actor] = _title_of(kwargs["config"])
        return actor

    def remove_actor(self, tracked_actor: TrackedActor, *args: Any, **kwargs: Any) -> bool:
        self._names.pop(tracked_actor, None)
        # Of an actor that never started, Tune keeps for good what it would have been told.
        if tracked_actor in self._pending_actors_to_attrs:
            self._pending_actors_to_enqueued_actor_tasks.pop(tracked_actor, None)
        return bool(super().remove_actor(tracked_actor, *args, **kwargs))

    def hold(self, tracked_actor: TrackedActor) -> bool:
        """Do not start an actor whose resources were asked for; whether it had not started yet."""
        if tracked_actor not in self._pending_actors_to_attrs:
            return False
        _, _, request = self._pending_actors_to_attrs[tracked_actor]
        self._resource_request_to_pending_actors[request].remove(tracked_actor)
        self._held.add(tracked_actor)
        return True

    def release(self, tracked_actor: TrackedActor, kwargs: dict[str, Any] | None = None) -> None:
        """Let an actor that was held start, with other arguments if they are given."""
        cls, usual, request = self._pending_actors_to_attrs[tracked_actor]
        self._pending_actors_to_attrs[tracked_actor] = cls, usual if kwargs is None else kwargs, request
        self._resource_request_to_pending_actors[request].append(tracked_actor)
        self._held.remove(tracked_actor)
        if kwargs is not None:
            self._names[tracked_actor] = _title_of(kwargs["config"])

    def _schedule_tracked_actor_task(
        self,
        tracked_actor_task: TrackedActorTask,
        method_name: str,
        *,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        _return_future: bool = False,
    ) -> Any:
        tracked = tracked_actor_task._tracked_actor
        actor, _ = self._live_actors_to_ray_actors_resources[tracked]
        if method_name == "reset":
            self._names[tracked] = _title_of(args[0])
        method = getattr(actor, method_name)
        if method_name == "train":
            self._named += 1
            name = self._names[tracked]
            method = method.options(name=name if self._named <= NAMED else cell_of(name))
        future = method.remote(*args, **kwargs)
        self._actor_task_events.track_future(
            future=future,
            on_result=lambda result: self._actor_task_resolved(tracked_actor_task, result),
            on_error=lambda error: self._actor_task_failed(tracked_actor_task, error),
        )
        self._tracked_actors_to_task_futures[tracked].add(future)
        return (tracked_actor_task, future) if _return_future else tracked_actor_task

    def _actor_task_failed(self, tracked_actor_task: TrackedActorTask, exception: Exception) -> None:
        super()._actor_task_failed(tracked_actor_task, as_loss(exception))


def as_loss(error: Exception) -> Exception:
    """An error of Ray as one that Tune knows; any other as it is."""
    if isinstance(error, RayError) and not isinstance(error, RayActorError | RayTaskError):
        return RayActorError(error_msg=f"{type(error).__name__}: {error}")
    return error


def _title_of(config: Mapping[str, Any]) -> str:
    return title(config["task"]["trial"], config["task"]["params"])


@contextmanager
def our_actors() -> Iterator[None]:
    """Tune uses `ActorManager` for runs that begin here."""
    usual = tune_controller.RayActorManager
    tune_controller.RayActorManager = ActorManager
    try:
        yield
    finally:
        tune_controller.RayActorManager = usual
