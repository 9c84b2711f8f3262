from dataclasses import asdict, replace

import pytest
import torch
from torch.nn import functional

from neglora import prerequisites
from neglora.artifacts import ArtifactStore
from neglora.data import split
from neglora.evaluation import infer_dataset
from neglora.methods import METHODS
from neglora.metrics import accuracy
from neglora.models import MODELS
from neglora.prerequisites import (
    MASK,
    Prerequisite,
    Setting,
    base_of,
    ensure,
    find,
    load_model,
    needed,
    retrain_of,
)
from neglora.prune import measured_sparsity
from tests.neglora.conftest import FORGET, SPARSITY


@pytest.fixture
def store(storage):
    return ArtifactStore(storage / "artifacts")


@pytest.fixture
def quick(setting):
    """One epoch, for what is made within a test."""
    return replace(setting, training=setting.training | {"epochs": 1, "warmup_epochs": 0})


def loaded(wanted, store, tiny):
    artifact = find(wanted, store, tiny)
    model, masks = load_model(artifact, wanted.setting, tiny)
    return artifact, model, masks


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_of_retrain_differs_from_the_bases(quick, tiny, tmp_path, model):
    """Fresh weights and no trace of the base; the statistics of its BatchNorm too."""
    quick = replace(quick, model=model)
    store = ArtifactStore(tmp_path)
    base = ensure(base_of(quick, 0, 0.0), store, tiny)
    retrained = ensure(retrain_of(quick, 0, FORGET), store, tiny)
    assert set(base.tensors) == set(retrained.tensors)
    names = [name for name in base.tensors if not name.endswith("num_batches_tracked")]
    assert len(names) > 40
    assert [name for name in names if torch.equal(base.tensors[name], retrained.tensors[name])] == []


def test_retrain_sees_the_retained_images_alone(quick, tiny, tmp_path, monkeypatch):
    seen = []
    method = METHODS["retrain"]

    def watched(model, **arguments):
        seen.append(arguments["retain"].labels)
        return method.unlearn(model, **arguments)

    monkeypatch.setitem(METHODS, "retrain", replace(method, unlearn=watched))
    ensure(retrain_of(quick, 0, FORGET), ArtifactStore(tmp_path), tiny)
    [labels] = seen
    assert torch.equal(labels, tiny.train_labels[split(tiny, FORGET).retain])
    assert FORGET not in labels.tolist()


def test_retrain_never_learned_what_was_to_be_forgotten(setting, store, tiny):
    splits = split(tiny, FORGET)
    losses = {}
    for wanted in (base_of(setting, 0, 0.0), retrain_of(setting, 0, FORGET)):
        _, model, _ = loaded(wanted, store, tiny)
        outputs = infer_dataset(model, tiny, 64).train[splits.forget]
        losses[wanted.kind] = functional.cross_entropy(outputs.logits, outputs.labels).item()
    assert losses["retrain"] > losses["base"] + 0.1


def test_the_base_learned_something(setting, store, tiny):
    artifact, model, masks = loaded(base_of(setting, 0, 0.0), store, tiny)
    outputs = infer_dataset(model, tiny, 64).test
    assert accuracy(outputs.logits, outputs.labels) == artifact.facts["test_accuracy"] > 0.3
    assert masks == {}
    assert not model.training


def test_facts_of_an_artifact(setting, store, tiny):
    for wanted, epochs in (
        (base_of(setting, 0, 0.0), 3),
        (base_of(setting, 0, SPARSITY), 1),
        (retrain_of(setting, 0, FORGET), 3),
    ):
        artifact, model, _ = loaded(wanted, store, tiny)
        facts = artifact.facts
        assert [entry["epoch"] for entry in facts["curve"]] == list(range(1, epochs + 1))
        assert facts["epochs"] == epochs
        assert facts["train_seconds"] == pytest.approx(sum(entry["seconds"] for entry in facts["curve"]))
        assert facts["parameters"] == sum(parameter.numel() for parameter in model.parameters())
        assert facts["sparsity"] == measured_sparsity(model)
        assert facts["title"] == wanted.title
        assert facts["threads"] == 1
        assert facts["device"] == "cpu" if not torch.cuda.is_available() else facts["device"]


def test_a_sparse_base_has_its_masks(setting, store, tiny):
    artifact, model, masks = loaded(base_of(setting, 0, SPARSITY), store, tiny)
    parameters = dict(model.named_parameters())
    assert masks
    for name, mask in masks.items():
        assert mask.dtype == torch.bool
        assert artifact.tensors[f"{MASK}{name}"].shape == parameters[name].shape
        assert not parameters[name][~mask].any()
    total = sum(mask.numel() for mask in masks.values())
    assert abs(measured_sparsity(model) - SPARSITY) <= 1 / total
    assert abs(sum(int((~mask).sum()) for mask in masks.values()) - SPARSITY * total) <= 1


def test_a_sparse_base_was_recovered_from_its_dense_one(setting, store, tiny):
    """Where the mask is true the weights moved on, and they are those that were largest."""
    dense = find(base_of(setting, 0, 0.0), store, tiny).tensors
    _, model, masks = loaded(base_of(setting, 0, SPARSITY), store, tiny)
    kept = torch.cat([dense[name][mask].abs() for name, mask in masks.items()])
    taken = torch.cat([dense[name][~mask].abs() for name, mask in masks.items()])
    assert taken.max() <= kept.min()
    weights = torch.cat([model.get_parameter(name)[mask].abs() for name, mask in masks.items()])
    assert not torch.equal(weights, kept)


