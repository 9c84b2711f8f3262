"""A recorded replicate made again: equal where nothing differs, and what is said where something does."""

import logging
from dataclasses import replace

import pytest
import torch

from neglora import reproduce as reproducing
from neglora.kept import adapter_file, kept_adapter
from neglora.reproduce import DERIVED, changed_surroundings, differences, reproduce, reproduce_retrain
from neglora.session import Session
from neglora.trial import run_trial
from tests.neglora.conftest import FORGET, SPARSITY
from tests.neglora.tasks import neglora_task, retrain_task, task

KINDS = {
    "dense": {},
    "sparse": {"sparsity": SPARSITY},
    "masked": {"sparsity": SPARSITY, "merge": "masked"},
    "retracted": {"retract": 0.9},
    "masked, retracted": {"sparsity": SPARSITY, "merge": "masked", "retract": 0.9},
    "statistics let go": {"batchnorm": "update"},
    "statistics let go, retracted": {"batchnorm": "update", "retract": 0.5},
}


@pytest.fixture
def made(session, setting, tmp_path):
    """Run a trial that keeps its adapter; its record, and the adapter."""

    def make(**params):
        plan = task(setting, lr=1e-2, rank=4, targets="last.conv+head", **params)
        record = run_trial(session, replace(plan, keep=str(tmp_path)))
        assert record.status == "ok"
        adapter = kept_adapter(adapter_file(tmp_path, record.trial, FORGET, 0))
        assert adapter is not None
        return record, adapter

    return make


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [True, False])
def test_it_measures_exactly_as_its_record(storage, setting, made, kind, kept):
    """Of the adapter or run again, by a worker that knows nothing of the first."""
    record, adapter = made(**KINDS[kind])
    [replicate] = record.replicates
    fresh = Session(storage)
    again = reproduce(fresh, setting, "neglora", record.params, replicate, adapter if kept else None)
    # No adapter holds running statistics.
    assert again.from_kept == (kept and "batchnorm" not in KINDS[kind])
    if "retract" in KINDS[kind]:
        # The sparse base of these tests is always wrong: there is nothing to scale.
        assert 0 < replicate["details"]["retraction"]["scale"] < 1 or "sparsity" in KINDS[kind]
        assert adapter.scale == replicate["details"]["retraction"]["scale"]
    assert differences(replicate, again, exact=True) == []
    assert changed_surroundings(record, replicate, fresh, setting) == []
    compared = {name for name in replicate["report"] if name not in DERIVED}
    assert {"ua", "ra", "ta", "mia", "mia_auc", "mia_full"} <= compared <= set(again.report)
    assert not again.model.training


def test_retrain_as_well(session, setting):
    [replicate] = run_trial(session, retrain_task(setting)).replicates
    again = reproduce_retrain(session, setting, replicate)
    assert again.adapter is None
    assert differences(replicate, again, exact=True) == []


def test_another_model_is_noticed(session, setting, made):
    record, adapter = made()
    [replicate] = record.replicates
    spoiled = replace(adapter, tensors={name: 4 * tensor for name, tensor in adapter.tensors.items()})
    again = reproduce(session, setting, "neglora", record.params, replicate, spoiled)
    found = differences(replicate, again, exact=False)
    assert any(not one.tolerated for one in found)
    assert "recorded" in str(found[0])


def test_elsewhere_two_images_are_tolerated(session, setting, made):
    record, adapter = made()
    [replicate] = record.replicates
    again = reproduce(session, setting, "neglora", record.params, replicate, adapter)
    count = again.counts["retain"]
    for images, tolerated in ((1, True), (2, True), (3, False)):
        recorded = {**replicate, "metrics": {**replicate["metrics"], "ra": again.metrics["ra"] - images / count}}
        [one] = differences(recorded, again, exact=False)
        assert (one.half, one.name, one.tolerated) == ("metrics", "ra", tolerated)
        assert not differences(recorded, again, exact=True)[0].tolerated
    signal = {**replicate, "report": {**replicate["report"], "mia_has_signal": not again.report["mia_has_signal"]}}
    assert differences(signal, again, exact=False)[0].tolerated
    lost = {**replicate, "report": {**replicate["report"], "mia_auc": None}}
    assert not differences(lost, again, exact=False)[0].tolerated


def test_what_differs_around_it_is_said(session, setting, made, monkeypatch):
    record, _ = made()
    [replicate] = record.replicates
    then = replace(record, provenance=record.provenance | {"torch": "1.0"})
    replicate = replicate | {"cost": replicate["cost"] | {"device": "NVIDIA H100", "threads": 4}}
    told = changed_surroundings(then, replicate, session, setting)
    assert told[:2] == ["device NVIDIA H100 then, cpu now", "threads 4 then, 1 now"]
    assert any(line.startswith("torch 1.0 then, ") for line in told)
    monkeypatch.setattr(reproducing, "SURROUNDINGS", ())
    assert changed_surroundings(record, record.replicates[0], session, setting) == []


def test_an_adapter_that_cannot_be_kept_loses_no_record(session, setting, tmp_path, caplog):
    (tmp_path / "adapters").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        record = run_trial(session, replace(neglora_task(setting), keep=str(tmp_path)))
    assert record.status == "ok"
    assert "could not be kept" in caplog.text


def test_methods_without_adapters_and_diverged_ones_keep_nothing(session, setting, tmp_path):
    for plan in (task(setting, "neggrad", lr=1e-3), task(setting, lr=1e30), retrain_task(setting)):
        run_trial(session, replace(plan, keep=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_adapters_are_copies_on_the_cpu(session, setting, made):
    _, adapter = made()
    assert all(tensor.device == torch.device("cpu") and tensor.is_contiguous() for tensor in adapter.tensors.values())
    assert any(bool(tensor.any()) for name, tensor in adapter.tensors.items() if "lora_B" in name)
