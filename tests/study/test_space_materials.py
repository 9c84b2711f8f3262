"""Data, architecture, weights and forget sets: what is looked for before a run, and how it is written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from neglora.data import DATASETS, DatasetEntry, DatasetInfo
from study.space import Problem, Space, SpaceError, differences, load_space, parse_space
from tests.trees import write_image_folder

SMALL: dict[str, Any] = {
    "study": "small",
    "datasets": ["digits"],
    "models": ["tinyvit_nano"],
    "replicates": {"forget": [3]},
    "search": {"trials": 4},
    "methods": {"neglora": {"rank": [4, 8]}},
}


def space_of(data: dict[str, Any] | None = None, **changes: Any) -> Space:
    return parse_space(yaml.safe_dump(SMALL | changes, sort_keys=False), "a.yaml", data=data)


def only_problem(**changes: Any) -> Problem:
    with pytest.raises(SpaceError) as caught:
        space_of(**changes)
    (problem,) = caught.value.problems
    return problem


def parsed_again(space: Space) -> Space:
    return parse_space(yaml.safe_dump(space.resolved(), sort_keys=False), "study.yaml")


def test_images_of_a_folder_are_looked_at_where_the_command_line_says(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "photos", classes=("cat", "dog", "owl"))
    changes = {"datasets": ["imagefolder:photos"], "replicates": {"forget": ["dog", ["owl", "cat"]]}}
    problem = only_problem(**changes)
    assert (problem.path, problem.line) == ("datasets[0]", 3)
    assert "photos does not exist" in problem.message
    space = space_of(data={"root": str(tmp_path)}, **changes)
    assert space.data.root == str(tmp_path)
    assert parsed_again(space) == space
    problem = only_problem(data={"root": str(tmp_path)}, **(changes | {"replicates": {"forget": ["cow"]}}))
    assert "imagefolder:photos has no class 'cow'" in problem.message


def test_a_place_in_the_current_folder_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image_folder(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    assert space_of(datasets=["imagefolder:photos"], replicates={"forget": ["1"]}).data.root == str(tmp_path)
    absolute = f"imagefolder:{tmp_path / 'photos'}"
    assert space_of(datasets=[absolute], replicates={"forget": ["1"]}).data.root is None
    assert space_of().data.root is None
    assert space_of(data={"root": "photos"}).data.root == str(tmp_path / "photos")


def test_what_the_command_line_says_of_data_wins(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(SMALL | {"data": {"root": "here", "damaged": 0.2}}))
    data = load_space(path, data={"root": "/there", "verify": False}).data
    assert (data.root, data.verify, data.download, data.damaged) == ("/there", False, False, 0.2)


def test_classes_are_looked_for_in_every_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    info = DatasetInfo("pets", ("cat", "dog", "owl"), 32, 3)
    monkeypatch.setitem(DATASETS, "pets", DatasetEntry("", lambda options: info, DATASETS["digits"].load))
    forget = [2, ["cat", 1], 3, {"random": 0.5}]
    with pytest.raises(SpaceError) as caught:
        space_of(datasets=["digits", "pets"], replicates={"forget": forget})
    assert [(one.path, one.message.split(";")[0]) for one in caught.value.problems] == [
        ("replicates.forget[1]", "digits has no class 'cat'"),
        ("replicates.forget[2]", "pets has no class 3"),
    ]


@pytest.mark.parametrize(
    "forget",
    [
        [3, "4"],
        [[3, 5], [3], {"random": 0.1, "seed": 7}],
        [["3", 5], {"random": "1e-1"}],
    ],
)
def test_forget_sets_are_written_down_as_they_are_read(forget: list[Any]) -> None:
    space = space_of(replicates={"forget": forget})
    assert parsed_again(space) == space
    assert yaml.safe_load(yaml.safe_dump(space.resolved()))["replicates"]["forget"] == list(space.replicates.forget)


def test_a_random_share_has_a_seed_and_is_a_number() -> None:
    assert space_of(replicates={"forget": [{"random": "1e-1"}]}).replicates.forget == ({"random": 0.1, "seed": 0},)


def test_options_of_models_are_those_of_some_model_of_the_study() -> None:
    space = space_of(models=["tinyvit_nano", "resnet_nano"], architecture={"windows": "padded"})
    assert space.architecture == {"windows": "padded"}
    assert parsed_again(space) == space
    problem = only_problem(models=["resnet_nano"], architecture={"windows": "padded"})
    assert problem.path == "architecture.windows"
    assert "none of this study's models has windows: leave it out (it is for tinyvit_nano" in problem.message


def test_a_model_that_cannot_be_built_is_a_mistake() -> None:
    problem = only_problem(models=["tinyvit_nano", "timm:test_vitt"])
    assert (problem.path, problem.line) == ("models[1]", 6)
    assert "did you mean 'timm:test_vit'?" in problem.message


def test_weights_are_written_down_as_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.pt").touch()
    space = space_of(weights="model.pt")
    assert space.weights == str(tmp_path / "model.pt")
    assert parsed_again(space) == space
    space = space_of(weights={"tinyvit_nano": "../" + tmp_path.name + "/model.pt"})
    assert space.weights == {"tinyvit_nano": str(tmp_path / "model.pt")}
    assert parsed_again(space) == space
    assert space_of(models=["vit_small"], weights="pretrained").weights == "pretrained"
    problem = only_problem(models=["tinyvit_nano", "resnet_nano"], weights="model.pt")
    assert "one file fits one model: write a mapping of tinyvit_nano and resnet_nano to files" in problem.message
    mixed = {"vit_small": "pretrained", "tinyvit_nano": "model.pt"}
    assert parsed_again(space_of(models=["tinyvit_nano", "vit_small"], weights=mixed)).weights == {
        "vit_small": "pretrained",
        "tinyvit_nano": str(tmp_path / "model.pt"),
    }


def test_where_data_lies_may_change_between_runs_and_what_it_is_may_not() -> None:
    old = space_of().resolved()
    new = space_of(data={"root": "/elsewhere", "workers": 3, "download": True}).resolved()
    assert differences(old, new) == []
    changed = space_of(data={"image_size": 16, "seed": 1}).resolved()
    assert differences(old, changed) == ["data.image_size: was null, now 16", "data.seed: was 0, now 1"]


def test_layers_of_partial_neggrad_are_set_for_each_model() -> None:
    models = ["tinyvit_nano", "resnet_nano"]
    space = space_of(
        models=models,
        methods={"partial_neggrad": {"targets": ["partial", "head"]}},
        overrides=[{"when": {"model": "resnet_nano"}, "methods": {"partial_neggrad": {"targets": "last.conv"}}}],
    )
    cells = {cell.model: cell for cell in space.cells() if cell.method == "partial_neggrad"}
    assert cells["tinyvit_nano"].dimensions["targets"].values == ("partial", "head")  # type: ignore[union-attr]
    assert cells["resnet_nano"].fixed["targets"] == "last.conv"
    plain = [cell for cell in space_of(models=models, methods={"partial_neggrad": {}}).cells() if cell.fixed]
    assert [cell.fixed["targets"] for cell in plain] == ["partial", "partial"]
    problem = only_problem(models=models, methods={"partial_neggrad": {"targets": ["partial", "ffn"]}})
    assert problem.path == "methods.partial_neggrad.targets[1]"
    assert problem.message.startswith("on resnet_nano: target 'ffn' matches no layer")


def test_an_included_file_may_have_overrides_for_models_of_others(tmp_path: Path) -> None:
    overrides = [
        {"when": {"model": ["resnet_nano", "tinyvit_nano"]}, "methods": {"neglora": {"alpha": 8}}},
        {"when": {"model": "resnet_nano"}, "methods": {"neglora": {"targets": "conv"}}},
    ]
    (tmp_path / "block.yaml").write_text(yaml.safe_dump({"overrides": overrides}))
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(SMALL | {"include": "block.yaml"}))
    space = load_space(path)
    assert [override.when.model for override in space.overrides] == [("tinyvit_nano",)]
    assert parsed_again(space) == space
    assert only_problem(overrides=overrides[1:]).message == "this study has no model 'resnet_nano'"
