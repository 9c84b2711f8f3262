"""Which trial a free worker gets: one whose base it holds, if one waits.

A worker keeps base models, their logits and what lies below their adapters from trial to trial. What trial has which
number and which configuration does not depend on it; only the order in which they run does.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

#: So many trials may overtake one that waits.
OVERTAKEN = 8


def base_of(config: Mapping[str, Any]) -> Hashable:
    """What a trial starts from: dataset, model and sparsity."""
    task = config["task"]
    return task["cell"]["dataset"], task["cell"]["model"], task["params"].get("sparsity")


def choose(bases: Sequence[Hashable], held: Hashable | None, overtaken: int) -> int | None:
    """The place of the trial that a free worker gets.

    Args:
        bases: of the trials that wait, the one that has waited longest first.
        held: the base that the worker used last; None where it is not known.
        overtaken: how many trials have overtaken the first one.
    """
    if not bases:
        return None
    if held is not None and held in bases and overtaken < OVERTAKEN:
        return bases.index(held)
    return 0


class AffinityScheduler(FIFOScheduler):
    """Runs trials in the order in which they came, but for those whose base the worker that became free last holds."""

    def __init__(self) -> None:
        super().__init__()
        self._held: Hashable | None = None
        self._chosen: Trial | None = None
        self._first: Trial | None = None
        self._overtaken = 0

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self._held = base_of(trial.config)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        waiting = [trial for trial in tune_controller.get_trials() if trial.status == Trial.PENDING]
        if not waiting:
            return None
        if waiting[0] is not self._first:
            self._first, self._overtaken = waiting[0], 0
        elif self._chosen is not None and self._chosen not in waiting:
            self._overtaken += 1
        place = choose([base_of(trial.config) for trial in waiting], self._held, self._overtaken)
        self._chosen = None if place is None else waiting[place]
        return self._chosen
