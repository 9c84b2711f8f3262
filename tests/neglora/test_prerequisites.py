import json
from dataclasses import asdict, replace

import pytest
import torch
from torch.nn import functional

from neglora import prerequisites
from neglora.artifacts import ArtifactStore
from neglora.checkpoint import Checkpoint
from neglora.data import ForgetSet, split
from neglora.evaluation import infer_dataset
from neglora.methods import METHODS
from neglora.metrics import accuracy
from neglora.prerequisites import (
    MASK,
    TRAINING,
    Prerequisite,
    Setting,
    base_of,
    ensure,
    find,
    load_model,
    make_here,
    needed,
    retrain_of,
)
from neglora.prune import measured_sparsity
from neglora.recipe import RecipeError
from neglora.recipes import load_recipe
from tests.neglora.conftest import FORGET, FORGET_SET, SPARSITY


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


@pytest.mark.parametrize("model", ["tinyvit_nano", "resnet_nano"])
def test_every_parameter_of_retrain_differs_from_the_bases(quick, tiny, tmp_path, model):
    """Fresh weights and no trace of the base; the statistics of its BatchNorm too."""
    quick = replace(quick, model=model)
    store = ArtifactStore(tmp_path)
    base = ensure(base_of(quick, 0, 0.0), store, tiny)
    retrained = ensure(retrain_of(quick, 0, FORGET_SET), store, tiny)
    assert set(base.tensors) == set(retrained.tensors)
    names = [name for name in base.tensors if not name.endswith("num_batches_tracked")]
    assert len(names) > 40
    assert [name for name in names if torch.equal(base.tensors[name], retrained.tensors[name])] == []


def test_retrain_sees_the_retained_images_alone(quick, tiny, tmp_path, monkeypatch):
    seen = []
    method = METHODS["retrain"]

    def watched(model, **arguments):
        seen.append(torch.cat([labels for _, labels in arguments["retain"].epoch(0)]))
        return method.unlearn(model, **arguments)

    monkeypatch.setitem(METHODS, "retrain", replace(method, unlearn=watched))
    ensure(retrain_of(quick, 0, FORGET_SET), ArtifactStore(tmp_path), tiny)
    [labels] = seen
    assert torch.equal(labels.sort().values, tiny.train_labels[split(tiny, FORGET_SET).retain].sort().values)
    assert FORGET not in labels.tolist()


def test_retrain_never_learned_what_was_to_be_forgotten(setting, store, tiny):
    splits = split(tiny, FORGET_SET)
    losses = {}
    for wanted in (base_of(setting, 0, 0.0), retrain_of(setting, 0, FORGET_SET)):
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
        (retrain_of(setting, 0, FORGET_SET), 3),
    ):
        artifact, model, _ = loaded(wanted, store, tiny)
        facts = artifact.facts
        assert [entry["epoch"] for entry in facts["curve"]] == list(range(1, epochs + 1))
        assert facts["epochs"] == epochs
        assert facts["train_seconds"] == pytest.approx(sum(entry["seconds"] for entry in facts["curve"]))
        assert facts["parameters"] == sum(parameter.numel() for parameter in model.parameters())
        assert facts["sparsity"] == measured_sparsity(model)
        assert facts["title"] == wanted.title
        assert facts["threads"] == facts["workers"] == 1
        assert facts["precision"] == "float32" if not torch.cuda.is_available() else facts["precision"]
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


@pytest.mark.parametrize(
    "wanted", [base_of(SETTING, 0, 0.0), base_of(SETTING, 0, 0.9), retrain_of(SETTING, 0, FORGET_SET)]
)
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


@pytest.mark.parametrize(
    "wanted", [base_of(SETTING, 0, 0.0), base_of(SETTING, 0, 0.9), retrain_of(SETTING, 0, FORGET_SET)]
)
@pytest.mark.parametrize(
    "change", [{"holdout": 0.5}, {"split_seed": 3}, {"threads": 4}, {"batch_size": 7}, {"attacks": "confidence"}]
)
def test_the_key_does_not_follow_how_it_is_measured(wanted, change):
    assert key(replace(wanted, setting=replace(SETTING, **change))) == key(wanted)


