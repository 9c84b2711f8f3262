"""The paper's search spaces: what each holds, and that its header says what it costs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmarks.cost import PACE_BF16, cost_of, seconds_a_pass
from neglora.models import match_targets, model_shape
from study.dimensions import Choice, Range
from study.space import load_space, parse_space

FOLDER = Path(__file__).parents[2] / "search_spaces"
DATASETS = {"cifar10": 10, "cifar100": 100, "imagenet100": 100}
MODELS = ("tinyvit_21m", "vit_small", "resnet50")
SINGLE = [FOLDER / f"{dataset}-{model}.yaml" for dataset in DATASETS for model in MODELS]
PAPER = FOLDER / "paper.yaml"
SPARSITIES, EPOCHS = [0.0, 0.5, 0.75, 0.9, 0.95], [1, 2]


def header(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").split("\n\n", 1)[0].splitlines()
    return " ".join(line.removeprefix("#").strip() for line in lines)


@pytest.mark.parametrize("path", [*SINGLE, PAPER], ids=lambda path: path.stem)
def test_a_header_says_what_its_study_costs(path: Path) -> None:
    space = load_space(path)
    cost = cost_of(space)
    assert cost.header in header(path), "write it anew: python benchmarks/cost.py search_spaces/*.yaml"
    cells = space.cells()
    assert f"{len(cells)} cells, {sum(cell.trials for cell in cells):,} trials" in header(path)
    assert "ESTIMATE" in header(path)
    assert f"neglora run search_spaces/{path.name}" in header(path)


def test_all_spaces_are_there_and_nothing_else() -> None:
    assert sorted(FOLDER.glob("*.yaml")) == sorted([*SINGLE, PAPER, FOLDER / "quickstart.yaml"])
    assert len(list(FOLDER.glob("blocks/*.yaml"))) >= 2


@pytest.mark.parametrize("path", SINGLE, ids=lambda path: path.stem)
def test_each_has_every_method_and_level_on_one_dataset_and_model(path: Path) -> None:
    space = load_space(path)
    assert f"{space.datasets[0]}-{space.models[0]}" == space.study == path.stem
    assert (len(space.datasets), len(space.models)) == (1, 1)
    assert space.axes == {"sparsity": SPARSITIES, "epochs": EPOCHS}
    assert list(space.methods) == ["neggrad", "partial_neggrad", "neglora"]
    for cell in space.cells():
        if cell.method == "retrain":
            continue
        rate = cell.dimensions["lr"]
        assert isinstance(rate, Range)
        assert rate.log
        assert rate.high / rate.low >= 1e4
        assert cell.fixed["batch_size"] == 256
    adapted = next(cell for cell in space.cells() if cell.method == "neglora")
    assert adapted.dimensions["rank"] == Choice((2, 4, 8, 16, 32, 64))
    first = adapted.configurations[0]
    assert (first["rank"], first["alpha"], first["dropout"]) == (16, 32, 0.1), "Table 4's point runs first"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("method", ["partial_neggrad", "neglora"])
def test_every_choice_of_layers_is_another(model: str, method: str) -> None:
    space = load_space(FOLDER / f"cifar10-{model}.yaml")
    cell = next(cell for cell in space.cells() if cell.method == method)
    targets = cell.dimensions["targets"]
    assert isinstance(targets, Choice)
    shape = model_shape(model, num_classes=10, image_size=32)
    layers = [tuple(match_targets(shape, choice)) for choice in targets.values]
    assert len(set(layers)) == len(layers) >= 3


def test_the_whole_grid_is_the_nine_studies_together() -> None:
    whole = {cell.id: cell for cell in load_space(PAPER).cells()}
    parts = {cell.id: cell for path in SINGLE for cell in load_space(path).cells()}
    assert whole == parts
    assert len(whole) == 9 * (3 * len(SPARSITIES) * len(EPOCHS) + 1)


def test_costs_are_counted() -> None:
    # ResNet50 at 224 pixels is known for 4.1 billion multiply-accumulates, ViT-S/16 for 4.6.
    for model, billions in {"resnet50": 4.1, "vit_small": 4.6}.items():
        assert seconds_a_pass("imagenet100", model, {}) * PACE_BF16 / 2e9 == pytest.approx(billions, rel=0.02)
    one = {
        "study": "one",
        "datasets": ["cifar10"],
        "models": ["resnet50"],
        "replicates": {"forget": [3], "seeds": [0]},
        "search": {"trials": 10},
        "training": {"epochs": 2, "warmup_epochs": 0},
        "methods": {"neggrad": {"epochs": 2}},
    }
    cost = cost_of(parse_space(yaml.safe_dump(one), "one"))
    second = seconds_a_pass("cifar10", "resnet50", {}) / 3600
    assert (cost.cells, cost.trials, cost.replicates) == (2, 11, 1)
    assert cost.preparing / second == pytest.approx(3 * 2 * (50_000 + 45_000) + 2 * 2 * 60_000)
    assert cost.trying / second == pytest.approx(10 * (3 * 2 * 5_000) + 11 * 2 * 60_000)
