"""Search spaces: what is accepted, and every mistake with its place, its line and what was expected."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from neglora.data import DATASETS, Augmentation, DatasetEntry, DatasetInfo
from neglora.objectives import METRICS
from neglora.recipe import Recipe
from study.samplers import SAMPLERS
from study.space import (
    SAMPLER_NAMES,
    Problem,
    SpaceError,
    load_space,
    parse_space,
    space_schema,
    training_problems,
    unknown_name,
)
from study.space.differences import differences
from study.space.schema import Training
from study.surroundings import setting_of

ROOT = Path(__file__).parents[2]
SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))
SCHEMA = ROOT / "study" / "space_schema.json"

MINIMAL: dict[str, Any] = {
    "study": "small",
    "datasets": ["digits"],
    "models": ["tinyvit_nano"],
    "replicates": {"forget": [3]},
    "search": {"trials": 4},
    "methods": {"neglora": {"rank": [4, 8]}},
}


def text(**changes: Any) -> str:
    return yaml.safe_dump(MINIMAL | changes, sort_keys=False)


def neglora(**settings: Any) -> str:
    return text(methods={"neglora": settings})


def problems_of(written: str) -> tuple[Problem, ...]:
    with pytest.raises(SpaceError) as caught:
        parse_space(written, "a.yaml")
    return caught.value.problems


def only_problem(written: str) -> Problem:
    (problem,) = problems_of(written)
    return problem


def test_every_shipped_space_is_fine_for_program_and_schema() -> None:
    assert SPACES, "no search space was found"
    for path in SPACES:
        space = load_space(path)
        assert len(space.cells()) > 1
        jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), space_schema())


def test_the_shipped_schema_is_that_of_the_program() -> None:
    jsonschema.Draft202012Validator.check_schema(space_schema())
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == json.loads(json.dumps(space_schema())), (
        "write it anew: python -m study.space > study/space_schema.json"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": 4},
        {"datasets": ["digit"]},
        {"methods": {"neglora": {"rnk": 4}}},
        {"methods": {"neglora": {"rank": 0}}},
        {"methods": {"neglora": {"lr": {"lg": [1, 2]}}}},
        {"axes": {"sparsty": [0.9]}},
        {"search": {"trials": 4, "sampler": "tpee"}},
        {"models": ["timm:"]},
        {"replicates": {"forget": [[]]}},
        {"replicates": {"forget": [{"random": 1}]}},
        {"replicates": {"forget": [{"share": 0.1}]}},
        {"architecture": {"windows": "padde"}},
        {"data": {"mean": [2]}},
        {"weights": ""},
        {"include": 3},
    ],
)
def test_the_schema_refuses_what_the_program_refuses(changes: dict[str, Any]) -> None:
    assert problems_of(text(**changes))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(MINIMAL | changes, space_schema())


def test_names_that_are_written_twice_agree() -> None:
    assert set(SAMPLER_NAMES) == set(SAMPLERS)
    assert set(Training.model_fields) == {"recipe", *Recipe.__dataclass_fields__, *Augmentation.names()}


@pytest.mark.parametrize(
    ("written", "path", "line", "message"),
    [
        (text(study="a/b"), "study", 1, "got 'a/b'"),
        (text(study="../b"), "study", 1, "got '../b'"),
        (text(study=".b"), "study", 1, "not beginning with '.'"),
        (text(study="ok\n"), "study", 1, "letters, digits"),
        (text(study=7), "study", 1, "expected a text, got 7"),
        (text(study="artifacts"), "study", 1, "choose another name"),
        (text(datasets=["digit"]), "datasets[0]", 3, "unknown dataset 'digit'; did you mean 'digits'?"),
        (text(datasets="digits"), "datasets", 2, "expected a list, got 'digits'"),
        (text(datasets=[]), "datasets", 2, "at least one"),
        (text(models=["tinyvit_nan"]), "models[0]", 5, "did you mean 'tinyvit_nano'?"),
        (text(models=[3]), "models[0]", 5, "expected the name of a model"),
        (text(models=["tinyvit_nano", "tinyvit_nano"]), "models", 4, "'tinyvit_nano' is listed twice"),
        (text(method={}), "method", 16, "unknown key 'method'; did you mean 'methods'?"),
        (text(search=None), "search", 9, "expected a mapping, got nothing (null)"),
        (text(search={"trials": 0}), "search.trials", 10, "expected a whole number >= 1, got 0"),
        (text(search={"trials": True}), "search.trials", 10, "got true"),
        (text(search={"trials": 1.5}), "search.trials", 10, "got 1.5"),
        (text(search={}), "search.trials", 9, "is missing: expected the number of trials per cell"),
        (
            text(search={"trials": 2, "sampler": "nsga"}),
            "search.sampler",
            11,
            "unknown sampler 'nsga'; did you mean 'ns",
        ),
        (text(replicates={"forget": []}), "replicates.forget", 7, "at least one"),
        (text(replicates={"forget": [10]}), "replicates.forget[0]", 8, "digits has no class 10"),
        (text(replicates={"forget": ["cat"]}), "replicates.forget[0]", 8, "digits has no class 'cat'"),
        (text(replicates={"forget": [-1]}), "replicates.forget[0]", 8, "no class -1"),
        (text(replicates={"forget": [True]}), "replicates.forget[0]", 8, "got true: YAML reads yes"),
        (text(replicates={"forget": [None]}), "replicates.forget[0]", 8, "expected a class, by index or name, a list"),
        (text(replicates={"forget": [4, [1, 12]]}), "replicates.forget[1]", 9, "digits has no class 12"),
        (text(replicates={"forget": [4, [1, True]]}), "replicates.forget[1]", 9, "got true: YAML reads yes"),
        (text(replicates={"forget": [4, [[1]]]}), "replicates.forget[1]", 9, "a list of classes, or {random"),
        (text(replicates={"forget": [4, []]}), "replicates.forget[1]", 9, "an empty list of classes"),
        (text(replicates={"forget": [[1, "1"]]}), "replicates.forget[0]", 8, "is named twice"),
        (text(replicates={"forget": [list(range(10))]}), "replicates.forget[0]", 8, "all classes of digits"),
        (
            text(replicates={"forget": [{"share": 0.1}]}),
            "replicates.forget[0]",
            8,
            "unknown key of a random forget set",
        ),
        (text(replicates={"forget": [{"seed": 1}]}), "replicates.forget[0]", 8, "expected {random: SHARE, seed: SEED}"),
        (text(replicates={"forget": [{"random": 1.5}]}), "replicates.forget[0]", 8, "random: expected a number in (0"),
        (text(replicates={"forget": [{"random": 0.1, "seed": -1}]}), "replicates.forget[0]", 8, "seed: expected a who"),
        (text(replicates={"forget": [3, "3"]}), "replicates.forget[1]", 9, "'3' and 3 are one forget set of digits"),
        (text(replicates={"forget": [3, [3]]}), "replicates.forget[1]", 9, "[3] and 3 are one forget set of digits"),
        (text(replicates={"forget": [[3, 5], [5, 3]]}), "replicates.forget[1]", 10, "[5, 3] and [3, 5] are one forget"),
        (text(replicates={"forget": [[3, 5], [3, 5]]}), "replicates.forget", 7, "[3, 5] is listed twice"),
        (
            text(replicates={"forget": [{"random": "1e-1"}, {"seed": 0, "random": 0.1}]}),
            "replicates.forget",
            7,
            "{'random': 0.1, 'seed': 0} is listed twice",
        ),
        (text(replicates={"forget": [3], "seeds": [0, 0]}), "replicates.seeds", 9, "0 is listed twice"),
        (text(selection={"holdout": 1.0}), "selection.holdout", 17, "expected a number in [0, 1), got 1.0"),
        (text(objectives=["ua", "raa"]), "objectives[1]", 18, "unknown metric 'raa'; did you mean 'ra'?"),
        (text(objectives=["ua", "ua"]), "objectives", 16, "listed twice"),
        (text(constraints={"uaa": {"min": 0.9}}), "constraints.uaa", 17, "unknown metric 'uaa'; did you mean 'ua'?"),
        (text(constraints={"ua": {"min": 95}}), "constraints.ua.min", 18, "expected a fraction in [0, 1]"),
        (text(constraints={"ua": {}}), "constraints.ua", 17, "expected {min: BOUND}"),
        (text(constraints={"ua": {"mn": 0.9}}), "constraints.ua.mn", 18, "did you mean 'min'?"),
        (text(constraints={"ua": {"min": 0.9, "max": 0.1}}), "constraints.ua", 17, "min 0.9 is above max 0.1"),
        (text(constraints={"ua": {"min": float("nan")}}), "constraints.ua.min", 18, "got nan"),
        (text(resources={"cpus": 0}), "resources.cpus", 17, "expected a number > 0, got 0"),
        (text(resources={"gpus": -1}), "resources.gpus", 17, "expected a number >= 0 or auto, got -1"),
        (text(resources={"gpus": "aut"}), "resources.gpus", 17, "expected a number >= 0 or auto, got 'aut'"),
        (text(resources={"gpus": 1.5}), "resources.gpus", 17, "a share of one GPU below 1, got 1.5"),
        (text(training={"lr": 0}), "training.lr", 17, "expected a number > 0, got 0"),
        (text(training={"pruning": "magnitud"}), "training.pruning", 17, "did you mean 'magnitude'?"),
        (text(training={"shift": 32}), "training.shift", 17, "less than the 32 pixels of digits"),
        (text(training={"epochs": 2, "warmup_epochs": 3}), "training.warmup_epochs", 18, "at most the 2 epochs"),
        (text(training={"warmup_epochs": 16}), "training.warmup_epochs", 17, "at most the 15 epochs of nano, got 16"),
        (
            text(training={"recipe": "vit_paper", "warmup_epochs": 91}),
            "training.warmup_epochs",
            18,
            "at most the 90 epochs of vit_paper, got 91",
        ),
        (text(training={"warmup_lr": 0.1}), "training.warmup_lr", 17, "at most the peak of 0.002 of nano, got 0.1"),
        (text(training={"recipe": "resnet50_papr"}), "training.recipe", 17, "did you mean 'resnet50_paper'?"),
        (text(training={"optimizer": "adam"}), "training.optimizer", 17, "did you mean 'adamw'?"),
        (text(training={"precision": "fp16"}), "training.precision", 17, "one of auto, float32, bf16"),
        (text(training={"betas": [0.9]}), "training.betas", 17, "expected two numbers, got 1"),
        (text(training={"betas": [0.9, 1.0]}), "training.betas[1]", 19, "expected a number in [0, 1), got 1.0"),
        (text(training={"crop_scale": [1.0, 0.05]}), "training.crop_scale", 17, "the smaller number first"),
        (text(training={"crop_scale": [0, 1]}), "training.crop_scale[0]", 18, "expected a number in (0, 1], got 0"),
        (text(training={"randaugment": "n9"}), "training.randaugment", 17, "such as rand-m9-mstd0.5-inc1, got 'n9'"),
        (text(training={"erase": 25}), "training.erase", 17, "expected a number in [0, 1], got 25"),
        (text(training={"flip": 1}), "training.flip", 17, "got 1"),
        (text(training={"workers": 0}), "training.workers", 17, "expected a whole number >= 1, got 0"),
        (text(training={"workers": 65}), "training.workers", 17, "64 images cannot be shared by 65 workers"),
        (
            text(training={"workers": 2}, resources={"gpus": 0.5}),
            "training.workers",
            17,
            "2 workers need a GPU each, and resources.gpus is 0.5",
        ),
        (text(data={"verify": "no"}), "data.verify", 17, "expected true or false, got 'no'"),
        (text(data={"mean": [0.5, 0.5, 1.5]}), "data.mean[2]", 20, "expected a number in [0, 1], got 1.5"),
        (text(data={"mean": [0.5, 0.5]}), "data.mean", 17, "expected 3 numbers, one a channel of digits, got 2"),
        (text(data={"std": [0.5, 0.5, 0]}), "data.std[2]", 20, "expected a number in (0, 1], got 0"),
        (text(data={"root": 3}), "data.root", 17, "expected a text, got 3"),
        (text(data={"download": 1}), "data.download", 17, "expected true or false, got 1"),
        (text(data={"workers": -1}), "data.workers", 17, "expected a whole number >= 0, got -1"),
        (text(data={"test_share": 1}), "data.test_share", 17, "expected a number in [0, 1), got 1"),
        (text(architecture={"window": "padded"}), "architecture.window", 17, "did you mean 'windows'?"),
        (text(architecture={"windows": "padde"}), "architecture.windows", 17, "did you mean 'padded'?"),
        (text(architecture={"windows": 3}), "architecture.windows", 17, "expected a text, got 3"),
        (text(architecture={"stem": "plain"}), "architecture.stem", 17, "none of this study's models has stem"),
        (text(architecture=[]), "architecture", 16, "expected a mapping, got []"),
        (text(weights="no/model.pt"), "weights", 16, "there is no file /"),
        (text(weights=""), "weights", 16, "expected a file, a mapping of models to files"),
        (text(weights=[1]), "weights", 16, "expected a file, a mapping of models to files"),
        (text(weights={"tinyvit_nan": __file__}), "weights.tinyvit_nan", 17, "did you mean 'tinyvit_nano'?"),
        (text(weights={"tinyvit_nano": "no.pt"}), "weights.tinyvit_nano", 17, "there is no file /"),
        (text(weights="pretrained"), "weights", 16, "there are no pretrained weights of tinyvit_nano"),
        (text(confirm={"seeds": [1]}), "confirm.forget", 16, "forget"),
        (text(confirm={"forget": [5, 12]}), "confirm.forget[1]", 19, "digits has no class 12"),
        (text(confirm={"forget": [5, [5]]}), "confirm.forget[1]", 19, "[5] and 5 are one forget set of digits"),
        (text(confirm={"forget": []}), "confirm.forget", 17, "at least one"),
        (text(confirm={"forget": [5], "seeds": [1, 1]}), "confirm.seeds", 19, "1 is listed twice"),
        (text(confirm={"forget": [5, 3]}), "confirm.forget[1]", 19, "3 with seed 0 is what the search sees"),
        (
            text(confirm={"forget": [["3"]], "seeds": [1, 0]}),
            "confirm.forget[0]",
            18,
            "['3'] with seed 0 is what the search sees (`replicates`): give confirm.seeds that it does not have",
        ),
        (
            text(evaluation={"retain_samples": 0}),
            "evaluation.retain_samples",
            17,
            "expected a whole number >= 1, got 0",
        ),
        (text(evaluation={"test_samples": 0.5}), "evaluation.test_samples", 17, "expected a whole number >= 1"),
        (text(evaluation={"probe_samples": "x"}), "evaluation.probe_samples", 17, "expected a whole number >= 1"),
        (text(evaluation={"prefix_gib": -1}), "evaluation.prefix_gib", 17, "expected a number >= 0, got -1"),
        (text(search={"trials": 4, "snapshots": 1}), "search.snapshots", 11, "expected true or false, got 1"),
        (text(audits=["relearning"]), "audits[0]", 17, "unknown audit 'relearning'; did you mean 'relearn'?"),
        (text(audits=["probe", "probe"]), "audits", 16, "'probe' is listed twice"),
        (text(audits=[1]), "audits[0]", 17, "expected the name of a audit"),
        (text(audits={"probe": True}), "audits", 16, "expected a list"),
        (
            text(audits=["probe"], replicates={"forget": [3, {"random": 0.1}]}),
            "audits",
            17,
            "a random share has no class",
        ),
        (text(audits="probe", confirm={"forget": [{"random": 0.1}]}), "audits", 16, "a random share has no class"),
        (text(objectives=["ua", "relearn"]), "objectives[1]", 18, "add audits: [relearn]"),
        (text(audits=["probe"], objectives=["relearn"]), "objectives[0]", 19, "add audits: [relearn]"),
        (text(constraints={"probe": {"max": 0.5}}), "constraints.probe", 17, "add audits: [probe]"),
        (
            text(audits=["relearn"], objectives=["ua", "relearn"], evaluation={"retain_samples": 50}),
            "objectives[1]",
            20,
            "measured on samples (evaluation.retain_samples)",
        ),
        (text(evaluation={"attacks": "al"}), "evaluation.attacks", 17, "did you mean 'all'?"),
        (text(failures={"retries": -1}), "failures.retries", 17, "expected a whole number >= 0, got -1"),
        (text(methods={}), "methods", 11, "at least one method"),
        (text(methods={"neglra": {}}), "methods.neglra", 12, "unknown method 'neglra'; did you mean 'neglora'?"),
        (text(methods={"retrain": {}}), "methods.retrain", 12, "every study has: leave it out"),
        (text(methods={"neglora": [1]}), "methods.neglora", 12, "expected a mapping of parameters, got [1]"),
        (neglora(rnk=4), "methods.neglora.rnk", 13, "unknown parameter of neglora 'rnk'; did you mean 'rank'?"),
        (neglora(rank=0), "methods.neglora.rank", 13, "expected a whole number >= 1, got 0"),
        (neglora(rank=[2, 4, 0]), "methods.neglora.rank[2]", 16, "expected a whole number >= 1, got 0"),
        (neglora(rank=[]), "methods.neglora.rank", 13, "an empty choice"),
        (neglora(rank=[16, 16.0]), "methods.neglora.rank[1]", 15, "16 is listed twice"),
        (neglora(rank=True), "methods.neglora.rank", 13, "got true"),
        (neglora(rank=None), "methods.neglora.rank", 13, "got nothing (null)"),
        (neglora(rank=10**400), "methods.neglora.rank", 13, "too large"),
        (neglora(lr=0), "methods.neglora.lr", 13, "expected a number > 0, got 0"),
        (neglora(lr=-1.0), "methods.neglora.lr", 13, "got -1.0"),
        (neglora(lr="fast"), "methods.neglora.lr", 13, "expected a number > 0, got 'fast'"),
        (neglora(lr={"log": [0, 0.1]}), "methods.neglora.lr.log[0]", 15, "expected a number > 0, got 0"),
        (neglora(lr={"log": [0.2, 0.1]}), "methods.neglora.lr.log", 14, "the lowest number first"),
        (neglora(lr={"log": [0.1, 0.1]}), "methods.neglora.lr.log", 14, "below the highest"),
        (neglora(lr={"log": [0.1]}), "methods.neglora.lr.log", 14, "a list of two numbers"),
        (neglora(lr={"lg": [0.1, 0.2]}), "methods.neglora.lr.lg", 14, "unknown range 'lg'; did you mean 'log'?"),
        (neglora(lr={}), "methods.neglora.lr", 13, "expected one of log, uniform, int with two ends"),
        (neglora(dropout={"log": [0, 0.5]}), "methods.neglora.dropout.log[0]", 15, "even in the logarithm"),
        (neglora(alpha={"int": [1.5, 8]}), "methods.neglora.alpha.int", 14, "expected whole numbers"),
        (neglora(rank={"uniform": [1, 8]}), "methods.neglora.rank.uniform", 14, "write {int: [lo, hi]}"),
        (neglora(merge={"log": [1, 2]}), "methods.neglora.merge", 13, "expected one of dense, masked"),
        (neglora(merge="mask"), "methods.neglora.merge", 13, "did you mean 'masked'?"),
        (neglora(epochs=0), "methods.neglora.epochs", 13, "expected a whole number >= 1, got 0"),
        (neglora(sparsity=[0, 1.0]), "methods.neglora.sparsity[1]", 15, "expected a number in [0, 1), got 1.0"),
        (neglora(sparsity={"uniform": [0, 0.9]}), "methods.neglora.sparsity", 13, "needs a list of levels"),
        (neglora(targets="ffm"), "methods.neglora.targets", 13, "did you mean 'ffn'?"),
        (neglora(targets=["ffn", "conv+"]), "methods.neglora.targets[1]", 15, "unknown target ''"),
        (neglora(targets=[["head.fx"]]), "methods.neglora.targets[0]", 14, "did you mean 'head.fc'?"),
        (neglora(configurations={"rank": 4}), "methods.neglora.configurations", 13, "expected a list of mappings"),
        (neglora(configurations=[{}]), "methods.neglora.configurations[0]", 14, "expected a mapping of parameters"),
        (neglora(configurations=[{"rnk": 4}]), "methods.neglora.configurations[0].rnk", 14, "did you mean 'rank'?"),
        (neglora(configurations=[{"rank": [4]}]), "methods.neglora.configurations[0].rank", 14, "got [4]"),
        (
            neglora(configurations=[{"rank": 4}, {"rank": 4.0}]),
            "methods.neglora.configurations[1]",
            15,
            "the same configuration is listed twice",
        ),
        (
            neglora(configurations=[{"targets": ["no.such"]}]),
            "methods.neglora.configurations[0].targets",
            14,
            "no Linear or ungrouped Conv2d layer named 'no.such'",
        ),
        (
            neglora(configurations=[{"rank": rank} for rank in range(1, 6)]),
            "methods.neglora.configurations",
            13,
            "5 configurations do not fit into 4 trials",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(written: str, path: str, line: int, message: str) -> None:
    problem = only_problem(written)
    assert (problem.source, problem.path, problem.line) == ("a.yaml", path, line)
    assert message in problem.message


@pytest.mark.parametrize("key", ["study", "datasets", "models", "replicates", "search", "methods"])
def test_a_missing_key_is_told(key: str) -> None:
    problem = only_problem(yaml.safe_dump({name: value for name, value in MINIMAL.items() if name != key}))
    assert (problem.path, problem.line) == (key, None)
    assert problem.message.startswith("is missing: expected ")


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"axes": [0.9]}, "axes", "expected a mapping of parameters to lists"),
        ({"axes": {"sparsity": 0.9}}, "axes.sparsity", "expected a list of at least one level, got 0.9"),
        ({"axes": {"sparsity": []}}, "axes.sparsity", "at least one level"),
        ({"axes": {"sparsity": [0, 0.0]}}, "axes.sparsity[1]", "0.0 is listed twice"),
        ({"axes": {"sparsity": [1.0]}}, "axes.sparsity[0]", "expected a number in [0, 1), got 1.0"),
        ({"axes": {"sparsty": [0.9]}}, "axes.sparsty", "did you mean 'sparsity'?"),
        ({"axes": {"targets": ["ffn", "ffm"]}}, "axes.targets[1]", "did you mean 'ffn'?"),
        ({"axes": {"rank": [2]}, "methods": {"neggrad": {}}}, "axes.rank", "unknown parameter 'rank'"),
        ({"axes": {"rank": [2, 4]}}, "methods.neglora.rank", "rank is an axis of this study, [2, 4]"),
        (
            {"axes": {"rank": [2]}, "methods": {"neglora": {"configurations": [{"rank": 4}]}}},
            "methods.neglora.configurations[0].rank",
            "expected a level of the axis, [2], got 4",
        ),
        ({"overrides": {}}, "overrides", "expected a list, got {}"),
        ({"overrides": [3]}, "overrides[0]", "expected a mapping, got 3"),
        ({"overrides": [{"methods": {"neglora": {}}}]}, "overrides[0].when", "is missing"),
        ({"overrides": [{"when": {}, "methods": {"neglora": {}}}]}, "overrides[0].when", "at least one of dataset"),
        (
            {"overrides": [{"when": {"modl": "x"}, "methods": {"neglora": {}}}]},
            "overrides[0].when.modl",
            "did you mean 'model'?",
        ),
        (
            {"overrides": [{"when": {"model": "tinyvit_nan"}, "methods": {"neglora": {}}}]},
            "overrides[0].when.model[0]",
            "did you mean 'tinyvit_nano'?",
        ),
        (
            {"overrides": [{"when": {"model": "resnet_nano"}, "methods": {"neglora": {}}}]},
            "overrides[0].when.model",
            "this study has no model 'resnet_nano'",
        ),
        (
            {"overrides": [{"when": {"dataset": "digits"}, "methods": {"neggrad": {}}}]},
            "overrides[0].methods.neggrad",
            "not among this study's methods",
        ),
        (
            {"overrides": [{"when": {"dataset": "digits"}, "methods": {"neglora": {"rank": 0}}}]},
            "overrides[0].methods.neglora.rank",
            "expected a whole number >= 1, got 0",
        ),
        (
            {"overrides": [{"when": {"dataset": "digits"}, "methods": {"neglora": {"targets": ["conv", "fc"]}}}]},
            "overrides[0].methods.neglora.targets[1]",
            "on tinyvit_nano: unknown target 'fc'",
        ),
        (
            {
                "methods": {"neglora": {}, "neggrad": {}},
                "overrides": [{"when": {"method": "neglora"}, "methods": {"neggrad": {"epochs": 2}}}],
            },
            "overrides[0].methods.neggrad",
            "'when' is for 'neglora' only",
        ),
    ],
)
def test_mistakes_in_axes_and_overrides(changes: dict[str, Any], path: str, message: str) -> None:
    problem = only_problem(text(**changes))
    assert problem.path == path
    assert message in problem.message


def test_a_target_that_one_model_of_several_lacks() -> None:
    written = text(models=["tinyvit_nano", "resnet_nano"], methods={"neglora": {"targets": ["ffn", "conv"]}})
    problem = only_problem(written)
    assert problem.path == "methods.neglora.targets[0]"
    assert problem.message.startswith("on resnet_nano: target 'ffn' matches no layer")


def test_an_unknown_target_is_told_once_for_all_models() -> None:
    problem = only_problem(text(models=["tinyvit_nano", "resnet_nano"], methods={"neglora": {"targets": "hed"}}))
    assert problem.message.startswith("on tinyvit_nano and resnet_nano: unknown target 'hed'")


def test_the_only_class_cannot_be_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    info = DatasetInfo("lonely", ("one",), 32, 3)
    monkeypatch.setitem(DATASETS, "lonely", DatasetEntry("", lambda options: info, DATASETS["digits"].load))
    problem = only_problem(text(datasets=["lonely"], replicates={"forget": ["one"]}, methods={"neggrad": {}}))
    assert problem.path == "replicates.forget[0]"
    assert "'one' is the only class of lonely" in problem.message


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"methods": {"neglora": {"retract": 0.99}}}, "methods.neglora.retract"),
        ({"methods": {"neglora": {"retract": [None, 0.99]}}}, "methods.neglora.retract"),
        ({"axes": {"retract": [None, 0.9]}}, "axes.retract"),
        (
            {"methods": {"neglora": {"configurations": [{"lr": 0.1}, {"retract": 1}]}}},
            "methods.neglora.configurations[1].retract",
        ),
    ],
)
def test_an_ascent_that_forgets_a_random_share_is_not_retracted(changes: dict[str, Any], path: str) -> None:
    problem = only_problem(text(replicates={"forget": [3, {"random": 0.1}]}, **changes))
    assert problem.path == path
    assert "of a random share Retrain still knows most" in problem.message
    assert parse_space(text(replicates={"forget": [3]}, **changes), "a.yaml")
    without = {"methods": {"neglora": {"retract": None}}}
    assert parse_space(text(replicates={"forget": [{"random": 0.1}]}, **without), "a.yaml")


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"objectives": ["ua", "ua_test"]}, "objectives[1]"),
        ({"constraints": {"ua_test": {"min": 0.5}}}, "constraints.ua_test"),
    ],
)
def test_what_a_random_share_does_not_have_is_not_searched_on(changes: dict[str, Any], path: str) -> None:
    problem = only_problem(text(replicates={"forget": [3, {"random": 0.1}]}, **changes))
    assert problem.path == path
    assert "a random share has no class" in problem.message
    assert parse_space(text(replicates={"forget": [3]}, **changes), "a.yaml")


@pytest.mark.parametrize("training", [{"crop_scale": [0.5, 1.0]}, {"randaugment": "rand-m9-mstd0.5-inc1"}])
def test_what_works_on_files_needs_files(training: dict[str, Any]) -> None:
    problem = only_problem(text(training=training))
    assert problem.path == f"training.{next(iter(training))}"
    assert "digits does not have" in problem.message
    assert parse_space(text(datasets=["imagenet100"], training=training), "a.yaml")


def test_a_grid_needs_lists() -> None:
    search = {"sampler": "grid", "trials": 4}
    methods = {"neglora": {"rank": {"int": [2, 4]}, "lr": {"log": [1e-4, 1e-2]}}}
    problem = only_problem(text(search=search, methods=methods))
    assert problem.path == "methods.neglora.lr"
    assert "a grid needs lists" in problem.message
    assert (
        parse_space(text(search=search, methods={"neglora": {"rank": {"int": [2, 4]}}}), "a.yaml").cells()[1].size == 3
    )


def test_all_mistakes_are_told_together_in_the_order_of_their_lines() -> None:
    written = (
        "study: a/b\n"
        "datasets: [digit, digits]\n"
        "models: [tinyvit_nano]\n"
        "replicates: {forget: [12]}\n"
        "serch: {trials: 3}\n"
        "methods:\n"
        "  neglora:\n"
        "    rank: [2, 0]\n"
        "    targets: ffm\n"
        "    rank: 4\n"
    )
    error = SpaceError(problems_of(written))
    assert [(problem.line, problem.path) for problem in error.problems] == [
        (None, "search"),
        (1, "study"),
        (2, "datasets[0]"),
        (4, "replicates.forget[0]"),
        (5, "serch"),
        (9, "methods.neglora.targets"),
        (10, "methods.neglora.rank"),
    ]
    lines = str(error).splitlines()
    assert lines[0] == "a.yaml has 7 problems:"
    assert lines[1].startswith("  search: is missing")
    assert lines[2].startswith("  line 1: study: expected up to 100 letters")
    assert lines[-1] == "  line 10: methods.neglora.rank: given twice, first on line 8"


def test_errors_of_several_files_are_joined() -> None:
    first = SpaceError([Problem("a.yaml", "study", 1, "wrong")])
    second = SpaceError([Problem("b.yaml", "", None, "is empty")])
    assert str(SpaceError.joined([first, second])) == (
        "a.yaml has one problem:\n  line 1: study: wrong\nb.yaml has one problem:\n  is empty"
    )


def test_numbers_without_a_dot_are_numbers() -> None:
    written = text().replace("rank:\n    - 4\n    - 8\n", "lr: {log: [1e-5, 1E-3]}\n    batch_size: 2e1\n")
    assert isinstance(yaml.safe_load(written)["methods"]["neglora"]["batch_size"], str)
    settings = parse_space(written, "a.yaml").methods["neglora"]
    assert settings["lr"] == {"log": [1e-5, 1e-3]}
    assert (settings["batch_size"], type(settings["batch_size"])) == (20, int)


def test_defaults() -> None:
    space = parse_space(text(), "a.yaml")
    assert (space.selection.holdout, space.selection.seed) == (0.5, 0)
    assert space.objectives == ("ua", "ra", "ta", "mia")
    assert (space.search.sampler, space.search.seed, space.search.batch) == ("tpe", 0, 4)
    assert (space.resources.cpus, space.resources.gpus, space.failures.retries) == (1, 0, 2)
    assert space.replicates.seeds == (0,)
    assert (space.data.root, space.data.verify, space.evaluation.attacks) == (None, True, "all")
    assert set(space.objectives) <= set(METRICS)


@pytest.mark.parametrize(
    "changes",
    [
        {"objectives": ["gap"], "constraints": {"ua": {"min": 0.95}, "rte": {"max": 2.5}}},
        {"replicates": {"forget": ["3", 4], "seeds": [0, 1]}, "selection": {"holdout": 0}},
        {"replicates": {"forget": [3, [3, "4"], [5, 4], {"random": 0.1}, {"random": 0.1, "seed": 1}]}},
        {"models": ["timm:test_vit"], "methods": {"neggrad": None}},
        {"architecture": {"windows": "padded"}, "data": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}},
        {"weights": __file__},
        {"weights": {"tinyvit_nano": __file__}},
        {"methods": {"partial_neggrad": {"targets": ["partial", "head"]}, "neglora": {"targets": "partial"}}},
        {"resources": {"cpus": 0.5, "gpus": 0.25}, "weights": None, "confirm": None, "audits": []},
        {"audits": None},
        {"audits": "probe", "evaluation": {"retain_samples": 50}},
        {"audits": ["probe", "relearn"], "objectives": ["gap", "relearn"], "constraints": {"probe": {"max": 0.5}}},
        {"resources": {"gpus": "auto"}, "training": {"workers": 2}},
        {"evaluation": {"retain_samples": 2000, "test_samples": 2000, "probe_samples": None, "prefix_gib": 0}},
        {"search": {"trials": 4, "snapshots": True}, "confirm": {"forget": [3, 5], "seeds": [1, 2]}},
        {"replicates": {"forget": [3], "seeds": [0, 1]}, "confirm": {"forget": [5, [3, 5]]}},
        {"training": {"epochs": 1, "lr": 0.001, "pruning": "structured", "recovery_epochs": 0}},
        {"methods": {"neggrad": None, "partial_neggrad": {}}},
    ],
)
def test_what_is_accepted(changes: dict[str, Any]) -> None:
    assert parse_space(text(**changes), "a.yaml").cells()
    jsonschema.validate(MINIMAL | changes, space_schema())


def test_audits_have_one_order_and_one_text() -> None:
    spaces = [parse_space(text(audits=given), "a.yaml") for given in (["probe", "relearn"], ["relearn", "probe"])]
    assert spaces[0].audits == ("relearn", "probe")
    assert spaces[0].resolved()["audits"] == spaces[1].resolved()["audits"] == ["relearn", "probe"]
    assert parse_space(text(audits="probe"), "a.yaml").audits == ("probe",)
    assert parse_space(text(), "a.yaml").audits == parse_space(text(audits=None), "a.yaml").audits == ()
    assert differences(spaces[0].resolved(), parse_space(text(), "a.yaml").resolved()) == [
        "audits: was ['relearn', 'probe'], now []"
    ]
    settings = [setting_of(space.resolved(), "digits", "tinyvit_nano") for space in spaces]
    assert settings[0].audits == ("relearn", "probe")
    older = parse_space(text(), "a.yaml").resolved()
    del older["audits"]
    assert setting_of(older, "digits", "tinyvit_nano").audits == ()


def test_training_from_elsewhere_is_checked_in_the_same_words() -> None:
    assert training_problems({"epochs": 3, "pruning": "structured"}) == []
    assert training_problems({"epochs": 0, "pace": 1}) == [
        "epochs: expected a whole number >= 1, got 0",
        f"pace: {unknown_name('pace', Training.model_fields, 'key')}",
    ]
    assert len(training_problems({"epochs": 2.0, "lr": "1e-3"})) == 2


def test_unknown_names() -> None:
    assert unknown_name("digit", ["digits", "cifar10"]) == (
        "unknown name 'digit'; did you mean 'digits'? Expected one of digits, cifar10"
    )
    assert unknown_name("zzz", ["digits"]) == "unknown name 'zzz'; expected one of digits"


STRANGE: list[Any] = [None, True, -1, 0.5, 10**400, float("inf"), "", "x", [], [[]], [None], {}, {"x": {}}, {"when": 1}]
LARGE: dict[str, Any] = MINIMAL | {
    "selection": {"holdout": 0.5},
    "objectives": ["ua", "gap"],
    "constraints": {"ua": {"min": 0.9}},
    "resources": {"cpus": 1, "gpus": 0},
    "axes": {"epochs": [1, 2], "merge": ["dense"]},
    "training": {"lr": 0.1, "epochs": 2, "warmup_epochs": 1, "shift": 2, "pruning": "magnitude"},
    "methods": {
        "neglora": {
            "lr": {"log": [0.1, 0.2]},
            "targets": [["head.fc"]],
            "configurations": [{"rank": 2, "targets": "ffn"}],
        }
    },
    "overrides": [{"when": {"model": ["tinyvit_nano"], "method": "neglora"}, "methods": {"neglora": {"rank": 4}}}],
    "data": {"root": None, "verify": True},
    "evaluation": {"retain_samples": 100, "prefix_gib": 1},
    "confirm": {"forget": [5, 6], "seeds": [0, 1]},
}


def places_of(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([place] if place else []), *(deeper for key, one in inner for deeper in places_of(one, (*place, key)))]


def test_whatever_stands_anywhere_is_fine_or_told() -> None:
    places = places_of(LARGE)
    assert parse_space(yaml.safe_dump(LARGE), "a.yaml")
    assert len(places) > 50
    for number, place in enumerate(places):
        # A quarter of the values at each place: neighbours get the others.
        for strange in STRANGE[number % 4 :: 4]:
            changed = copy.deepcopy(LARGE)
            around = changed
            for part in place[:-1]:
                around = around[part]
            around[place[-1]] = strange
            written = yaml.dump(changed, Dumper=yaml.CSafeDumper)
            try:
                outcome: Any = parse_space(written, "a.yaml").cells()
            except SpaceError as error:
                outcome = [problem.message for problem in error.problems]
            assert outcome, f"{place} = {strange!r} ended in an error without a problem"
