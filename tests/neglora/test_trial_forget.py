"""Trials that forget several classes, or a random share of the images, from the same bases as one class."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace

import pytest
import torch

from neglora.artifacts import ArtifactStore
from neglora.data import ForgetSet, parse_forget, split
from neglora.evaluation import infer_dataset
from neglora.methods import METHODS
from neglora.objectives import AUDIT_METRICS, GAP_METRICS, METRICS
from neglora.prerequisites import Prerequisite, base_of, ensure, needed, retrain_of
from neglora.record import Record
from neglora.session import Session
from neglora.trial import run_trial
from tests.neglora.conftest import FORGET, SPARSITY
from tests.neglora.tasks import neglora_task, retrain_task, task, without_clocks

CLASSES = [3, 5]
SHARE = {"random": 0.1, "seed": 0}
KINDS = [FORGET, CLASSES, SHARE]
#: Metrics that a random share does not have, since it has no test images of its own.
ABSENT = {"ua_test"}


@pytest.fixture(scope="module")
def retrained(storage, setting, tiny, tmp_path_factory) -> Session:
    """A copy of the shared storage, with Retrain of both."""
    torch.set_num_threads(1)
    own = tmp_path_factory.mktemp("storage") / "copy"
    shutil.copytree(storage, own)
    for forget in (CLASSES, SHARE):
        ensure(retrain_of(setting, 0, parse_forget(tiny.info, forget)), ArtifactStore(own / "artifacts"), tiny)
    return Session(own)


@pytest.fixture(scope="module")
def records(retrained, setting):
    """One trial of each, by kind."""
    return {str(kind): run_trial(retrained, neglora_task(setting, replicates=((kind, 0),))) for kind in KINDS}


def share_of(condition) -> float:
    return condition.double().mean().item()


@pytest.mark.parametrize("forget", [CLASSES, SHARE])
def test_a_trial_runs_and_survives_its_line(records, forget):
    record = records[str(forget)]
    assert (record.status, record.reason) == ("ok", None)
    absent = ABSENT if forget is SHARE else set()
    for values in (record.metrics, record.report):
        assert {name for name, value in values.items() if value is None} == absent
        assert set(METRICS) - set(AUDIT_METRICS) <= set(values)
    [replicate] = record.replicates
    assert replicate["forget"] == forget
    assert Record.from_line(record.to_line()) == record


@pytest.mark.parametrize("forget", [CLASSES, SHARE])
def test_it_is_measured_on_its_own_images(records, forget, tiny):
    splits = split(tiny, forget, holdout=0.5)
    counts = records[str(forget)].replicates[0]["details"]["counts"]
    assert counts == splits.counts
    if forget is SHARE:
        assert counts["test_forget"] == 0
        assert counts["test"] + counts["test_report"] == len(tiny.test_labels)
        assert counts["forget"] == pytest.approx(24, abs=5)
    else:
        assert counts["forget"] == int(sum(tiny.train_labels == label for label in CLASSES).sum())
        assert counts["test_forget"] == int(sum(tiny.test_labels == label for label in CLASSES).sum())


def test_the_four_metrics_of_retrain_by_hand(retrained, setting, tiny):
    """From Retrain's own weights, for every kind: what `docs/metrics.md` says each means."""
    for forget in KINDS:
        record = run_trial(retrained, retrain_task(setting, ((forget, 0),), sparsities=(0.0,)))
        assert record.status == "ok"
        kept = retrained.get(retrain_of(setting, 0, parse_forget(tiny.info, forget)))
        outputs = infer_dataset(kept.model, tiny, 64)
        right = outputs.train.logits.argmax(1) == tiny.train_labels
        test_right = outputs.test.logits.argmax(1) == tiny.test_labels
        splits = split(tiny, forget, holdout=0.5)
        assert record.metrics["ua"] == pytest.approx(1 - share_of(right[splits.forget]))
        assert record.metrics["ra"] == pytest.approx(share_of(right[splits.retain]))
        assert record.metrics["ta"] == pytest.approx(share_of(test_right[splits.test]))
        assert record.report["ta"] == pytest.approx(share_of(test_right[splits.test_report]))
        if forget is SHARE:
            assert record.metrics["ua_test"] is None
            assert record.metrics["ua"] < 0.9, "classes whose other images stay are still known"
        else:
            assert record.metrics["ua"] == 1.0, "it never saw a class that it was to forget"
            assert record.metrics["ua_test"] == pytest.approx(1 - share_of(test_right[splits.test_forget])) == 1.0
        assert record.metrics["gap"] == 0


def test_without_a_holdout_a_random_share_counts_every_test_image(retrained, setting, tiny):
    record = run_trial(retrained, neglora_task(replace(setting, holdout=0.0), replicates=((SHARE, 0),)))
    counts = record.replicates[0]["details"]["counts"]
    assert counts["test"] == counts["test_report"] == len(tiny.test_labels) == 120
    assert round(record.metrics["ta"] * 120, 6).is_integer()
    attack = record.replicates[0]["details"]["attack"]["report"]
    assert attack["n_per_side"] == min(120, counts["retain"]), "the attack's non-members are all test images"


