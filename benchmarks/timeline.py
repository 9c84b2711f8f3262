"""Where the wall of a real study goes: `neglora run` with a clock beside it.

    python benchmarks/timeline.py [SPACE.yaml] [--storage FOLDER] [--workers 2]   the quickstart, if none is given

One JSON object on the last line of the standard output; see `overhead.py`, which calls it. Base models and Retrain are
taken from FOLDER/artifacts, and made there where they are missing; the study itself goes to a folder of its own.

The clock notes in the driver when a worker's result arrives and when the same worker is sent its next trial. A trial's
cycle goes from the arrival of the one before to its own; what is left of it after the seconds of its record (unlearning
and evaluating, which holds the attack) is what the trial costs beside its work.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
#: Of a record's cost.
PARTS = ("unlearn_seconds", "evaluate_seconds", "attack_seconds")


class Clock:
    """What happened when.

    Attributes:
        arrived: by worker, when its last result came.
        sent: by worker, when it was sent its last trial.
        trials: of each trial after a worker's first one: seconds by part.
        first, last: when the first trial was sent, and when the last result came.
        spent: seconds of the driver by what it did.
        asked: when a suggestion was begun and ended, of those that were given.
        idle: when a worker had ended a trial, and when it was sent its next one.
    """

    def __init__(self) -> None:
        self.arrived: dict[Any, float] = {}
        self.sent: dict[Any, float] = {}
        self.trials: list[dict[str, float]] = []
        self.work: dict[str, float] = defaultdict(float)
        self.spent: dict[str, float] = defaultdict(float)
        self.asked: list[tuple[float, float]] = []
        self.idle: list[tuple[float, float]] = []
        self._ended: dict[Any, float] = {}
        self.first, self.last = 0.0, 0.0

    def send(self, worker: Any) -> None:
        self.sent[worker] = time.perf_counter()
        self.first = self.first or self.sent[worker]
        if worker in self._ended:
            self.idle.append((self._ended[worker], time.time()))

    def arrive(self, worker: Any, result: dict[str, Any]) -> None:
        now, before = time.perf_counter(), self.arrived.get(worker)
        costs = [json.loads(line) for line in result["lines"]]
        seconds = {part: sum(record["cost"].get(part) or 0.0 for record in costs) for part in PARTS}
        if any(record["cell"]["method"] == "retrain" for record in costs):
            # It was trained before.
            seconds["unlearn_seconds"] = 0.0
        for part, value in seconds.items():
            self.work[part] += value
        # D_f's prefix is charged to every trial that uses it, and computed once.
        charged = sum(record["cost"].get("prefix_seconds") or 0.0 for record in costs)
        own = seconds["unlearn_seconds"] - charged + seconds["evaluate_seconds"]
        if before is not None:
            self.trials.append(
                {
                    "work": own,
                    "beside": now - before - own,
                    "waited": self.sent[worker] - before,
                    "in_worker": result["time_this_iter_s"] - own,
                    "on_the_way": now - self.sent[worker] - result["time_this_iter_s"],
                }
            )
        self.arrived[worker], self.last = now, now
        self._ended[worker] = result.pop("ended")

    def waits_for_suggestions(self) -> list[float]:
        """Seconds that a worker without a trial waited while a suggestion was being derived, of those that did."""
        waits = (
            sum(max(0.0, min(sent, ended) - max(done, began)) for began, ended in self.asked)
            for done, sent in self.idle
        )
        return [wait for wait in waits if wait > 0]

    @contextlib.contextmanager
    def count(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spent[part] += time.perf_counter() - began

    def timed(self, owner: Any, name: str, part: str) -> None:
        """Count the seconds of a function or method."""
        usual: Callable[..., Any] = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.count(part):
                return usual(*args, **kwargs)

        setattr(owner, name, counted)


def watch(clock: Clock) -> None:
    """Let the clock see what the driver does."""
    from study.cluster import execution, workers
    from study.cluster.actors import ActorManager
    from study.cluster.conductor import Conductor
    from study.ledger import Ledger
    from study.search import CellSearch
    from study.suggestions import Suggestion

    schedule, resolve = ActorManager._schedule_tracked_actor_task, ActorManager._actor_task_resolved

    def scheduled(self: Any, tracked_actor_task: Any, method_name: str, **kwargs: Any) -> Any:
        if method_name == "train":
            clock.send(tracked_actor_task._tracked_actor)
        return schedule(self, tracked_actor_task, method_name, **kwargs)

    def resolved(self: Any, task: Any, result: Any) -> Any:
        if isinstance(result, dict) and "lines" in result:
            clock.arrive(task._tracked_actor, result)
        return resolve(self, task, result)

    ActorManager._schedule_tracked_actor_task, ActorManager._actor_task_resolved = scheduled, resolved
    clock.timed(Ledger, "append", "storage")
    clock.timed(execution, "keep_adapters", "storage")
    clock.timed(Conductor, "next", "suggesting")
    suggest = CellSearch.suggest

    def suggested(self: Any) -> Any:
        began = time.time()
        found = suggest(self)
        if isinstance(found, Suggestion):
            clock.asked.append((began, time.time()))
        return found

    class TimedWorker(workers.TrialWorker):
        def step(self) -> dict[str, Any]:
            return {**super().step(), "ended": time.time()}

    TimedWorker.__qualname__ = workers.TrialWorker.__qualname__
    CellSearch.suggest, workers.TrialWorker = suggested, TimedWorker


def summary(clock: Clock, began: float, ended: float, workers: int) -> dict[str, Any]:
    """What the clock saw, as plain data."""
    steady = [trial for trial in clock.trials if trial["work"] > 0]

    def over(name: str) -> dict[str, float]:
        values = sorted(1e3 * trial[name] for trial in steady)
        return {
            "median": statistics.median(values),
            "mean": statistics.mean(values),
            "p90": values[int(0.9 * (len(values) - 1))],
            "max": values[-1],
        }

    running = clock.last - clock.first
    return {
        "wall": ended - began,
        "startup": clock.first - began,
        "running": running,
        "ending": ended - clock.last,
        "workers": workers,
        "trials": len(clock.arrived) + len(clock.trials),
        "work": {part.removesuffix("_seconds"): value for part, value in clock.work.items()},
        "driver": dict(clock.spent),
        "suggestions_ms": [1e3 * (ended - began) for began, ended in clock.asked],
        "waits_for_suggestions_ms": [1e3 * wait for wait in clock.waits_for_suggestions()],
        "ms_a_trial": {name: over(name) for name in ("work", "beside", "waited", "in_worker", "on_the_way")},
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="where the wall of a real study goes")
    parser.add_argument("space", nargs="?", type=Path, default=ROOT / "search_spaces" / "quickstart.yaml")
    parser.add_argument("--storage", type=Path, default=ROOT / "runs")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    from study.cli import main as neglora

    clock, space = Clock(), arguments.space.resolve()
    artifacts = (arguments.storage / "artifacts").resolve()
    artifacts.mkdir(parents=True, exist_ok=True)
    watch(clock)
    with tempfile.TemporaryDirectory(prefix="timeline-") as name, contextlib.redirect_stdout(sys.stderr):
        runs = Path(name) / "runs"
        runs.mkdir()
        (runs / "artifacts").symlink_to(artifacts)
        os.chdir(name)
        began = time.perf_counter()
        code = neglora(["run", str(space), "--storage", str(runs), "--workers", str(arguments.workers)])
        ended = time.perf_counter()
    if code:
        raise SystemExit(f"neglora run ended with {code}")
    print(json.dumps(summary(clock, began, ended, arguments.workers)))


if __name__ == "__main__":
    main()