@pytest.mark.parametrize(
    "wanted", [base_of(SETTING, 0, 0.0), base_of(SETTING, 0, 0.9), retrain_of(SETTING, 0, FORGET_SET)]
)
@pytest.mark.parametrize(
    "change", [{"workers": 2}, {"checkpoint_minutes": 1.0}, {"channels_last": True}, {"recipe": "nano"}, {"lr": 2e-3}]
)
def test_the_key_does_not_follow_what_leaves_the_weights_alone(wanted, change):
    assert key(replace(wanted, setting=replace(SETTING, training=change))) == key(wanted)


def test_the_key_follows_the_options_that_the_model_takes():
    """A study's options are for all its models, and its artifacts are shared with studies of one."""

    def with_options(**architecture):
        return key(base_of(replace(SETTING, architecture=architecture), 0, 0.0))

    assert with_options(windows="padded") != with_options()
    assert with_options(stem="plain") == with_options(windows="clipped") == with_options()


def test_another_recipe_and_changes_to_it():
    chosen = replace(SETTING, training={"recipe": "resnet50_paper", "epochs": 20, "flip": True})
    assert chosen.recipe == load_recipe("resnet50_paper").recipe.changed({"epochs": 20})
    assert key(base_of(chosen, 0, 0.0)) != key(base_of(SETTING, 0, 0.0))
    with pytest.raises(RecipeError, match="unknown recipe 'resnet'"):
        replace(SETTING, training={"recipe": "resnet"}).recipe  # noqa: B018


def test_the_key_of_each_kind():
    assert key(retrain_of(SETTING, 0, FORGET_SET)) != key(retrain_of(SETTING, 0, ForgetSet((4,))))
    assert key(base_of(SETTING, 0, 0.9)) != key(base_of(SETTING, 0, 0.95))
    assert (
        len({key(base_of(SETTING, 0, 0.0)), key(base_of(SETTING, 0, 0.9)), key(retrain_of(SETTING, 0, FORGET_SET))})
        == 3
    )


@pytest.mark.parametrize("change", [{"pruning": "structured"}, {"recovery_epochs": 9}, {"recovery_lr": 1e-5}])
def test_pruning_determines_sparse_bases_only(change):
    pruned = replace(SETTING, training=change)
    assert key(base_of(pruned, 0, 0.9)) != key(base_of(SETTING, 0, 0.9))
    assert key(base_of(pruned, 0, 0.0)) == key(base_of(SETTING, 0, 0.0))
    assert key(retrain_of(pruned, 0, FORGET_SET)) == key(retrain_of(SETTING, 0, FORGET_SET))


def test_what_trials_need():
    forgets = [FORGET_SET, ForgetSet((5,)), ForgetSet(share=0.1, seed=1)]
    found = needed(SETTING, forgets=forgets, seeds=[0, 1], sparsities=[0.9, 0.0, 0.9])
    bases = [base_of(SETTING, seed, level) for seed in (0, 1) for level in (0.0, 0.9)]
    retrains = [retrain_of(SETTING, seed, forget) for seed in (0, 1) for forget in forgets]
    assert found == bases + retrains
    assert needed(SETTING, forgets=[FORGET_SET], seeds=[0], sparsities=[])[0] == base_of(SETTING, 0, 0.0)


def test_titles_and_needs():
    assert base_of(SETTING, 2, 0.0).title == "digits tinyvit_nano base seed 2"
    assert base_of(SETTING, 2, 0.9).title == "digits tinyvit_nano sparse 0.9 seed 2"
    assert retrain_of(SETTING, 2, FORGET_SET).title == "digits tinyvit_nano retrain without 3 seed 2"
    assert base_of(SETTING, 2, 0.9).needs == base_of(SETTING, 2, 0.0)
    assert base_of(SETTING, 2, 0.0).needs is None
    assert retrain_of(SETTING, 2, FORGET_SET).needs is None


