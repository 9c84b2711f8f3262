import copy
import logging
from dataclasses import replace

import pytest
import torch

from neglora import trial
from neglora.artifacts import ArtifactStore
from neglora.ascend import Diverged
from neglora.data import split
from neglora.evaluation import infer_dataset, measure
from neglora.methods import METHODS, Method, Unlearned
from neglora.objectives import GAP_METRICS, METRICS
from neglora.parameters import ASCENT
from neglora.prerequisites import base_of, ensure, retrain_of
from neglora.record import Record, trial_id
from neglora.trial import KEPT_MODELS, Session, Task, run_replicate, run_time_ratios, run_trial
from tests.neglora.conftest import FORGET, SPARSITY

#: What differs from run to run, or says when.
CLOCKS = {
    "unlearn_seconds",
    "evaluate_seconds",
    "train_seconds",
    "peak_memory_bytes",
    "time",
    *(name for name, metric in METRICS.items() if metric.timed),
}
EXTRA = {"mia_accuracy", "mia_auc", "mia_has_signal"}
ATTACKS = {"mia_correctness", "mia_entropy", "mia_modified_entropy", "mia_full"}


def task(setting, method="neglora", replicates=((FORGET, 0),), **params):
    cell = {"dataset": "tiny", "model": "resnet_nano", "method": method}
    return Task(
        trial=trial_id(cell, 3),
        cell=cell,
        params=METHODS[method].resolve(params),
        setting=setting,
        replicates=replicates,
        sampler={"generation": 1},
    )


def neglora_task(setting, **changes):
    return task(setting, lr=1e-2, rank=4, targets="last.conv+head", **changes)


def retrain_task(setting, replicates=((FORGET, 0),), sparsities=(0.0, SPARSITY)):
    return replace(task(setting, "retrain", replicates), sparsities=sparsities)


def without_clocks(value):
    if isinstance(value, dict):
        return {name: without_clocks(item) for name, item in value.items() if name not in CLOCKS}
    if isinstance(value, list):
        return [without_clocks(item) for item in value]
    return value


@pytest.fixture(scope="module")
def session(storage):
    return Session(storage)


@pytest.fixture(scope="module")
def record(session, setting):
    """One good trial of NegLoRA on a sparse base."""
    torch.set_num_threads(1)
    return run_trial(session, neglora_task(setting, sparsity=SPARSITY))


def test_a_record_has_all_that_is_promised(record):
    assert record.status == "ok"
    assert record.reason is None
    assert record.fidelity == "full"
    assert record.trial == "tiny-resnet_nano-neglora-0003"
    assert record.sampler == {"generation": 1}
    assert set(record.metrics) == set(METRICS) | EXTRA
    assert set(record.report) == set(METRICS) | EXTRA | ATTACKS
    assert [name for name, value in record.report.items() if value is None] == []
    [replicate] = record.replicates
    assert (replicate["forget"], replicate["seed"], replicate["status"]) == (FORGET, 0, "ok")
    assert replicate["metrics"] == record.metrics
    assert replicate["report"] == record.report
    assert replicate["cost"] == record.cost
    assert record.cost["threads"] == 1
    assert record.cost["unlearn_seconds"] > 0
    assert set(replicate["details"]) == {
        "attack",
        "counts",
        "sparsity",
        "loss_before",
        "loss_after",
        "steps",
        "epochs",
    }
    assert {"neglora", "python", "torch", "timm", "peft", "numpy", "revision", "host", "time"} <= set(record.provenance)


def test_a_record_survives_its_line(record):
    assert Record.from_line(record.to_line()) == record


