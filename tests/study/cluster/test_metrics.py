"""What is published of a study: the ledger's numbers, also after a resume, and nothing that could hurt a run."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping

import pytest

from neglora.record import Record, trial_id
from study.aggregate import summarize
from study.cluster import metrics
from study.cluster.failures import ClusterError
from study.cluster.metrics import LINGER, METRICS, Metered, metered
from study.cluster.tally import Tally
from study.ledger import Ledger, read_ledger
from study.progress import CellProgress, StudyProgress
from study.space import parse_space

SPACE = """
study: watched
datasets: [digits]
models: [tinyvit_nano]
replicates: {forget: [3], seeds: [0]}
objectives: [ua, ra, ta, gap]
search: {trials: 40}
resources: {cpus: 1, gpus: 0.5}
methods:
  neggrad: {lr: {log: [1.0e-5, 1.0e-3]}}
  neglora: {lr: {log: [1.0e-5, 1.0e-3]}, rank: [2, 4]}
"""
RETRAIN, NEGGRAD, NEGLORA = (f"digits-tinyvit_nano-{method}" for method in ("retrain", "neggrad", "neglora"))


class Silent:
    """A progress that only remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def say(self, text: str) -> None:
        self.told.append(text)

    def preparation(self, total: int, missing: int) -> None:
        self.told.append("preparation")

    def preparing(self, title: str, epoch: int, epochs: int) -> None:
        self.told.append("preparing")

    def prepared(self, title: str) -> None:
        self.told.append("prepared")

    def trials(self, state: StudyProgress, record: Record | None = None) -> None:
        self.told.append("trials")

    def close(self) -> None:
        self.told.append("close")


