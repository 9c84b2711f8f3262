from dataclasses import replace

import pytest
import torch

from neglora import trial
from neglora.data import split
from neglora.evaluation import infer_dataset, measure
from neglora.objectives import AUDIT_METRICS, GAP_METRICS, METRICS
from neglora.prerequisites import base_of, retrain_of
from neglora.record import Record
from neglora.replicate import run_replicate, run_time_ratios
from neglora.session import Session
from neglora.trial import run_trial
from tests.neglora.conftest import FORGET, FORGET_SET, SPARSITY
from tests.neglora.tasks import neglora_task, retrain_task, task, without_clocks

EXTRA = {"mia_accuracy", "mia_auc", "mia_has_signal"}
#: What every record has; audits have to be asked for.
ALWAYS = set(METRICS) - set(AUDIT_METRICS)
ATTACKS = {"mia_correctness", "mia_entropy", "mia_modified_entropy", "mia_full"}


@pytest.fixture(scope="module")
def record(session, setting):
    """One good trial of NegLoRA on a sparse base."""
    torch.set_num_threads(1)
    return run_trial(session, neglora_task(setting, sparsity=SPARSITY))


def test_a_record_has_all_that_is_promised(record, session, setting):
    assert record.status == "ok"
    assert record.reason is None
    assert record.fidelity == "full"
    assert record.trial == "tiny-resnet_nano-neglora-0003"
    assert record.sampler == {"generation": 1}
    assert set(record.metrics) == ALWAYS | EXTRA
    assert set(record.report) == ALWAYS | EXTRA | ATTACKS
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
        "classes",
        "called",
        "confidences",
        "sparsity",
        "loss_before",
        "loss_after",
        "steps",
        "epochs",
    }
    assert {"neglora", "python", "torch", "timm", "peft", "numpy", "revision", "host", "time"} <= set(record.provenance)
    assert record.provenance["data"] == session.dataset(setting).fingerprint


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
    facts = session.get(retrain_of(setting, 0, FORGET_SET)).artifact.facts
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


def test_retrains_record_has_the_bases(session, setting, record):
    retrain = run_trial(session, retrain_task(setting))
    assert retrain.status == "ok"
    assert retrain.params == {}
    for values in (retrain.metrics, retrain.report):
        assert (values["gap"], values["tow"], values["rte"], values["rte_epoch"], values["speedup"]) == (0, 1, 1, 1, 1)
    [replicate] = retrain.replicates
    assert replicate["details"]["class_names"] == list(session.dataset(setting).info.classes)
    assert "class_names" not in record.replicates[0]["details"]
    assert [base["sparsity"] for base in replicate["bases"]] == [0.0, SPARSITY]
    for found in (replicate, record.replicates[0], *replicate["bases"]):
        train, called = found["details"]["classes"]["train"], found["details"]["called"]
        assert called[FORGET] == train["right"][FORGET] <= train["total"][FORGET] == sum(called)
        assert 0 < sum(train["right"]) < sum(train["total"])
        assert 1 - called[FORGET] / sum(called) == pytest.approx(found["report"]["ua"])
        assert isinstance(found["details"]["attack"]["report"]["non_member"], list)
    for base in replicate["bases"]:
        kept = session.get(base_of(setting, 0, base["sparsity"]))
        assert base["cost"] == {"train_seconds": kept.artifact.facts["train_seconds"]}
        assert base["parameters"] == kept.artifact.facts["parameters"]
        assert set(base["metrics"]) == ALWAYS - {"rte", "rte_epoch", "speedup"} | EXTRA
        assert 0 < base["metrics"]["gap"] < 1
    facts = session.get(retrain_of(setting, 0, FORGET_SET)).artifact.facts
    assert retrain.cost["unlearn_seconds"] == facts["train_seconds"]
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
