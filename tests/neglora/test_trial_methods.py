"""What a trial does with methods: what it hands them, and what becomes of those that diverge, fail or collapse."""

import copy
import logging

import pytest
import torch

from neglora.ascend import Diverged
from neglora.methods import METHODS, Method, Unlearned
from neglora.parameters import ASCENT
from neglora.prerequisites import base_of
from neglora.record import Record
from neglora.replicate import run_replicate
from neglora.trial import run_trial
from tests.neglora.conftest import FORGET, SPARSITY
from tests.neglora.tasks import neglora_task, retrain_task, task


@pytest.fixture
def method(monkeypatch):
    """Register a method for the length of a test: a function of the model and its keywords."""

    def register(unlearn, needs=("forget",)):
        monkeypatch.setitem(METHODS, "handmade", Method("handmade", "for a test", needs, ASCENT, unlearn))
        return "handmade"

    return register


def test_a_real_divergence(session, setting):
    record = run_trial(session, task(setting, "neggrad", lr=1e30, epochs=2))
    assert record.status == "diverged"
    assert "step" in record.reason
    assert record.metrics == record.report == {}
    [replicate] = record.replicates
    assert replicate["status"] == "diverged"
    assert replicate["details"]["step"] >= 1
    assert replicate["cost"]["evaluate_seconds"] is None
    assert Record.from_line(record.to_line()) == record


def test_a_replicate_that_diverges_makes_the_trial_diverged_and_the_others_are_kept(session, setting, method):
    def unlearn(model, *, params, masks, seed, forget):
        labels = {label for _, batch in forget for label in batch.tolist()}
        if labels == {5}:
            raise Diverged("the loss became inf", 7)
        return Unlearned(model.eval(), 0)

    replicates = ((FORGET, 0), (5, 0), (7, 0))
    record = run_trial(session, task(setting, method(unlearn), replicates))
    assert record.status == "diverged"
    assert record.reason == "the loss became inf at step 7"
    assert record.metrics == record.report == {}
    assert [replicate["status"] for replicate in record.replicates] == ["ok", "diverged", "ok"]
    assert record.replicates[0]["metrics"]["ua"] is not None
    assert record.replicates[1]["details"] == {"step": 7}
    assert Record.from_line(record.to_line()) == record


def test_logits_that_are_not_finite_are_a_divergence(session, setting, method):
    def unlearn(model, *, params, masks, seed, forget):
        with torch.no_grad():
            model.fc.bias[0] = float("inf")
        return Unlearned(model.eval(), 0)

    record = run_trial(session, task(setting, method(unlearn)))
    assert record.status == "diverged"
    assert "logits are not finite" in record.reason


def test_a_collapsed_model_is_a_result(session, setting, method):
    def unlearn(model, *, params, masks, seed, forget):
        with torch.no_grad():
            model.fc.weight.zero_()
            model.fc.bias.zero_()
            model.fc.bias[0] = 1e30
        return Unlearned(model.eval(), 0)

    record = run_trial(session, task(setting, method(unlearn)))
    assert record.status == "ok"
    assert record.metrics["ua"] == 1.0
    assert record.metrics["ra"] < 0.2
    assert record.metrics["mia_has_signal"] in (True, False)
    assert Record.from_line(record.to_line()) == record


def test_an_exception_makes_it_failed_and_the_worker_goes_on(session, setting, method, caplog):
    def unlearn(model, *, params, masks, seed, forget):
        raise ZeroDivisionError("of a test")

    with caplog.at_level(logging.CRITICAL):
        record = run_trial(session, task(setting, method(unlearn)))
    assert record.status == "failed"
    assert record.reason == "ZeroDivisionError: of a test"
    assert record.metrics == {}
    assert Record.from_line(record.to_line()) == record
    assert run_trial(session, neglora_task(setting)).status == "ok"


def test_what_ran_before_a_failure_is_kept(session, setting):
    record = run_trial(session, neglora_task(setting, replicates=((FORGET, 0), (FORGET, 99))))
    assert record.status == "failed"
    assert "'tiny resnet_nano base seed 99' is missing" in record.reason
    assert [replicate["status"] for replicate in record.replicates] == ["ok"]
    missing = run_trial(session, retrain_task(setting, replicates=((5, 0),)))
    assert missing.status == "failed"
    assert "without 5" in missing.reason


@pytest.mark.parametrize("needs", [("forget",), ("retain",), ("forget", "retain"), ()])
def test_a_method_gets_what_it_declares_and_nothing_else(session, setting, tiny, method, needs):
    seen = {}

    def unlearn(model, *, params, masks, seed, **data):
        seen.update(data)
        return Unlearned(model.eval(), 0)

    run_replicate(session, setting, method(unlearn, needs), METHODS["handmade"].resolve({}), FORGET, 0)
    assert set(seen) == set(needs)
    for need, batches in seen.items():
        labels = torch.cat([labels for _, labels in batches])
        is_forget = tiny.train_labels == FORGET
        expected = tiny.train_labels[is_forget if need == "forget" else ~is_forget]
        assert torch.equal(labels.sort().values, expected.sort().values)


def test_a_method_may_spoil_the_model_it_gets(session, setting, method):
    """It is handed a copy, with the masks of the sparse base."""
    handed = []

    def unlearn(model, *, params, masks, seed, forget):
        handed.append((copy.deepcopy(model.state_dict()), set(masks)))
        for parameter in model.parameters():
            parameter.data.zero_()
        return Unlearned(model.eval(), 0)

    run = task(setting, method(unlearn), sparsity=SPARSITY)
    for _ in range(2):
        assert run_trial(session, run).status == "ok"
    (first, masks), (second, _) = handed
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert masks == set(session.get(base_of(setting, 0, SPARSITY)).masks) != set()


def test_the_seed_and_the_data_order_are_the_replicates(session, setting, method, monkeypatch):
    orders = []

    def unlearn(model, *, params, masks, seed, forget):
        orders.append((seed, [inputs.sum().item() for inputs, _ in forget]))
        return Unlearned(model.eval(), 0)

    base = session.get(base_of(setting, 0, 0.0))
    monkeypatch.setattr(session, "get", lambda wanted: base)
    name, params = method(unlearn), METHODS["handmade"].resolve({"batch_size": 4})
    for seed in (0, 0, 1):
        run_replicate(session, setting, name, params, FORGET, seed)
    first, again, other = orders
    assert first == again
    assert (first[0], other[0]) == (0, 1)
    assert first[1] != other[1]
