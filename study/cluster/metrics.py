"""What Prometheus can see of a study: gauges and a histogram that the driver publishes through Ray.

Only the driver publishes: it lives as long as the study does, while a worker may end before Ray ever asks it. Whatever
the ledger has is a gauge of the ledger's own number, not a counter, so that a study that goes on after a kill shows
what its ledger holds and nothing is counted twice. In Prometheus, names begin with `ray_`: `ray_neglora_trials`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from neglora.record import Record
from study.cluster.failures import ClusterError
from study.cluster.tally import Tally
from study.progress import Progress, StudyProgress

if TYPE_CHECKING:
    from study.space import Space

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """One metric: its kind, one sentence for Prometheus, and its tags."""

    kind: Literal["gauge", "histogram"]
    about: str
    tags: tuple[str, ...]


METRICS: dict[str, Published] = {
    "neglora_trials": Published("gauge", "Trials in the ledger", ("study", "cell", "status")),
    "neglora_trials_asked": Published("gauge", "Trials that the study asks for", ("study", "cell")),
    "neglora_trials_running": Published("gauge", "Trials that a worker has started", ("study", "cell")),
    "neglora_trials_pending": Published("gauge", "Trials handed out that no worker has started", ("study",)),
    "neglora_best_gap": Published(
        "gauge", "Smallest mean distance to Retrain of a trial, selection half, as a fraction", ("study", "cell")
    ),
    "neglora_hypervolume": Published("gauge", "Volume that the front of the objectives covers", ("study", "cell")),
    "neglora_gpu_seconds": Published("gauge", "Seconds of trials in the ledger x resources.gpus", ("study",)),
    "neglora_phase_seconds": Published(
        "histogram", "Seconds of unlearning and evaluating a trial, and of preparing a model", ("study", "phase")
    ),
}
#: Seconds, from a trial of a nano model to the training of a large one.
BOUNDARIES = [0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800, 36000, 86400]
#: Ray forgets a gauge that was not set again within its reporting interval, which is 1 s at the least.
EVERY_SECONDS = 1.0
#: The driver waits so many seconds at the end for a last scrape; 0 if it is not set.
LINGER = "NEGLORA_METRICS_LINGER"

#: Sets a gauge or observes a value: name, value, tags.
Sink = Callable[[str, float, Mapping[str, str]], None]


def ray_sink() -> Sink:
    """The metrics of `METRICS` in the Ray that this process is connected to."""
    from ray.util.metrics import Gauge, Histogram

    gauges = {
        name: Gauge(name, entry.about, tag_keys=entry.tags) for name, entry in METRICS.items() if entry.kind == "gauge"
    }
    histograms = {
        name: Histogram(name, entry.about, boundaries=BOUNDARIES, tag_keys=entry.tags)
        for name, entry in METRICS.items()
        if entry.kind == "histogram"
    }

    def put(name: str, value: float, tags: Mapping[str, str]) -> None:
        if name in gauges:
            gauges[name].set(value, dict(tags))
        else:
            histograms[name].observe(value, dict(tags))

    return put


class Metered:
    """A progress that also publishes what it is told. Publishing that fails is told once and ends; the study goes on.

    The driver only leaves notes here; a thread of its own counts, computes and publishes every `EVERY_SECONDS`.

    Args:
        progress: told everything as it is.
        space: names, objectives and resources of the study.
        records: what the ledger holds already.
        sink: where values go.
    """

    def __init__(self, progress: Progress, space: Space, records: Sequence[Record], sink: Sink) -> None:
        self._progress = progress
        self._study = space.study
        # The share is found while the study runs.
        self._gpus = None if space.resources.gpus == "auto" else float(space.resources.gpus)
        self._sink = sink
        self._asked = {cell.id: cell.trials for cell in space.cells()}
        self._tally = Tally(self._asked, space.objectives)
        self._state: StudyProgress | None = None
        self._fresh: list[Record] = list(records)
        self._observed: list[tuple[str, float]] = []
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._work, name="neglora-metrics", daemon=True)

    def say(self, text: str) -> None:
        self._progress.say(text)

    def preparation(self, total: int, missing: int) -> None:
        self._progress.preparation(total, missing)

    def preparing(self, title: str, epoch: int, epochs: int) -> None:
        self._since.setdefault(title, time.monotonic())
        self._progress.preparing(title, epoch, epochs)

    def prepared(self, title: str) -> None:
        since = self._since.pop(title, None)
        if since is not None:
            with self._lock:
                self._observed.append(("prepare", time.monotonic() - since))
        self._progress.prepared(title)

    def trials(self, state: StudyProgress, record: Record | None = None) -> None:
        with self._lock:
            self._state = state
            if record is not None:
                self._fresh.append(record)
        self._progress.trials(state, record)

    def close(self) -> None:
        self._progress.close()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Publish the last values; Ray passes them on when the driver leaves it."""
        self._ended.set()
        self._thread.join()
        self._publish(last=True)

    def _work(self) -> None:
        while not self._failed:
            self._publish()
            if self._ended.wait(EVERY_SECONDS):
                return

    def _publish(self, last: bool = False) -> None:
        if self._failed:
            return
        try:
            self._observe()
            self._tally.update(last=last)
            for name, value, tags in self._gauges():
                self._sink(name, value, {"study": self._study, **tags})
        except Exception:
            # Whatever Ray does to it: a study is not lost for a picture of it.
            self._failed = True
            logger.exception("metrics could not be published; the study goes on without them")

    def _observe(self) -> None:
        with self._lock:
            records, self._fresh = self._fresh, []
            observed, self._observed = self._observed, []
        for record in records:
            observed += self._tally.add(record).items()
        for phase, seconds in observed:
            self._sink("neglora_phase_seconds", seconds, {"study": self._study, "phase": phase})

    def _gauges(self) -> Iterator[tuple[str, float, dict[str, str]]]:
        with self._lock:
            state = self._state
        live = {} if state is None else {cell.name: cell for cell in state.cells}
        for name, cell in self._tally.cells.items():
            for status, count in cell.counts.items():
                yield "neglora_trials", count, {"cell": name, "status": status}
            # A cell may end early, when its space is exhausted.
            asked = live[name].total if name in live else self._asked.get(name)
            if asked is not None:
                yield "neglora_trials_asked", asked, {"cell": name}
            yield "neglora_trials_running", live[name].running if name in live else 0, {"cell": name}
            if cell.best_gap is not None:
                yield "neglora_best_gap", cell.best_gap, {"cell": name}
            if cell.hypervolume is not None:
                yield "neglora_hypervolume", cell.hypervolume, {"cell": name}
        yield "neglora_trials_pending", 0 if state is None else state.pending, {}
        if self._gpus is not None:
            yield "neglora_gpu_seconds", self._gpus * sum(self._tally.seconds.values()), {}


@contextmanager
def metered(progress: Progress, space: Space, records: Sequence[Record]) -> Iterator[Progress]:
    """A progress whose news Prometheus sees too, for as long as the context lasts; Ray must be connected.

    Raises:
        ClusterError: `NEGLORA_METRICS_LINGER` is no number of seconds.
    """
    linger = _linger()
    try:
        sink = ray_sink()
    except Exception:
        logger.exception("Ray takes no metrics; the study goes on without them")
        yield progress
        return
    watched = Metered(progress, space, records, sink)
    watched.start()
    try:
        yield watched
        if linger:
            progress.say(f"Waiting {linger:g} s for a last scrape ({LINGER})")
            time.sleep(linger)
    finally:
        watched.stop()


def _linger() -> float:
    text = os.environ.get(LINGER, "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ClusterError(f"{LINGER} should be a number of seconds, 0 or more, got {text!r}")
    return seconds
