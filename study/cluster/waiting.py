"""What is told while nothing runs, since the cluster has no room yet."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from study.progress import Progress

#: Seconds without anything running before it is told: where no node has room at all, and where one has but others use
#: it, or its workers are starting.
NO_NODE, NO_ROOM = 5.0, 60.0
#: Seconds between two lines that differ, and between two that do not.
CHANGED, SAME = 5.0, 120.0


@dataclass(frozen=True)
class Wait:
    """What is waited for.

    Attributes:
        text: in words.
        patience: seconds until it is worth telling.
    """

    text: str
    patience: float


class Patience:
    """Tells what is waited for: once it has lasted, whenever it changes, and now and then.

    Args:
        progress: told.
        clock: seconds, from any start.
    """

    def __init__(self, progress: Progress, clock: Any = time.monotonic) -> None:
        self._progress, self._clock = progress, clock
        self._since: float | None = None
        self._told: tuple[float, str] | None = None

    def say(self, wait: Wait) -> None:
        """This is waited for now."""
        now = self._clock()
        if self._since is None:
            self._since = now
        if now - self._since < wait.patience:
            return
        if self._told is not None:
            at, before = self._told
            if now - at < (SAME if wait.text == before else CHANGED):
                return
        self._told = (now, wait.text)
        self._progress.say(wait.text)

    def reset(self) -> None:
        """Nothing is waited for any more."""
        self._since = self._told = None


def waited_for(cpus: float, gpus: float, pending: str) -> Wait:
    """`Waiting for a node with 1 GPU: 0 nodes up, 16 trials pending`.

    Args:
        cpus, gpus: what one trial asks for.
        pending: how many of what wait.
    """
    asked = {"CPU": cpus, "GPU": gpus}
    named = " and ".join(f"{count:g} {kind}{'s' if count > 1 else ''}" for kind, count in asked.items() if count > 0)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fitting = sum(all(node.get(kind, 0.0) >= count for kind, count in asked.items()) for node in nodes)
    up = "1 node up" if fitting == 1 else f"{fitting} nodes up"
    free = "free " if fitting else ""
    return Wait(f"Waiting for a node with {free}{named or 'room'}: {up}, {pending}", NO_ROOM if fitting else NO_NODE)


class WaitingCallback(Callback):
    """Tells of trials that wait while none runs.

    Args:
        name: of the conductor in `LIVE`; Tune pickles its hooks.
        cpus, gpus: what one trial asks for.
    """

    def __init__(self, name: str, cpus: float, gpus: float) -> None:
        self.name, self.cpus, self.gpus = name, cpus, gpus
        self._patience: Patience | None = None
        self._looked = 0.0

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        from study.cluster.searcher import LIVE

        now = time.monotonic()
        if now - self._looked < 1.0:
            return
        self._looked = now
        self._patience = self._patience or Patience(LIVE[self.name].progress)
        pending = sum(trial.status == Trial.PENDING for trial in trials)
        if pending and not any(trial.status == Trial.RUNNING for trial in trials):
            self._patience.say(waited_for(self.cpus, self.gpus, f"{pending} trials pending"))
        else:
            self._patience.reset()
