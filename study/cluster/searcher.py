"""Tune's hooks, thin: they ask the conductor of this process and tell it what Tune saw."""

from __future__ import annotations

from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from neglora.record import Record
from study.cluster.conductor import Conductor
from study.cluster.workers import pack

#: Tune pickles its hooks, so that they hold a name and find the live conductor here.
LIVE: dict[str, Conductor] = {}


class ConductedSearcher(Searcher):
    """Suggests what the conductor hands out; waits (None) where it has to.

    Args:
        name: of the conductor in `LIVE`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(metric="done", mode="max")
        self.name = name
        self.trials: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        conductor = LIVE[self.name]
        task = conductor.next()
        if task is None:
            return Searcher.FINISHED if conductor.finished or conductor.fatal else None
        return {"task": pack(task)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        # Without a line the trial was lost; ConductedCallback.on_trial_error knows why.
        if result and "line" in result:
            LIVE[self.name].complete(Record.from_line(result["line"]))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger is the only truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: studies are rebuilt from the ledger."""


class ConductedCallback(Callback):
    """Tells the conductor about starts and losses."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        LIVE[self.name].started(trial.config["task"]["trial"])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        error = trial.get_error()
        attempts = trial.num_failures
        first_line = str(error).strip().splitlines()[0] if error and str(error).strip() else "no reason given"
        LIVE[self.name].fail(
            trial.config["task"]["trial"],
            f"the worker was lost {attempts} time(s): {type(error).__name__ if error else 'unknown'}: {first_line}",
        )


class StopWhenFatal(Stopper):
    """Ends the run when the ledger can no longer be written."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return LIVE[self.name].fatal is not None