def test_structured_pruning_is_a_matter_of_the_recipe(quick, tiny, tmp_path):
    structured = replace(quick, training=quick.training | {"pruning": "structured"})
    wanted = base_of(structured, 0, 0.5)
    store = ArtifactStore(tmp_path)
    ensure(wanted, store, tiny)
    _, _, masks = loaded(wanted, store, tiny)
    assert "fc.weight" not in masks
    rows = [mask.flatten(1) for mask in masks.values()]
    assert all(torch.equal(mask.all(1), mask.any(1)) for mask in rows)


def test_the_second_call_does_not_train_again(quick, tiny, tmp_path, monkeypatch):
    store = ArtifactStore(tmp_path)
    epochs = []
    sparse = base_of(quick, 0, SPARSITY)
    first = ensure(sparse, store, tiny, lambda epoch, count: epochs.append((epoch.epoch, count)))
    assert epochs == [(1, 1)], "told of the recovery"
    assert find(sparse.needs, store, tiny) is not None, "what it needs was made with it"

    def refuse(*arguments, **keywords):
        raise AssertionError("trained again")

    monkeypatch.setattr(prerequisites, "train", refuse)
    again = ensure(sparse, ArtifactStore(tmp_path), tiny)
    assert again.facts == first.facts
    assert all(torch.equal(again.tensors[name], first.tensors[name]) for name in first.tensors)


def test_the_same_setting_gives_the_same_weights(quick, tiny, tmp_path):
    def tensors(folder, seed):
        return ensure(base_of(quick, seed, 0.0), ArtifactStore(tmp_path / folder), tiny).tensors

    first, again, other = tensors("first", 0), tensors("again", 0), tensors("first", 1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


SETTING = Setting(dataset="digits", model="tinyvit_nano")


def key(wanted: Prerequisite, fingerprint: str = "f") -> str:
    return str(wanted.determines(fingerprint))


@pytest.mark.parametrize("wanted", [base_of(SETTING, 0, 0.0), base_of(SETTING, 0, 0.9), retrain_of(SETTING, 0, 3)])
def test_the_key_follows_what_determines_the_weights(wanted):
    changed = [
        key(replace(wanted, seed=1)),
        key(wanted, "other data"),
        key(replace(wanted, setting=replace(SETTING, model="resnet_nano"))),
    ]
    for name, value in (("epochs", 3), ("lr", 1e-4), ("batch_size", 8), ("weight_decay", 0.0), ("shift", 0)):
        changed.append(key(replace(wanted, setting=replace(SETTING, training={name: value}))))
    assert key(wanted) not in changed
    assert len(set(changed)) == len(changed)


@pytest.mark.parametrize("wanted", [base_of(SETTING, 0, 0.0), base_of(SETTING, 0, 0.9), retrain_of(SETTING, 0, 3)])
@pytest.mark.parametrize(
    "change", [{"holdout": 0.5}, {"split_seed": 3}, {"threads": 4}, {"batch_size": 7}, {"attacks": "confidence"}]
)
def test_the_key_does_not_follow_how_it_is_measured(wanted, change):
    assert key(replace(wanted, setting=replace(SETTING, **change))) == key(wanted)


def test_the_key_of_each_kind():
    assert key(retrain_of(SETTING, 0, 3)) != key(retrain_of(SETTING, 0, 4))
    assert key(base_of(SETTING, 0, 0.9)) != key(base_of(SETTING, 0, 0.95))
    assert len({key(base_of(SETTING, 0, 0.0)), key(base_of(SETTING, 0, 0.9)), key(retrain_of(SETTING, 0, 3))}) == 3


@pytest.mark.parametrize("change", [{"pruning": "structured"}, {"recovery_epochs": 9}, {"recovery_lr": 1e-5}])
def test_pruning_determines_sparse_bases_only(change):
    pruned = replace(SETTING, training=change)
    assert key(base_of(pruned, 0, 0.9)) != key(base_of(SETTING, 0, 0.9))
    assert key(base_of(pruned, 0, 0.0)) == key(base_of(SETTING, 0, 0.0))
    assert key(retrain_of(pruned, 0, 3)) == key(retrain_of(SETTING, 0, 3))


def test_what_trials_need():
    found = needed(SETTING, forgets=[3, 5], seeds=[0, 1], sparsities=[0.9, 0.0, 0.9])
    bases = [base_of(SETTING, seed, level) for seed in (0, 1) for level in (0.0, 0.9)]
    retrains = [retrain_of(SETTING, seed, forget) for seed in (0, 1) for forget in (3, 5)]
    assert found == bases + retrains
    assert needed(SETTING, forgets=[3], seeds=[0], sparsities=[])[0] == base_of(SETTING, 0, 0.0)


def test_titles_and_needs():
    assert base_of(SETTING, 2, 0.0).title == "digits tinyvit_nano base seed 2"
    assert base_of(SETTING, 2, 0.9).title == "digits tinyvit_nano sparse 0.9 seed 2"
    assert retrain_of(SETTING, 2, 3).title == "digits tinyvit_nano retrain without 3 seed 2"
    assert base_of(SETTING, 2, 0.9).needs == base_of(SETTING, 2, 0.0)
    assert base_of(SETTING, 2, 0.0).needs is None
    assert retrain_of(SETTING, 2, 3).needs is None


def test_a_setting_survives_plain_data(setting):
    assert Setting(**asdict(setting)) == setting


def test_what_is_absent_is_not_found(quick, tiny, tmp_path):
    assert find(base_of(quick, 0, 0.0), ArtifactStore(tmp_path), tiny) is None
    with pytest.raises(ValueError, match="forget class"):
        ensure(Prerequisite("retrain", quick, 0), ArtifactStore(tmp_path), tiny)
