"""Trials of a search that are measured on samples, at a probe, or on the way of a longer one."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from neglora import replicate
from neglora.evaluation import infer_dataset
from neglora.methods import METHODS, Unlearned
from neglora.metrics import accuracy
from neglora.prerequisites import base_of
from neglora.record import Record
from neglora.replicate import run_replicate
from neglora.session import Session
from neglora.trial import Stop, run_task, run_trial
from neglora.trunk import Trunk
from tests.neglora.conftest import FORGET, FORGET_SET, SPARSITY
from tests.neglora.tasks import neglora_task, task, without_clocks

RETAIN, TEST, PROBE = 60, 30, 40


@pytest.fixture
def sampled(setting):
    return replace(setting, retain_samples=RETAIN, test_samples=TEST)


def searched(task):
    return replace(task, fidelity="search")


@pytest.fixture(scope="module")
def pair(session, setting) -> tuple[Record, Record]:
    """A configuration on samples, and the same in full."""
    on_samples = replace(setting, retain_samples=RETAIN, test_samples=TEST)
    one = searched(neglora_task(on_samples))
    return run_trial(session, one), run_trial(session, replace(one, fidelity="full"))


def test_a_search_measures_on_samples(pair):
    found, whole = pair
    assert (found.status, found.fidelity, found.report, found.reason) == ("ok", "search", {}, None)
    assert (whole.status, whole.fidelity) == ("ok", "full")
    assert found.trial == whole.trial
    counts, all_of_them = found.replicates[0]["details"]["counts"], whole.replicates[0]["details"]["counts"]
    assert counts == {
        **all_of_them,
        "retain": RETAIN,
        "test": TEST,
        "test_report": 0,
        "test_forget": counts["test_forget"],
    }
    assert set(found.metrics) == set(whole.metrics)
    assert found.metrics["ua"] == whole.metrics["ua"]
    assert Record.from_line(found.to_line()) == found


def test_its_metrics_are_those_of_the_sampled_images(session, sampled, pair):
    setting = sampled
    _, unlearned = run_replicate(session, setting, "neglora", neglora_task(setting).params, FORGET, 0)
    outputs = infer_dataset(unlearned.model, session.dataset(setting), 64)
    part = session.sample(setting, FORGET_SET)
    for name, half, index in (("ra", "train", part.retain), ("ta", "test", part.test)):
        chosen = getattr(outputs, half)[index]
        assert pair[0].metrics[name] == accuracy(chosen.logits, chosen.labels)


def test_its_intervals_hold_what_all_images_give(pair):
    found, whole = pair
    intervals = found.replicates[0]["details"]["intervals"]
    assert set(intervals) == {"ua", "ra", "ta", "mia"}
    assert intervals["ua"] == [found.metrics["ua"]] * 2
    for name, (low, high) in intervals.items():
        assert low <= whole.metrics[name] <= high
    assert intervals["ra"][0] < intervals["ra"][1]


def test_samples_of_everything_leave_nothing_open(session, setting):
    found = run_trial(session, searched(neglora_task(replace(setting, retain_samples=10_000, test_samples=10_000))))
    whole = run_trial(session, neglora_task(setting))
    assert found.fidelity == "search"
    for name in ("ua", "ra", "ta"):
        value = whole.metrics[name]
        assert found.metrics[name] == value
        assert found.replicates[0]["details"]["intervals"][name] == [value, value]


def test_without_samples_a_search_is_in_full(session, setting):
    found = run_trial(session, searched(neglora_task(setting)))
    assert without_clocks(vars(found)) == without_clocks(vars(run_trial(session, neglora_task(setting))))


@pytest.mark.parametrize("samples", [{}, {"retain_samples": RETAIN, "test_samples": TEST}])
def test_a_collapsed_model_is_not_measured_further_than_at_a_probe(session, setting, samples):
    setting = replace(setting, probe_samples=PROBE, **samples)
    collapsed = run_trial(session, searched(task(setting, "neggrad", lr=0.3, epochs=2)))
    assert (collapsed.status, collapsed.fidelity, collapsed.report) == ("ok", "search", {})
    assert "chance among 9 classes" in collapsed.reason
    counts = collapsed.replicates[0]["details"]["counts"]
    assert (counts["retain"], counts["test"]) == (PROBE, PROBE)
    assert all(collapsed.metrics[name] is not None for name in ("ua", "ra", "ta", "mia"))
    assert collapsed.replicates[0]["details"]["intervals"]["ra"][0] <= 1 / 9
    hopeful = run_trial(session, searched(neglora_task(setting)))
    assert hopeful.reason is None
    assert hopeful.fidelity == ("search" if samples else "full")


def test_in_full_there_is_no_probe(session, setting):
    record = run_trial(session, task(replace(setting, probe_samples=PROBE), "neggrad", lr=0.3, epochs=2))
    assert (record.fidelity, record.reason) == ("full", None)


def test_one_replicate_on_samples_makes_the_trial_one_of_search(session, setting):
    record = run_trial(
        session, searched(neglora_task(replace(setting, retain_samples=RETAIN), replicates=((FORGET, 0),)))
    )
    assert record.fidelity == "search"
    assert record.replicates[0]["details"]["counts"]["test"] > TEST, "TA is of all test images"


def test_models_take_activations_for_images(session, setting):
    """Behind the base's frozen prefix: the same operations, and the same bits."""
    method, params = "neglora", neglora_task(setting).params
    base = session.get(base_of(setting, 0, 0.0))
    trunk = Trunk(session, setting, base, method, params)
    assert trunk.cut is not None
    for model in (base.model, run_replicate(session, setting, method, params, FORGET, 0)[1].model):
        for _ in range(2):
            through = trunk.infer(model)
            usual = infer_dataset(model, session.dataset(setting), setting.batch_size)
            assert torch.equal(through.train.logits, usual.train.logits)
            assert torch.equal(through.test.logits, usual.test.logits)
    rows = torch.tensor([1, 5, 17, 200])
    assert torch.equal(trunk.infer(base.model, rows, rows[:2]).train[rows[1:3]].labels, usual.train.labels[rows[1:3]])


