"""What a warm worker keeps between trials."""

from dataclasses import replace

import pytest
import torch

from neglora import session as sessions
from neglora.artifacts import ArtifactStore
from neglora.evaluation import infer_dataset
from neglora.prerequisites import base_of, ensure, retrain_of
from neglora.session import KEPT_MODELS, Session
from neglora.trial import run_trial
from tests.neglora.conftest import FORGET_SET, SPARSITY
from tests.neglora.tasks import neglora_task, retrain_task, task


def test_a_trial_leaves_what_the_session_keeps(session, setting):
    kept = session.get(base_of(setting, 0, 0.0))
    before = {name: value.clone() for name, value in kept.model.state_dict().items()}
    logits = session.outputs(kept, setting).train.logits.clone()
    for method, params in (("neggrad", {}), ("partial_neggrad", {}), ("neglora", {"targets": "conv"})):
        assert run_trial(session, task(setting, method, lr=1e-3, batchnorm="update", **params)).status == "ok"
    assert all(torch.equal(value, before[name]) for name, value in kept.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in kept.model.parameters())
    assert torch.equal(infer_dataset(kept.model, session.dataset(setting), 64).train.logits, logits)


@pytest.fixture
def inferred(monkeypatch):
    """Grows by each finished model whose whole dataset is inferred."""
    found, infer = [], sessions.infer_dataset
    monkeypatch.setattr(sessions, "infer_dataset", lambda model, *rest: (found.append(model), infer(model, *rest))[1])
    return found


def test_each_finished_model_is_inferred_once(storage, setting, inferred):
    session = Session(storage)
    for _ in range(3):
        run_trial(session, neglora_task(setting))
    assert len(inferred) == 1, "Retrain; of the base only the loss on D_f is needed"
    run_trial(session, retrain_task(setting, sparsities=(0.0,)))
    assert len(inferred) == 2, "the base too"


def test_a_model_that_is_loaded_again_is_not_measured_again(storage, setting, inferred, monkeypatch):
    monkeypatch.setattr(sessions, "KEPT_MODELS", 1)
    session = Session(storage)
    records = [run_trial(session, neglora_task(setting)) for _ in range(3)]
    assert len(inferred) == 1, "Retrain once, though it does not stay"
    assert len({record.replicates[0]["details"]["loss_before"] for record in records}) == 1


def test_a_session_keeps_so_many_models_and_no_more(storage, setting, tiny, monkeypatch):
    monkeypatch.setattr(sessions, "KEPT_MODELS", 2)
    assert KEPT_MODELS >= 2
    session = Session(storage)
    wanted = [base_of(setting, 0, 0.0), base_of(setting, 0, SPARSITY), retrain_of(setting, 0, FORGET_SET)]
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
