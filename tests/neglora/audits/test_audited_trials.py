from dataclasses import asdict, replace

import pytest

from neglora.audits import AUDITS, material_of, run_audits
from neglora.data import split
from neglora.objectives import AUDIT_METRICS, METRICS
from neglora.prerequisites import base_of, retrain_of
from neglora.record import Record
from neglora.replicate import run_replicate, run_stages
from neglora.reproduce import differences, reproduce, reproduce_retrain
from neglora.session import Session
from neglora.setting import Setting
from neglora.trial import run_trial
from tests.neglora.conftest import FORGET, FORGET_SET, SPARSITY
from tests.neglora.tasks import neglora_task, retrain_task, without_clocks


@pytest.fixture(scope="module")
def audited(setting):
    return replace(setting, audits=("relearn", "probe"))


@pytest.fixture(scope="module")
def record(session, audited):
    return run_trial(session, neglora_task(audited))


def test_every_audit_has_its_metric():
    assert tuple(AUDITS) == AUDIT_METRICS
    assert all(METRICS[name].direction == "minimize" for name in AUDITS)
    assert {audit.name for audit in AUDITS.values()} == set(AUDITS)


def test_a_record_holds_the_values_and_all_that_was_found(record, session, audited, tiny):
    assert record.status == "ok"
    assert record.metrics["relearn"] is not None
    for name in AUDITS:
        assert record.metrics[name] == record.report[name]
    [replicate] = record.replicates
    assert set(replicate["details"]["audits"]) == set(AUDITS)
    assert [shot["asked"] for shot in replicate["details"]["audits"]["relearn"]["shots"]] == [1, 10, 100]
    cost = record.cost
    assert 0 < cost["audit_seconds"] <= cost["evaluate_seconds"]
    assert Record.from_line(record.to_line()) == record


def test_the_values_are_those_of_the_model_that_is_handed_out(record, session, audited, tiny):
    replicate, unlearned = run_replicate(session, audited, "neglora", neglora_task(audited).params, FORGET, 0)
    found = run_audits(AUDITS, unlearned.model, material_of(tiny, split(tiny, FORGET, holdout=0.5), 64), seed=0)
    assert replicate["details"]["audits"] == record.replicates[0]["details"]["audits"] == found.details


def test_audits_leave_all_else_as_it_is(record, session, setting):
    plain = run_trial(session, neglora_task(setting))
    assert "relearn" not in plain.metrics
    assert "audits" not in plain.replicates[0]["details"]
    assert plain.cost["audit_seconds"] is None
    for half in ("metrics", "report"):
        values = {name: value for name, value in getattr(record, half).items() if name not in AUDITS}
        assert without_clocks(values) == without_clocks(getattr(plain, half))


def test_retrain_and_bases_are_asked_the_same(session, audited, tiny):
    retrain = run_trial(session, retrain_task(audited))
    [replicate] = retrain.replicates
    material = material_of(tiny, split(tiny, FORGET, holdout=0.5), 64)
    for measured, wanted in (
        (replicate, retrain_of(audited, 0, FORGET_SET)),
        (replicate["bases"][0], base_of(audited, 0, 0.0)),
        (replicate["bases"][1], base_of(audited, 0, SPARSITY)),
    ):
        kept = session.get(wanted)
        found = run_audits(AUDITS, kept.model, material, seed=0, masks=kept.masks)
        assert measured["details"]["audits"] == found.details
        assert {name: measured["report"][name] for name in AUDITS} == found.values
    assert retrain.report["relearn"] <= 0.1 < 0.9 <= replicate["bases"][0]["report"]["relearn"]
    assert retrain.cost["audit_seconds"] > 0
    assert Record.from_line(retrain.to_line()) == retrain


def test_a_run_that_is_measured_on_its_way_is_audited_there_too(session, audited):
    """Also where the model of a stop still takes activations in place of images."""
    params = neglora_task(audited, epochs=2).params
    stop, whole = run_stages(session, audited, "neglora", params, FORGET, 0, stops=[1])
    alone, _ = run_replicate(session, audited, "neglora", params | {"epochs": 1}, FORGET, 0)
    assert without_clocks(stop[0]["details"]["audits"]) == without_clocks(alone["details"]["audits"])
    last, _ = run_replicate(session, audited, "neglora", params, FORGET, 0)
    assert last["details"]["audits"] == whole[0]["details"]["audits"]


def test_a_search_on_samples_is_not_audited_and_a_confirmation_is(session, audited):
    staged = replace(audited, retain_samples=50, test_samples=30)
    params = neglora_task(staged).params
    searched, _ = run_replicate(session, staged, "neglora", params, FORGET, 0, "search")
    assert not set(AUDITS) & {*searched["metrics"], *searched["report"]}
    assert searched["cost"]["audit_seconds"] is None
    for fidelity in ("full", "confirm"):
        confirmed, _ = run_replicate(session, staged, "neglora", params, FORGET, 0, fidelity)
        assert set(AUDITS) <= set(confirmed["metrics"])


def test_a_random_share_is_refused(session, audited):
    record = run_trial(session, neglora_task(audited, replicates=(({"random": 0.1}, 0),)))
    assert record.status == "failed"
    assert "a random share has no class" in record.reason


def test_audits_are_reproduced(record, session, audited, storage):
    [replicate] = record.replicates
    _, unlearned = run_replicate(session, audited, "neglora", record.params, FORGET, 0)
    for adapter in (unlearned.adapter, None):
        again = reproduce(Session(storage), audited, "neglora", record.params, replicate, adapter)
        assert again.metrics["relearn"] == record.metrics["relearn"]
        assert differences(replicate, again, exact=True) == []
    retrain = run_trial(session, retrain_task(audited)).replicates[0]
    assert differences(retrain, reproduce_retrain(session, audited, retrain), exact=True) == []


def test_a_setting_survives_json(audited):
    plain = asdict(audited)
    plain["audits"] = list(plain["audits"])
    assert Setting.of(plain) == audited
    del plain["audits"]
    assert Setting.of(plain).audits == (), "of versions that had no audits"
