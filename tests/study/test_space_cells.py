"""What follows from a space: its cells, its levels of sparsity, its resolved form, and how two of them differ."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml

from neglora.methods import METHODS
from neglora.models import resolve_targets
from study.dimensions import Choice, Range
from study.search import CellSearch
from study.space import Cell, Space, differences, parse_space
from study.suggestions import Suggestion

TWO_MODELS = ["tinyvit_nano", "resnet_nano"]


def space_of(**changes: Any) -> Space:
    plain: dict[str, Any] = {
        "study": "small",
        "datasets": ["digits"],
        "models": ["tinyvit_nano"],
        "replicates": {"forget": [3]},
        "search": {"trials": 4},
        "methods": {"neglora": {"rank": [4, 8]}},
    }
    return parse_space(yaml.safe_dump(plain | changes, sort_keys=False), "a.yaml")


def searched(space: Space) -> list[Cell]:
    return [cell for cell in space.cells() if cell.method != "retrain"]


def only_cell(**settings: Any) -> Cell:
    (cell,) = searched(space_of(methods={"neglora": settings}))
    return cell


def test_retrain_comes_first_once_for_each_dataset_and_model() -> None:
    space = space_of(models=TWO_MODELS, methods={"neggrad": {}, "partial_neggrad": {}})
    assert [cell.id for cell in space.cells()] == [
        "digits-tinyvit_nano-retrain",
        "digits-resnet_nano-retrain",
        "digits-tinyvit_nano-neggrad",
        "digits-tinyvit_nano-partial_neggrad",
        "digits-resnet_nano-neggrad",
        "digits-resnet_nano-partial_neggrad",
    ]
    assert space.cells()[0] == Cell("digits", "tinyvit_nano", "retrain", trials=1)
    assert space.cells()[0].size == 1


def test_null_is_a_value_of_what_may_be_left_undone() -> None:
    assert only_cell(retract=[None, 0.99]).dimensions == {"retract": Choice((None, 0.99))}
    assert only_cell(retract=None).fixed["retract"] is None
    assert only_cell(retract=0.95).fixed["retract"] == 0.95
    assert only_cell(retract=[None]).fixed["retract"] is None
    assert only_cell(retract={"uniform": [0.9, 1]}).dimensions == {"retract": Range(0.9, 1.0)}


def test_lists_ranges_and_plain_values() -> None:
    cell = only_cell(
        rank={"int": [2, 16]},
        alpha=[8, 16.0, 1.5],
        lr={"log": [1e-4, 1e-2]},
        dropout={"uniform": [0, 0.5]},
        batch_size={"log": [8, 64]},
        targets=["ffn", ["head.fc", "stages.3.blocks.0.mlp.fc1"]],
        epochs=[2],
        sparsity=[0, 0.9],
    )
    assert cell.dimensions == {
        "rank": Range(2, 16, integer=True),
        "alpha": Choice((8, 16, 1.5)),
        "lr": Range(1e-4, 1e-2, log=True),
        "dropout": Range(0.0, 0.5),
        "batch_size": Range(8, 64, log=True, integer=True),
        "targets": Choice(("ffn", ("head.fc", "stages.3.blocks.0.mlp.fc1"))),
        "sparsity": Choice((0.0, 0.9)),
    }
    assert cell.fixed == {"batchnorm": "frozen", "merge": "dense", "epochs": 2, "retract": None}
    assert (cell.size, cell.trials) == (None, 4)
    assert {**cell.dimensions, **cell.fixed}.keys() == {parameter.name for parameter in METHODS["neglora"].parameters}
    assert only_cell(rank=[2, 4], epochs={"int": [1, 3]}).size == 6


def test_numbers_are_of_the_parameters_own_type() -> None:
    cell = only_cell(sparsity=0, rank=4.0, alpha=16.0, lr=1)
    written = json.dumps([cell.fixed[name] for name in ("sparsity", "rank", "alpha", "lr")])
    assert written == "[0.0, 4, 16, 1.0]"


def test_configurations_are_completed() -> None:
    points = [{"rank": 2, "lr": 0.5}, {"alpha": 4, "targets": ["head.fc"]}]
    cell = only_cell(rank=[4, 8], lr={"log": [1e-4, 1e-2]}, alpha=8, configurations=points)
    first, second = cell.configurations
    assert (first["rank"], first["lr"], first["alpha"], first["targets"]) == (2, 0.5, 8, "ffn")
    # What a point leaves out: the method's default where it is searched, else what the study fixes.
    assert (second["rank"], second["lr"], second["alpha"]) == (16, 1e-3, 4)
    assert second["targets"] == ("head.fc",)
    assert all(
        point.keys() == {parameter.name for parameter in METHODS["neglora"].parameters} for point in (first, second)
    )
    assert cell.trials == 4


def test_without_a_search_the_configurations_are_the_budget() -> None:
    assert only_cell(configurations=[{"rank": 2}, {"rank": 4}]).trials == 2
    assert only_cell(rank=4).trials == 4


def test_axes_split_cells() -> None:
    space = space_of(
        axes={"rank": [2, 4], "sparsity": [0, 0.9]},
        methods={"neggrad": {}, "neglora": {"lr": [1e-3, 1e-2], "configurations": [{"rank": 4}, {"sparsity": 0.9}]}},
    )
    cells = {cell.id: cell for cell in searched(space)}
    assert list(cells) == [
        "digits-tinyvit_nano-neggrad-sparsity=0.0",
        "digits-tinyvit_nano-neggrad-sparsity=0.9",
        "digits-tinyvit_nano-neglora-sparsity=0.0-rank=2",
        "digits-tinyvit_nano-neglora-sparsity=0.0-rank=4",
        "digits-tinyvit_nano-neglora-sparsity=0.9-rank=2",
        "digits-tinyvit_nano-neglora-sparsity=0.9-rank=4",
    ]
    cell = cells["digits-tinyvit_nano-neglora-sparsity=0.9-rank=4"]
    assert cell.axes == {"sparsity": 0.9, "rank": 4}
    assert cell.identity == {"dataset": "digits", "model": "tinyvit_nano", "method": "neglora"} | cell.axes
    assert list(cell.dimensions) == ["lr"]
    assert (cell.fixed["sparsity"], cell.fixed["rank"]) == (0.9, 4)
    assert [len(one.configurations) for one in cells.values()] == [0, 0, 0, 1, 1, 2]
    assert all((point["sparsity"], point["rank"]) == (0.9, 4) for point in cell.configurations)


def test_an_axis_may_be_repeated_in_a_method_if_it_is_the_same() -> None:
    space = space_of(axes={"rank": [2, 4]}, methods={"neglora": {"rank": [2.0, 4]}})
    assert [cell.fixed["rank"] for cell in searched(space)] == [2, 4]


def test_an_axis_of_module_names_is_plain_data_in_records() -> None:
    space = space_of(axes={"targets": ["ffn", ["head.fc"]]}, methods={"neglora": {}})
    first, second = searched(space)
    assert json.loads(json.dumps(second.identity)) == second.identity
    assert (first.fixed["targets"], second.fixed["targets"]) == ("ffn", ("head.fc",))
    assert first.id != second.id


def test_overrides_apply_where_they_match_and_later_ones_win() -> None:
    space = space_of(
        models=TWO_MODELS,
        methods={"neggrad": {"lr": 0.1}, "neglora": {"targets": "head", "rank": [4, 8], "epochs": 1}},
        overrides=[
            {"when": {"model": "resnet_nano"}, "methods": {"neglora": {"targets": ["conv", "head"], "epochs": 2}}},
            {"when": {"model": ["resnet_nano"], "method": "neglora"}, "methods": {"neglora": {"epochs": 3}}},
            {"when": {"dataset": "digits"}, "methods": {"neggrad": {"lr": 0.2}}},
        ],
    )
    cells = {cell.id: cell for cell in searched(space)}
    vit, resnet = (cells[f"digits-{model}-neglora"] for model in TWO_MODELS)
    assert (vit.fixed["targets"], vit.fixed["epochs"]) == ("head", 1)
    assert (resnet.dimensions["targets"], resnet.fixed["epochs"]) == (Choice(("conv", "head")), 3)
    assert vit.dimensions["rank"] == resnet.dimensions["rank"] == Choice((4, 8))
    assert [cells[f"digits-{model}-neggrad"].fixed["lr"] for model in TWO_MODELS] == [0.2, 0.2]


@pytest.mark.parametrize("models", [TWO_MODELS, TWO_MODELS[::-1]])
def test_targets_are_those_of_each_models_family_by_default(models: list[str]) -> None:
    space = space_of(models=models)
    targets = {cell.model: cell.fixed["targets"] for cell in searched(space)}
    assert targets == {"tinyvit_nano": "ffn", "resnet_nano": "conv"}
    assert all(resolve_targets(model, own, num_classes=10, image_size=32) for model, own in targets.items())


def test_sparsities_are_all_that_any_cell_may_use() -> None:
    methods = {
        "neggrad": {"sparsity": [0.9, 0.5]},
        "partial_neggrad": {},
        "neglora": {"sparsity": 0.75, "configurations": [{"sparsity": 0.95}]},
    }
    assert space_of(methods=methods).sparsities("digits", "tinyvit_nano") == [0.0, 0.5, 0.75, 0.9, 0.95]
    override = {"when": {"model": "resnet_nano"}, "methods": {"neggrad": {"sparsity": 0.1}}}
    space = space_of(models=TWO_MODELS, methods={"neggrad": {"sparsity": 0.9}}, overrides=[override])
    assert [space.sparsities("digits", model) for model in TWO_MODELS] == [[0.9], [0.1]]
    assert space_of(axes={"sparsity": [0.9, 0]}).sparsities("digits", "tinyvit_nano") == [0.0, 0.9]


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_every_cell_can_be_searched(sampler: str) -> None:
    space = space_of(
        models=TWO_MODELS,
        axes={"epochs": [1, 2]},
        search={"sampler": sampler, "trials": 4},
        methods={"neglora": {"rank": [4, 8], "sparsity": [0, 0.9], "configurations": [{"lr": 0.5}]}},
    )
    for cell in space.cells():
        search = CellSearch(
            cell, sampler=sampler, objectives=space.objectives, constraints={}, seed=0, batch=space.search.batch
        )
        suggestion = search.suggest()
        assert isinstance(suggestion, Suggestion)
        assert suggestion.params.keys() == {parameter.name for parameter in METHODS[cell.method].parameters}


FULL: dict[str, Any] = {
    "models": TWO_MODELS,
    "replicates": {"forget": [3, "5"], "seeds": [0, 1]},
    "selection": {"holdout": 0, "seed": 3},
    "objectives": ["gap", "ra"],
    "constraints": {"ua": {"min": 0.95}, "rte": {"max": 2}},
    "resources": {"cpus": 2, "gpus": 0.5},
    "axes": {"sparsity": [0, 0.9]},
    "training": {"epochs": 3, "lr": "1e-3"},
    "data": {"root": "data", "verify": False},
    "methods": {
        "neggrad": None,
        "neglora": {
            "lr": {"log": ["1e-5", 1e-2]},
            "rank": {"int": [2, 8]},
            "targets": "head",
            "configurations": [{"rank": 2}],
        },
    },
    "overrides": [{"when": {"model": "resnet_nano"}, "methods": {"neglora": {"targets": [["fc"], "conv"]}}}],
}


@pytest.mark.parametrize("changes", [{}, FULL, {"models": TWO_MODELS}])
def test_a_resolved_space_is_explicit_and_parses_to_an_equal_one(changes: dict[str, Any]) -> None:
    space = space_of(**changes)
    resolved = space.resolved()
    again = parse_space(yaml.safe_dump(resolved, sort_keys=False), "study.yaml")
    assert again == space
    assert again.resolved() == resolved
    assert again.cells() == space.cells()
    assert json.loads(json.dumps(resolved)) == resolved
    assert resolved.keys() == Space.model_fields.keys()
    for method, settings in resolved["methods"].items():
        names = {parameter.name for parameter in METHODS[method].parameters}
        assert names - set(resolved["axes"]) <= settings.keys()


def test_a_space_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        space_of().study = "other"


def test_differences() -> None:
    old = space_of(**FULL).resolved()
    assert differences(old, copy.deepcopy(old)) == []
    new = copy.deepcopy(old)
    new["search"] |= {"trials": 99, "seed": 7}
    new["resources"] = {"cpus": 8, "gpus": 1}
    new["methods"]["neglora"]["rank"] = [2, 4]
    new["methods"]["neggrad"].pop("epochs")
    new["overrides"][0]["methods"]["neglora"]["targets"] = ["fc"]
    new["constraints"]["ua"] = {"min": 0.9, "max": 1}
    new["training"]["epochs"] = None
    new["datasets"] = ["digits", "more"]
    assert sorted(differences(old, new)) == sorted(
        [
            "search.seed: was 0, now 7",
            "methods.neglora.rank: was {'int': [2, 8]}, now [2, 4]",
            "methods.neggrad.epochs: was 1, now absent",
            "overrides[0].methods.neglora.targets: was [['fc'], 'conv'], now ['fc']",
            "constraints.ua.min: was 0.95, now 0.9",
            "constraints.ua.max: was absent, now 1",
            "training.epochs: was 3, now null",
            "datasets: was ['digits'], now ['digits', 'more']",
        ]
    )


def test_only_what_no_trial_depends_on_may_change() -> None:
    more = space_of(search={"trials": 9}, resources={"cpus": 2}, confirm={"forget": [5]})
    assert differences(space_of().resolved(), more.resolved()) == []
    assert differences(more.resolved(), space_of(confirm={"forget": [5, 6], "seeds": [1]}).resolved()) == []
    assert differences(space_of().resolved(), space_of(study="other").resolved()) == ["study: was small, now other"]