class Page:
    """What Prometheus would read: the last value of every gauge, all observations of the histogram."""

    def __init__(self) -> None:
        self.gauges: dict[tuple[str, str, str], float] = {}
        self.observed: list[tuple[str, float]] = []

    def __call__(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        assert set(tags) == set(METRICS[name].tags)
        assert tags["study"] == "watched"
        if METRICS[name].kind == "histogram":
            self.observed.append((tags["phase"], value))
        else:
            self.gauges[name, tags.get("cell", ""), tags.get("status", "")] = value

    def of(self, name: str) -> dict[str, float]:
        return {"/".join(filter(None, key[1:])): value for key, value in self.gauges.items() if key[0] == name}


def record(method: str, number: int, status: str = "ok", **values: float | None) -> Record:
    cell = {"dataset": "digits", "model": "tinyvit_nano", "method": method}
    return Record(
        trial=trial_id(cell, number),
        cell=cell,
        params={"lr": 1e-4},
        status=status,  # type: ignore[arg-type]
        metrics=dict(values) if status == "ok" else {},
        cost={"unlearn_seconds": 2.0, "evaluate_seconds": 4.0 if status == "ok" else None},
    )


def searched(count: int = 40) -> list[Record]:
    """Two cells of `count` trials and Retrain: good, bad, unmeasured, diverged and failed ones."""
    draw = random.Random(0)
    records = [record("retrain", 0, ua=1.0, ra=1.0, ta=0.9, gap=0.0)]
    for number in range(count):
        for method in ("neggrad", "neglora"):
            status = draw.choice(["ok"] * 6 + ["diverged", "failed"])
            values = {name: draw.random() for name in ("ua", "ra", "ta", "gap")}
            if draw.random() < 0.1:
                values["gap"] = None
            records.append(record(method, number, status, **values))
    return records


def state(pending: int = 0, **running: int) -> StudyProgress:
    counts = {RETRAIN: 1, NEGGRAD: 40, NEGLORA: 40}
    cells = tuple(
        CellProgress(name, total, 0, running.get(name.rsplit("-", 1)[1], 0), 0, 0, None)
        for name, total in counts.items()
    )
    return StudyProgress(cells, None, pending)


def published(records: list[Record], told: list[Record] | None = None, page: Page | None = None) -> Page:
    """The page after a run that found `records` in its ledger and was told of `told`."""
    page = page or Page()
    watched = Metered(Silent(), parse_space(SPACE, "space.yaml"), records, page)
    watched.start()
    for one in told or []:
        watched.trials(state(), one)
    watched.stop()
    return page


def test_counts_are_those_of_the_ledger_and_a_resume_does_not_change_them(tmp_path):
    records = searched()
    with Ledger.open(tmp_path) as ledger:
        for one in records:
            ledger.append(one)
    kept = read_ledger(tmp_path)
    expected = {
        f"{cell}/{status}": sum(one.trial.rsplit("-", 1)[0] == cell and one.status == status for one in kept)
        for cell in (RETRAIN, NEGGRAD, NEGLORA)
        for status in ("ok", "diverged", "failed")
    }
    assert min(expected[f"{NEGLORA}/{status}"] for status in ("ok", "diverged", "failed")) > 0
    whole = published([], records)
    assert whole.of("neglora_trials") == expected
    # Killed after 30 trials, and gone on with: what the ledger holds is there, and counted once.
    resumed = published(kept[:30], kept[30:])
    assert resumed.gauges == whole.gauges
    assert sorted(resumed.observed) == sorted(whole.observed)
    assert published(kept).gauges == whole.gauges


def test_hypervolume_and_gap_are_those_of_the_summary():
    records = searched()
    page = published(records[:11], records[11:])
    summary = summarize(records, {"study": "watched", "objectives": ["ua", "ra", "ta", "gap"]})
    cells = {cell["cell"]: cell for cell in summary["cells"]}
    assert set(cells) == {NEGGRAD, NEGLORA}
    assert page.of("neglora_hypervolume") == pytest.approx({name: cell["hypervolume"] for name, cell in cells.items()})
    best = {name: cell["best"]["gap"]["value"] for name, cell in cells.items()}
    # Retrain is the reference: it has no distance to itself.
    assert page.of("neglora_best_gap") == best


def test_seconds_are_those_of_the_costs_times_gpus():
    records = [record("retrain", 0), record("neggrad", 0), record("neggrad", 1, "failed"), record("neglora", 0)]
    page = published(records)
    # Retrain was trained when it was prepared; its trial only measures it.
    assert sorted(page.observed) == [("evaluate", 4.0)] * 3 + [("unlearn", 2.0)] * 3
    assert page.of("neglora_gpu_seconds") == {"": 0.5 * (3 * 2.0 + 3 * 4.0)}


def test_everything_that_is_promised_is_published_and_progress_hears_it_all():
    page, silent = Page(), Silent()
    watched = Metered(silent, parse_space(SPACE, "space.yaml"), [], page)
    watched.start()
    watched.say("hello")
    watched.preparation(3, 1)
    watched.preparing("base", 1, 2)
    watched.prepared("base")
    watched.trials(state(pending=5, neggrad=2))
    watched.trials(state(pending=4, neggrad=1), record("neggrad", 0, ua=0.5, ra=0.5, ta=0.5, gap=0.25))
    watched.stop()
    watched.close()
    assert silent.told == ["hello", "preparation", "preparing", "prepared", "trials", "trials", "close"]
    gauges = {name for name, entry in METRICS.items() if entry.kind == "gauge"}
    assert {name for name, _, _ in page.gauges} == gauges
    assert page.of("neglora_trials_pending") == {"": 4}
    assert page.of("neglora_trials_running") == {RETRAIN: 0, NEGGRAD: 1, NEGLORA: 0}
    assert page.of("neglora_trials_asked") == {RETRAIN: 1, NEGGRAD: 40, NEGLORA: 40}
    assert {phase for phase, _ in page.observed} == {"prepare", "unlearn", "evaluate"}


def test_values_are_set_again_and_again_since_ray_forgets_gauges(monkeypatch):
    monkeypatch.setattr(metrics, "EVERY_SECONDS", 0.01)
    rounds = threading.Semaphore(0)

    def sink(name: str, value: float, tags: Mapping[str, str]) -> None:
        if name == "neglora_gpu_seconds":
            rounds.release()

    watched = Metered(Silent(), parse_space(SPACE, "space.yaml"), [], sink)
    watched.start()
    assert all(rounds.acquire(timeout=30) for _ in range(5))
    watched.stop()


def test_a_sink_that_breaks_is_told_once_and_hurts_nothing(monkeypatch, caplog):
    monkeypatch.setattr(metrics, "EVERY_SECONDS", 0.01)
    broken = threading.Event()

    def sink(name: str, value: float, tags: Mapping[str, str]) -> None:
        broken.set()
        raise ConnectionError("the agent is gone")

    silent = Silent()
    watched = Metered(silent, parse_space(SPACE, "space.yaml"), searched(3), sink)
    watched.start()
    assert broken.wait(30)
    watched.trials(state(), record("neggrad", 9, ua=1.0, ra=1.0, ta=1.0, gap=0.0))
    watched.stop()
    assert silent.told == ["trials"]
    assert [entry.message for entry in caplog.records] == [
        "metrics could not be published; the study goes on without them"
    ]


def test_a_ray_that_takes_no_metrics_hurts_nothing(monkeypatch, caplog):
    def no_sink() -> metrics.Sink:
        raise RuntimeError("no core worker")

    monkeypatch.setattr(metrics, "ray_sink", no_sink)
    silent = Silent()
    with metered(silent, parse_space(SPACE, "space.yaml"), []) as progress:
        progress.say("on it goes")
    assert silent.told == ["on it goes"]
    assert "Ray takes no metrics" in caplog.text


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_a_linger_that_is_no_number_of_seconds_is_refused(monkeypatch, text):
    monkeypatch.setenv(LINGER, text)
    with pytest.raises(ClusterError, match=LINGER), metered(Silent(), parse_space(SPACE, "space.yaml"), []):
        raise AssertionError("never entered")


def test_the_driver_only_leaves_notes():
    """However long computing a front takes, whoever tells of a trial does not wait for it."""
    entered, leave = threading.Event(), threading.Event()

    def slow(name: str, value: float, tags: Mapping[str, str]) -> None:
        entered.set()
        leave.wait(30)

    watched = Metered(Silent(), parse_space(SPACE, "space.yaml"), searched(1), slow)
    watched.start()
    assert entered.wait(30)
    told = threading.Thread(target=lambda: watched.trials(state(), record("neggrad", 9)))
    told.start()
    told.join(30)
    assert not told.is_alive()
    leave.set()
    watched.stop()


def test_a_tally_puts_hypervolumes_off_after_a_long_one(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    tally = Tally([NEGGRAD, NEGLORA], ["ua", "ra"])
    cell = tally.cells[NEGGRAD]
    usual = cell.update

    def costly() -> None:
        clock[0] += 2.0
        usual()

    monkeypatch.setattr(cell, "update", costly)
    tally.add(record("neggrad", 0, ua=0.5, ra=0.5))
    tally.add(record("neglora", 0, ua=0.5, ra=0.5))
    tally.update()
    # The round was over after the first cell, and the next one comes after a rest.
    assert (cell.hypervolume, tally.cells[NEGLORA].hypervolume) == (0.25, None)
    clock[0] += 50.0
    tally.update()
    assert tally.cells[NEGLORA].hypervolume is None
    clock[0] += 51.0
    tally.update()
    assert tally.cells[NEGLORA].hypervolume == 0.25
    tally.add(record("neggrad", 1, ua=0.5, ra=1.0))
    tally.update()
    tally.add(record("neggrad", 2, ua=1.0, ra=1.0))
    tally.update()
    assert cell.hypervolume == 0.5
    tally.update(last=True)
    assert cell.hypervolume == 1.0