def test_a_setting_survives_plain_data(setting):
    assert Setting.of(json.loads(json.dumps(asdict(setting)))) == setting
    wanted = retrain_of(setting, 1, ForgetSet(share=0.1, seed=1))
    assert Prerequisite.of(asdict(wanted)) == wanted


def test_what_is_absent_is_not_found(quick, tiny, tmp_path):
    assert find(base_of(quick, 0, 0.0), ArtifactStore(tmp_path), tiny) is None
    with pytest.raises(ValueError, match="forget set"):
        ensure(Prerequisite("retrain", quick, 0), ArtifactStore(tmp_path), tiny)


class Killed(Exception):
    """What stands for a kill: nobody catches it."""


@pytest.mark.parametrize("kind", ["base", "sparse", "retrain"])
def test_a_killed_one_goes_on_in_the_middle_of_its_training(quick, tiny, tmp_path, monkeypatch, kind):
    """With the weights that it would have had, and nothing left behind; a kill leaves its checkpoint."""
    forget = FORGET_SET if kind == "retrain" else None
    often = replace(quick, training=quick.training | {"epochs": 2, "recovery_epochs": 2, "checkpoint_minutes": 1e-9})
    wanted = Prerequisite(kind, often, 0, SPARSITY if kind == "sparse" else 0.0, forget)
    whole = ensure(wanted, ArtifactStore(tmp_path / "whole"), tiny)
    store = ArtifactStore(tmp_path / "killed")
    if wanted.needs:
        ensure(wanted.needs, store, tiny)
    save, saved = Checkpoint.save, []

    def killed(checkpoint, state):
        save(checkpoint, state)
        saved.append((state["epoch"], state["batch"]))
        if saved[-1] == (1, 2):
            raise Killed

    monkeypatch.setattr(Checkpoint, "save", killed)
    with pytest.raises(Killed):
        ensure(wanted, store, tiny)
    partial = store.root / f".{whole.key}.partial"
    assert [path.name for path in partial.iterdir()] == [TRAINING]
    assert saved[0] == (0, 1)
    assert find(wanted, store, tiny) is None
    epochs = []
    saved.clear()
    resumed = ensure(wanted, store, tiny, lambda epoch, count: epochs.append((epoch.epoch, count)))
    assert epochs == [(2, 2)], "the first epoch was not trained again"
    assert saved[0] == (1, 3)
    assert resumed.key == whole.key
    assert all(torch.equal(resumed.tensors[name], whole.tensors[name]) for name in whole.tensors)
    curves = [[{**epoch, "seconds": None} for epoch in made.facts["curve"]] for made in (resumed, whole)]
    assert curves[0] == curves[1]
    assert not partial.exists()


def test_several_workers_are_asked_of_who_can_bring_them(quick, tiny, tmp_path):
    """And its base first, in the same way; without anybody who can, one trains alone."""
    asked = []

    def fit(wanted, store, partial, on_epoch):
        asked.append(wanted.kind)
        assert wanted.needs is None or find(wanted.needs, store, tiny) is not None
        return make_here(wanted, store, tiny, partial, on_epoch)

    two = replace(quick, training=quick.training | {"workers": 2})
    made = ensure(base_of(two, 0, SPARSITY), ArtifactStore(tmp_path / "two"), tiny, fit=fit)
    assert asked == ["base", "sparse"]
    alone = ensure(base_of(two, 0, SPARSITY), ArtifactStore(tmp_path / "alone"), tiny)
    assert all(torch.equal(made.tensors[name], alone.tensors[name]) for name in alone.tensors)
    asked.clear()
    ensure(base_of(quick, 1, 0.0), ArtifactStore(tmp_path / "one"), tiny, fit=fit)
    assert asked == [], "one worker needs nobody"
