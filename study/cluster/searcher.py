"""Tune's hooks, thin: they ask the conductor of this process and tell it what Tune saw."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.search import Searcher

from neglora.record import Record
from study.cluster.conductor import Conductor, Key
from study.cluster.losses import loss_of
from study.cluster.workers import ADAPTERS, CONFIG, LINES, UNABLE, pack

#: Tune pickles its hooks, so that they hold a name and find the live conductor here.
LIVE: dict[str, Conductor] = {}


@dataclass(frozen=True)
class Arrived:
    """A result of a worker that the conductor was not told yet.

    Attributes:
        key: of the task.
        lines: of the ledger.
        adapters: files by name.
        unable: why its node cannot work at all; None where it can.
    """

    key: Key
    lines: list[str]
    adapters: Mapping[str, bytes]
    unable: str | None

    def tell(self, conductor: Conductor) -> None:
        if self.unable:
            conductor.unable(self.key, self.unable)
        else:
            conductor.complete(self.key, [Record.from_line(line) for line in self.lines], self.adapters)


@dataclass
class Inbox:
    """Results between a worker and the conductor.

    What follows from a result takes the driver longer than handing out a trial that waits already: the ledger is synced
    to the disk, a sampler learns and is asked. So the worker gets its next trial first, and then the result is told.

    Attributes:
        fresh: came in this step of Tune's loop.
        due: came before: their workers have been given a trial, if one waited.
        held: Tune's ids of the trials that it has and that have not ended.
    """

    fresh: deque[Arrived] = field(default_factory=deque)
    due: deque[Arrived] = field(default_factory=deque)
    held: set[str] = field(default_factory=set)

    def settle(self, conductor: Conductor) -> None:
        """A step ended: tell what came before it."""
        while self.due:
            self.due.popleft().tell(conductor)
        self.due, self.fresh = self.fresh, self.due

    def empty(self, conductor: Conductor) -> bool:
        """Tell everything; whether there was anything."""
        untold = bool(self.due or self.fresh)
        self.settle(conductor)
        self.settle(conductor)
        return untold


#: Beside `LIVE`: what has arrived for each conductor.
INBOXES: defaultdict[str, Inbox] = defaultdict(Inbox)


class ConductedSearcher(Searcher):
    """Suggests what the conductor hands out; waits (None) where it has to.

    Args:
        name: of the conductor in `LIVE`.
        surroundings: what every worker is told beside its task; small, for Ray sends it along with the order to start.
            What it would have to fetch, it might wait for without end on a node that is cut off for a while.
    """

    def __init__(self, name: str, surroundings: Mapping[str, Any]) -> None:
        super().__init__(metric="done", mode="max")
        self.name = name
        self.surroundings = dict(surroundings)

    def suggest(self, trial_id: str) -> Any:
        conductor, inbox = LIVE[self.name], INBOXES[self.name]
        task = conductor.next()
        if task is None and not inbox.held and inbox.empty(conductor):
            # Tune has no trial left, so that nothing comes in between.
            task = conductor.next()
        if task is None:
            return Searcher.FINISHED if conductor.finished or conductor.fatal else None
        inbox.held.add(trial_id)
        return {"task": pack(task), **self.surroundings}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to do: `ConductedCallback` has told the conductor."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger is the only truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: studies are rebuilt from the ledger."""


class ConductedCallback(Callback):
    """Tells the conductor about starts, results and losses.

    Tune itself retries nothing: a trial that is lost while its worker is prepared for it would be counted twice, or
    never be started again. To Tune, every attempt is a trial of its own.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        LIVE[self.name].started(_key_of(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        # Tune keeps what is left in the result for as long as it runs.
        lines, adapters, unable = result.pop(LINES), result.pop(ADAPTERS), result.pop(UNABLE)
        result.pop(CONFIG, None)
        INBOXES[self.name].held.discard(trial.trial_id)
        INBOXES[self.name].fresh.append(Arrived(_key_of(trial), lines, adapters.files, unable))

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        INBOXES[self.name].settle(LIVE[self.name])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        INBOXES[self.name].held.discard(trial.trial_id)
        LIVE[self.name].lost(_key_of(trial), loss_of(_error_of(trial)))


class Unspoken(TrialProgressCallback):
    """Stands where Tune would add the callback that prints results, and that keeps every trial for that."""

    def on_trial_result(self, *args: Any, **info: Any) -> None: ...
    def on_trial_error(self, *args: Any, **info: Any) -> None: ...
    def on_trial_complete(self, *args: Any, **info: Any) -> None: ...


def _key_of(trial: Trial) -> Key:
    return trial.config["task"]["trial"], trial.config["task"]["fidelity"]


def _error_of(trial: Trial) -> str:
    """What Tune wrote of a trial's error, in the folder of its run on this machine."""
    file = trial.error_file
    return Path(file).read_text(encoding="utf-8", errors="replace") if file and Path(file).exists() else ""


class StopWhenFatal(Stopper):
    """Ends the run when it has to: the ledger can no longer be written, or nodes cannot work."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return LIVE[self.name].fatal is not None