def test_the_ascent_is_described(record, tiny):
    details = record.replicates[0]["details"]
    splits = split(tiny, FORGET, holdout=0.5)
    assert details["counts"] == splits.counts
    assert details["steps"] == -(-len(splits.forget) // 32)
    assert details["epochs"] == 1
    assert details["loss_after"] > details["loss_before"]
    sparsity = details["sparsity"]
    assert sparsity["before"] == sparsity["after"] == pytest.approx(SPARSITY, abs=1e-4)
    assert sparsity["merged"] < sparsity["before"]


def test_measurements_are_those_of_the_unlearned_model(session, setting, tiny):
    """The same numbers from the model that is handed out, on each half."""
    replicate, unlearned = run_replicate(session, setting, "neglora", neglora_task(setting).params, FORGET, 0)
    splits = split(tiny, FORGET, holdout=0.5)
    outputs = infer_dataset(unlearned.model, tiny, 64)
    for half, measured in ((splits.test, replicate["metrics"]), (splits.test_report, replicate["report"])):
        values, _ = measure(
            forget=outputs.train[splits.forget],
            retain=outputs.train[splits.retain],
            test=outputs.test[half],
            test_forget=outputs.test[splits.test_forget],
            seed=0,
            attacks="all",
        )
        assert {name: measured[name] for name in values if name in measured} == {
            name: value for name, value in values.items() if name in measured
        }
    assert replicate["metrics"]["ta"] == measure_ta(outputs, splits.test)
    assert replicate["cost"]["trainable_parameters"] == unlearned.trainable_parameters


def measure_ta(outputs, half):
    part = outputs.test[half]
    return (part.logits.argmax(1) == part.labels).double().mean().item()


def test_distances_to_retrain_by_hand(record, session, setting):
    retrain = run_trial(session, retrain_task(setting))
    for values, reference in ((record.metrics, retrain.metrics), (record.report, retrain.report)):
        distances = {name: abs(values[name] - reference[name]) for name in GAP_METRICS}
        assert values["gap"] == pytest.approx(sum(distances.values()) / 4)
        assert values["tow"] == pytest.approx((1 - distances["ua"]) * (1 - distances["ra"]) * (1 - distances["ta"]))
    assert record.metrics["gap"] > 0


def test_run_time_ratios_by_hand(record, session, setting):
    facts = session.get(retrain_of(setting, 0, FORGET)).artifact.facts
    ratio = record.cost["unlearn_seconds"] / facts["train_seconds"]
    assert record.metrics["rte"] == pytest.approx(ratio)
    assert record.metrics["speedup"] == pytest.approx(1 / ratio)
    assert record.metrics["rte_epoch"] == pytest.approx(ratio * facts["epochs"] / 1)


COST = {"unlearn_seconds": 2.0, "device": "cpu", "threads": 1}
RETRAIN = {"train_seconds": 100.0, "epochs": 20, "device": "cpu", "threads": 1}


def test_ratios_in_closed_form():
    assert run_time_ratios(COST, 4, RETRAIN) == {"rte": 0.02, "rte_epoch": 0.1, "speedup": 50.0}


@pytest.mark.parametrize(
    ("cost", "epochs", "retrain"),
    [
        (COST | {"threads": 2}, 1, RETRAIN),
        (COST | {"device": "NVIDIA H200"}, 1, RETRAIN),
        (COST, 1, None),
        (COST, None, RETRAIN),
        (COST | {"unlearn_seconds": None}, 1, RETRAIN),
        (COST, 1, RETRAIN | {"train_seconds": 0.0}),
    ],
)
def test_ratios_that_mean_nothing_are_null(cost, epochs, retrain):
    assert run_time_ratios(cost, epochs, retrain) == {"rte": None, "rte_epoch": None, "speedup": None}


def test_on_other_threads_than_retrains_there_is_no_ratio(session, setting, monkeypatch):
    asked = []
    monkeypatch.setattr(trial, "use_threads", asked.append)
    record = run_trial(session, neglora_task(replace(setting, threads=2)))
    assert record.status == "ok"
    assert asked == [2]
    assert record.cost["threads"] == 2
    assert record.metrics["rte"] is record.metrics["rte_epoch"] is record.metrics["speedup"] is None
    assert record.metrics["gap"] is not None


@pytest.mark.parametrize("method", ["neglora", "neggrad"])
def test_the_same_seeds_give_the_same_record(storage, setting, method):
    """In sessions that know nothing of each other, on workers with another past."""
    params = {"lr": 1e-3, "epochs": 2, "sparsity": SPARSITY} | ({"targets": "last.conv"} if method == "neglora" else {})
    first = run_trial(Session(storage), task(setting, method, **params))
    worker = Session(storage)
    torch.manual_seed(99)
    run_trial(worker, task(setting, "partial_neggrad", lr=1e-3))
    second = run_trial(worker, task(setting, method, **params))
    assert first.status == "ok"
    assert without_clocks(vars(first)) == without_clocks(vars(second))


def test_a_trial_leaves_what_the_session_keeps(session, setting):
    kept = session.get(base_of(setting, 0, 0.0))
    before = {name: value.clone() for name, value in kept.model.state_dict().items()}
    logits = session.outputs(kept, setting).train.logits.clone()
    for method, params in (("neggrad", {}), ("partial_neggrad", {}), ("neglora", {"targets": "conv"})):
        assert run_trial(session, task(setting, method, lr=1e-3, batchnorm="update", **params)).status == "ok"
    assert all(torch.equal(value, before[name]) for name, value in kept.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in kept.model.parameters())
    assert torch.equal(infer_dataset(kept.model, session.dataset(setting), 64).train.logits, logits)


def test_retrains_record_has_the_bases(session, setting, record):
    retrain = run_trial(session, retrain_task(setting))
    assert retrain.status == "ok"
    assert retrain.params == {}
    for values in (retrain.metrics, retrain.report):
        assert (values["gap"], values["tow"], values["rte"], values["rte_epoch"], values["speedup"]) == (0, 1, 1, 1, 1)
    [replicate] = retrain.replicates
    assert [base["sparsity"] for base in replicate["bases"]] == [0.0, SPARSITY]
    for base in replicate["bases"]:
        kept = session.get(base_of(setting, 0, base["sparsity"]))
        assert base["cost"] == {"train_seconds": kept.artifact.facts["train_seconds"]}
        assert base["parameters"] == kept.artifact.facts["parameters"]
        assert set(base["metrics"]) == set(METRICS) - {"rte", "rte_epoch", "speedup"} | EXTRA
        assert 0 < base["metrics"]["gap"] < 1
    assert (
        retrain.cost["unlearn_seconds"] == session.get(retrain_of(setting, 0, FORGET)).artifact.facts["train_seconds"]
    )
    assert Record.from_line(retrain.to_line()) == retrain


def test_without_retrain_there_is_no_reference(session, setting):
    """Nobody retrained without class 5: no distance is made up."""
    record = run_trial(session, neglora_task(setting, replicates=((5, 0),)))
    assert record.status == "ok"
    for name in ("gap", "tow", "rte", "rte_epoch", "speedup"):
        assert record.metrics[name] is None
    assert record.metrics["ua"] is not None


def test_a_forget_class_by_name_is_kept_as_the_user_named_it(session, setting):
    by_name = run_trial(session, neglora_task(setting, replicates=((str(FORGET), 0),)))
    by_index = run_trial(session, neglora_task(setting))
    assert by_name.replicates[0]["forget"] == str(FORGET)
    assert without_clocks(by_name.metrics) == without_clocks(by_index.metrics)


def test_replicates_are_averaged(session, setting):
    record = run_trial(session, neglora_task(setting, replicates=((FORGET, 0), (5, 0))))
    assert [replicate["forget"] for replicate in record.replicates] == [FORGET, 5]
    for name in ("ua", "ra", "ta", "mia"):
        values = [replicate["metrics"][name] for replicate in record.replicates]
        assert record.metrics[name] == pytest.approx(sum(values) / 2)
    assert record.metrics["gap"] is None, "one of the two has no Retrain"
    seconds = [replicate["cost"]["unlearn_seconds"] for replicate in record.replicates]
    assert record.cost["unlearn_seconds"] == pytest.approx(sum(seconds))


def test_without_a_holdout_the_report_repeats_the_selection(session, setting):
    whole = replace(setting, holdout=0.0)
    assert session.find(base_of(whole, 0, 0.0)) is not None, "the same artifacts serve"
    record = run_trial(session, neglora_task(whole))
    assert {name: record.report[name] for name in record.metrics} == record.metrics
    counts = record.replicates[0]["details"]["counts"]
    assert counts["test"] == counts["test_report"]


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


@pytest.fixture
def method(monkeypatch):
    """Register a method for the length of a test: a function of the model and its keywords."""

    def register(unlearn, needs=("forget",)):
        monkeypatch.setitem(METHODS, "handmade", Method("handmade", "for a test", needs, ASCENT, unlearn))
        return "handmade"

    return register


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


def test_each_model_is_inferred_once(storage, setting, monkeypatch):
    inferred = []
    infer = trial.infer_dataset

    def counted(model, dataset, batch_size):
        inferred.append(model)
        return infer(model, dataset, batch_size)

    monkeypatch.setattr(trial, "infer_dataset", counted)
    session = Session(storage)
    for _ in range(3):
        run_trial(session, neglora_task(setting))
    run_trial(session, retrain_task(setting, sparsities=(0.0,)))
    assert len(inferred) == 2 + 3, "base and Retrain once, and every trial's own model"


def test_a_session_keeps_so_many_models_and_no_more(storage, setting, tiny, monkeypatch):
    monkeypatch.setattr(trial, "KEPT_MODELS", 2)
    assert KEPT_MODELS >= 2
    session = Session(storage)
    wanted = [base_of(setting, 0, 0.0), base_of(setting, 0, SPARSITY), retrain_of(setting, 0, FORGET)]
    dense, sparse = (session.get(one) for one in wanted[:2])
    assert session.get(wanted[0]) is dense, "used again, so that the sparse one is older"
    session.get(wanted[2])
    assert session.get(wanted[0]) is dense
    assert session.get(wanted[1]) is not sparse


def test_what_is_made_later_is_found(setting, tiny, tmp_path):
    session = Session(tmp_path)
    quick = replace(setting, training=setting.training | {"epochs": 1})
    wanted = base_of(quick, 0, 0.0)
    with pytest.raises(LookupError, match="missing"):
        session.get(wanted)
    ensure(wanted, ArtifactStore(tmp_path / "artifacts"), tiny)
    assert session.get(wanted).artifact.facts["epochs"] == 1