@pytest.mark.parametrize("targets", ["last.conv+head", "head", "conv"])
def test_the_prefix_changes_no_more_than_rounding(storage, setting, targets):
    one = task(setting, lr=3e-3, rank=4, targets=targets)
    with_prefix, without = (
        run_trial(Session(storage), replace(one, setting=replace(setting, prefix_gib=size))) for size in (2.0, 0.0)
    )
    images = with_prefix.replicates[0]["details"]["counts"]
    for name, part in (("ua", "forget"), ("ra", "retain"), ("ta", "test")):
        assert abs(with_prefix.metrics[name] - without.metrics[name]) <= 2 / images[part] + 1e-9
    assert without.cost["prefix_seconds"] == 0
    assert (with_prefix.cost["prefix_seconds"] > 0) == (targets != "conv")
    assert with_prefix.cost["unlearn_seconds"] > with_prefix.cost["prefix_seconds"]


def test_what_a_worker_kept_changes_nothing(storage, setting):
    """Whatever a worker did before, and however little it may keep."""
    one = neglora_task(setting)
    first = run_trial(Session(storage), one)
    worker = Session(storage)
    run_trial(worker, searched(neglora_task(replace(setting, retain_samples=RETAIN))))
    run_trial(worker, task(setting, lr=1e-3, targets="head"))
    assert without_clocks(vars(run_trial(worker, one))) == without_clocks(vars(first))
    worker.prefixes(setting).budget_bytes = 0
    worker.prefixes(setting).clear()
    assert without_clocks(vars(run_trial(worker, one))) == without_clocks(vars(first))


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("neglora", {"targets": "last.conv+head", "rank": 4}),
        ("neglora", {"targets": "conv", "rank": 2, "sparsity": SPARSITY, "merge": "masked", "batchnorm": "update"}),
        ("partial_neggrad", {"sparsity": SPARSITY}),
        ("neggrad", {"sparsity": SPARSITY, "batchnorm": "update"}),
    ],
)
def test_a_trial_on_the_way_of_another_is_the_trial_itself(session, setting, method, settings):
    setting = replace(setting, retain_samples=RETAIN, test_samples=TEST)
    whole = searched(task(setting, method, lr=1e-3, epochs=3, **settings))
    stops = (Stop(whole.trial[:-1] + "4", 1, {"a": 1}), Stop(whole.trial[:-1] + "5", 2, None))
    files: dict[str, bytes] = {}
    records = run_task(session, replace(whole, stops=stops), files)
    assert [record.trial for record in records] == [*(stop.trial for stop in stops), whole.trial]
    alone: dict[str, bytes] = {}
    for record, stop in zip(records, (*stops, None), strict=True):
        by_itself = (
            whole
            if stop is None
            else replace(whole, trial=stop.trial, params=whole.params | {"epochs": stop.epochs}, sampler=stop.sampler)
        )
        assert without_clocks(vars(record)) == without_clocks(vars(run_trial(session, by_itself, alone)))
    assert files == alone


def test_a_stop_takes_as_long_as_a_run_of_its_own(session, setting, monkeypatch):
    """Epochs and finishing; neither the copy nor what was measured on the way."""
    now = 0.0

    def after(seconds, value):
        nonlocal now
        now += seconds
        return value

    def unlearn(model, *, passing, **given):
        for epoch in (1, 2, 3):
            after(1, None)
            if epoch in passing.epochs:
                passing.told(epoch, lambda: after(100, lambda: after(10, Unlearned(model, 1))))
        return after(10, Unlearned(model, 1))

    measured = replicate._outcome
    monkeypatch.setattr(replicate, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(replicate, "_outcome", lambda *given: after(1000, measured(*given)))
    monkeypatch.setitem(METHODS, "neglora", replace(METHODS["neglora"], unlearn=unlearn))
    params = task(setting, lr=1e-3, targets="conv", epochs=3).params
    outcomes = replicate.run_stages(session, setting, "neglora", params, FORGET, 0, stops=(1, 2))
    assert [outcome["cost"]["unlearn_seconds"] for outcome, _ in outcomes] == [11, 12, 13]


def test_all_trials_of_a_task_fail_together(session, setting):
    whole = neglora_task(setting, replicates=((99, 0),))
    records = run_task(session, replace(whole, stops=(Stop("tiny-resnet_nano-neglora-0009", 1),)))
    assert [(record.status, record.trial) for record in records] == [
        ("failed", "tiny-resnet_nano-neglora-0009"),
        ("failed", whole.trial),
    ]


def test_a_run_that_diverges_later_has_what_it_passed(session, setting):
    """The rate is so large that the second epoch's loss is not finite."""
    for lr in (1e30, 1e4, 1e2):
        whole = task(setting, "neggrad", lr=lr, epochs=6)
        records = run_task(session, replace(whole, stops=(Stop("tiny-resnet_nano-neggrad-0009", 1),)))
        alone = run_trial(session, replace(whole, trial=records[0].trial, params=whole.params | {"epochs": 1}))
        assert records[0].status == alone.status
        assert records[0].reason == alone.reason
        assert records[-1].status == run_trial(session, whole).status
