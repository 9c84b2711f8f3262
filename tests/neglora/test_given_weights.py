"""Bases that were not trained here: from a file of weights, or going on from timm's pretrained ones."""

from dataclasses import replace

import pytest
import safetensors.torch
import torch

from neglora import prerequisites
from neglora.artifacts import ArtifactStore
from neglora.models import WeightsError, build_model, weights_digest
from neglora.prerequisites import PRETRAINED, base_of, ensure, find, retrain_of
from neglora.replicate import measure_base
from neglora.session import Session
from neglora.trial import run_trial
from tests.neglora.conftest import FORGET_SET, SPARSITY
from tests.neglora.tasks import neglora_task, task


@pytest.fixture(scope="module")
def trained(storage, setting, tiny):
    """The tensors of a base that was trained."""
    return find(base_of(setting, 0, 0.0), ArtifactStore(storage / "artifacts"), tiny).tensors


@pytest.fixture(scope="module")
def file(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "mine.safetensors"
    safetensors.torch.save_file(trained, path)
    return path


@pytest.fixture(scope="module")
def given(setting, file):
    return replace(setting, weights=str(file))


@pytest.fixture(scope="module")
def made(given, tiny, tmp_path_factory):
    """A storage with everything that trials on the file's weights start from."""
    folder = tmp_path_factory.mktemp("given")
    for wanted in (base_of(given, 0, 0.0), base_of(given, 0, SPARSITY), retrain_of(given, 0, FORGET_SET)):
        ensure(wanted, ArtifactStore(folder / "artifacts"), tiny)
    return folder


def same(found, expected):
    return set(found) == set(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


def refuse(*arguments, **keywords):
    raise AssertionError("trained")


def test_the_base_is_exactly_the_file_and_is_not_trained(given, file, trained, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(prerequisites, "train", refuse)
    base = ensure(base_of(given, 5, 0.0), ArtifactStore(tmp_path), tiny)
    assert same(base.tensors, trained)
    facts = base.facts
    assert (facts["curve"], facts["epochs"], facts["train_seconds"]) == ([], 0, None)
    assert facts["weights"] == {"file": "mine.safetensors", "sha256": weights_digest(file)}
    assert facts["test_accuracy"] > 0.3


def test_every_seed_has_the_same_base(given):
    keys = [base_of(given, seed, 0.0).determines("f") for seed in (0, 1)]
    assert keys[0] == keys[1]
    assert base_of(given, 0, 0.9).determines("f") != base_of(given, 1, 0.9).determines("f")


def test_what_follows_the_file(given, setting, tmp_path):
    """Base and sparse bases; not the recipe of the base, and not Retrain."""
    other = tmp_path / "other.pt"
    torch.save(build_model("resnet_nano", num_classes=10, image_size=32, channels=3, seed=1).state_dict(), other)
    moved = replace(given, weights=str(other))
    longer = replace(given, training=given.training | {"epochs": 9})
    for level in (0.0, 0.9):
        assert base_of(moved, 0, level).determines("f") != base_of(given, 0, level).determines("f")
    assert base_of(longer, 0, 0.0).determines("f") == base_of(given, 0, 0.0).determines("f")
    assert retrain_of(given, 0, FORGET_SET).determines("f") == retrain_of(setting, 0, FORGET_SET).determines("f")


def test_retrain_never_sees_the_file(given, setting, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(prerequisites, "load_weights", refuse)
    quick = {"epochs": 1, "warmup_epochs": 0}
    found = [
        ensure(retrain_of(replace(each, training=each.training | quick), 0, FORGET_SET), ArtifactStore(folder), tiny)
        for each, folder in ((given, tmp_path / "given"), (setting, tmp_path / "plain"))
    ]
    assert same(found[0].tensors, found[1].tensors)


def test_a_sparse_base_is_pruned_from_the_file(given, trained, made, tiny):
    sparse = find(base_of(given, 0, SPARSITY), ArtifactStore(made / "artifacts"), tiny)
    masks = {name.removeprefix("mask:"): mask for name, mask in sparse.tensors.items() if name.startswith("mask:")}
    kept = torch.cat([trained[name][mask].abs() for name, mask in masks.items()])
    taken = torch.cat([trained[name][~mask].abs() for name, mask in masks.items()])
    assert taken.max() <= kept.min()


@pytest.mark.parametrize("method", ["neglora", "retrain"])
def test_a_trial_starts_from_it(given, made, method):
    session = Session(made)
    record = run_trial(session, neglora_task(given) if method == "neglora" else task(given, "retrain"))
    assert record.status == "ok", record.reason
    assert record.metrics["ua"] is not None
    measured, kept = measure_base(session, given, FORGET_SET, 0, 0.0)
    assert measured["cost"] == {"train_seconds": None}
    assert kept.artifact.facts["weights"]


def test_a_file_that_is_missing_or_does_not_fit(given, tiny, tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.pt"):
        ensure(base_of(replace(given, weights=str(tmp_path / "nowhere.pt")), 0, 0.0), ArtifactStore(tmp_path), tiny)
    wide = build_model("resnet_nano", num_classes=12, image_size=32, channels=3, seed=0)
    torch.save(wide.state_dict(), tmp_path / "wide.pt")
    with pytest.raises(WeightsError, match="classifier has 12 classes, the dataset 10"):
        ensure(base_of(replace(given, weights=str(tmp_path / "wide.pt")), 0, 0.0), ArtifactStore(tmp_path), tiny)


def test_pretrained_weights_are_where_base_and_retrain_start(setting, tiny, tmp_path, monkeypatch):
    """With other weights in place of timm's, which would be downloaded."""
    started = []

    def pretrained(name, **keywords):
        model = build_model(name, **keywords | {"seed": 77})
        started.append({key: value.clone() for key, value in model.state_dict().items()})
        return model

    monkeypatch.setattr(prerequisites, "pretrained_model", pretrained)
    gentle = {"epochs": 1, "warmup_epochs": 0, "lr": 1e-9, "weight_decay": 0.0}
    pre = replace(setting, model="timm:test_vit", weights=PRETRAINED, training=setting.training | gentle)
    store = ArtifactStore(tmp_path)
    for wanted in (base_of(pre, 0, 0.0), retrain_of(pre, 0, FORGET_SET)):
        artifact = ensure(wanted, store, tiny)
        for name, tensor in artifact.tensors.items():
            assert torch.allclose(tensor, started[-1][name], atol=1e-6), name
        assert artifact.facts["weights"] == {"timm": "test_vit"}
        assert artifact.facts["train_seconds"] > 0
        plain = replace(wanted, setting=replace(pre, weights=None))
        assert wanted.determines("f") != plain.determines("f")
    assert len(started) == 2


def test_a_model_without_pretrained_weights(setting, tiny, tmp_path):
    pre = replace(setting, weights=PRETRAINED)
    assert base_of(pre, 0, 0.0).determines("f") != base_of(setting, 0, 0.0).determines("f")
    with pytest.raises(WeightsError, match="no pretrained weights for resnet_nano"):
        ensure(base_of(pre, 0, 0.0), ArtifactStore(tmp_path), tiny)