@pytest.mark.parametrize("forget", KINDS)
def test_retrain_sees_exactly_the_retained_images(forget, setting, tiny, tmp_path, monkeypatch):
    """Every batch that reaches the training of Retrain, against the images that are to be left out."""
    seen = []

    def unlearn(model, *, params, masks, seed, retain):
        seen.extend(retain.index.tolist())
        assert sum(len(labels) for _, labels in retain.epoch(0)) == len(retain.index)
        raise InterruptedError

    monkeypatch.setitem(METHODS, "retrain", replace(METHODS["retrain"], unlearn=unlearn))
    wanted = parse_forget(tiny.info, forget)
    with pytest.raises(InterruptedError):
        ensure(retrain_of(setting, 0, wanted), ArtifactStore(tmp_path), tiny)
    assert len(seen) == len(set(seen))
    assert set(range(240)) - set(seen) == set(split(tiny, wanted).forget.tolist())


def test_one_task_mixes_the_kinds(retrained, records, setting):
    record = run_trial(retrained, neglora_task(setting, replicates=tuple((kind, 0) for kind in KINDS)))
    assert record.status == "ok"
    assert [replicate["forget"] for replicate in record.replicates] == KINDS
    for replicate, kind in zip(record.replicates, KINDS, strict=True):
        alone = records[str(kind)].replicates[0]
        assert without_clocks(replicate["metrics"]) == without_clocks(alone["metrics"])
        assert without_clocks(replicate["report"]) == without_clocks(alone["report"])
    for name in (*GAP_METRICS, "gap", "tow", "runner_up"):
        values = [replicate["metrics"][name] for replicate in record.replicates]
        assert record.metrics[name] == pytest.approx(sum(values) / 3)
    assert record.metrics["ua_test"] is record.report["ua_test"] is None, "one of the three has none"
    assert [replicate["metrics"]["ua_test"] is None for replicate in record.replicates] == [False, False, True]
    assert Record.from_line(record.to_line()) == record


def test_retrains_task_mixes_them_too(retrained, setting):
    record = run_trial(retrained, retrain_task(setting, tuple((kind, 0) for kind in KINDS)))
    assert record.status == "ok"
    for replicate in record.replicates:
        assert [base["sparsity"] for base in replicate["bases"]] == [0.0, SPARSITY]
        for base in replicate["bases"]:
            assert (base["metrics"]["ua_test"] is None) == (replicate["forget"] == SHARE)
    assert Record.from_line(record.to_line()) == record


@pytest.mark.parametrize("method", ["neggrad", "partial_neggrad"])
def test_other_methods_forget_them_as_well(retrained, setting, method):
    record = run_trial(retrained, task(setting, method, replicates=((CLASSES, 0), (SHARE, 0)), lr=1e-3))
    assert record.status == "ok"
    for replicate in record.replicates:
        assert replicate["details"]["loss_after"] > replicate["details"]["loss_before"]


def test_the_seed_of_a_random_share_is_its_own(retrained, setting):
    """Other images, from the same base: the seed of the replicate fixes the training, that of the share the images."""
    other = {"random": 0.1, "seed": 1}
    record = run_trial(retrained, neglora_task(setting, replicates=((SHARE, 0), (other, 0))))
    first, second = record.replicates
    assert first["details"]["loss_before"] != second["details"]["loss_before"]
    assert first["metrics"]["gap"] is not None
    assert second["metrics"]["gap"] is None, "nobody retrained without those"


def test_however_it_is_named_it_is_one_retrain(setting, tiny, retrained):
    named = [["3", "5"], (5, 3), [3, 5], ForgetSet((3, 5))]
    wanted = {retrain_of(setting, 0, parse_forget(tiny.info, each)).title for each in named}
    assert wanted == {"tiny resnet_nano retrain without 3 and 5 seed 0"}
    record = run_trial(retrained, neglora_task(setting, replicates=((["5", "3"], 0), ({"random": 0.1}, 0))))
    assert [replicate["forget"] for replicate in record.replicates] == [["5", "3"], {"random": 0.1}]
    assert all(replicate["metrics"]["gap"] is not None for replicate in record.replicates)


def test_what_is_needed_for_a_mix(setting, tiny):
    forgets = [parse_forget(tiny.info, kind) for kind in KINDS]
    wanted = needed(setting, forgets=forgets, seeds=[0], sparsities=[SPARSITY])
    assert wanted[:2] == [base_of(setting, 0, 0.0), base_of(setting, 0, SPARSITY)]
    assert [each.forget for each in wanted[2:]] == forgets
    keys = [str(each.determines("data")) for each in wanted]
    assert len(set(keys)) == 5
    assert "without a random 10% (seed 0)" in wanted[-1].title
    from_json = [Prerequisite.of(json.loads(json.dumps(asdict(each)))) for each in wanted]
    assert [each.forget for each in from_json] == [each.forget for each in wanted]
    assert [str(each.determines("data")) for each in from_json] == keys


def test_a_mistake_in_a_forget_set_fails_the_trial_with_its_reason(retrained, setting):
    record = run_trial(retrained, neglora_task(setting, replicates=(([3, 3], 0),)))
    assert record.status == "failed"
    assert "named twice" in record.reason
