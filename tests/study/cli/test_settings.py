"""What the options of `neglora unlearn` say: the same as a study's file would."""

from __future__ import annotations

import shlex

import pytest
import torch

import study.cli
from neglora.data import DataOptions
from neglora.models import build_model
from neglora.record import Record, cell_id
from neglora.setting import Setting
from study.cli.common import UserError
from study.cli.settings import settings_of
from study.recommend import reproduce_command
from study.space import parse_space
from study.surroundings import setting_of

UNLEARN = "unlearn --dataset digits --model tinyvit_nano --method neglora --forget 3"


def read(words: str):
    return settings_of(study.cli._parser().parse_args(shlex.split(words)))


def refused(words: str) -> str:
    with pytest.raises(UserError) as raised:
        read(words)
    return str(raised.value)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "mine.pt"
    model = build_model("tinyvit_nano", num_classes=10, image_size=32, channels=3, seed=0)
    torch.save(model.state_dict(), file)
    return file


def test_without_options_it_is_the_setting_that_the_library_has():
    setting, params, forget = read(UNLEARN)
    assert setting == Setting("digits", "tinyvit_nano")
    assert (params["targets"], params["rank"], params["sparsity"]) == ("ffn", 16, 0.0)
    assert forget == "3"


def test_options_and_sections(weights, tmp_path):
    setting, params, _ = read(
        f"{UNLEARN} --weights {weights} --data-root {tmp_path} --no-verify --download --holdout 0.25 --threads 2 "
        "--set lr=3e-3 --set targets=[head.fc] --set data.seed=4 --set data.test_share=0.3 "
        "--set architecture.windows=padded --set training.epochs=3 --set training.recipe=nano --set training.shift=1 "
        "--set evaluation.batch_size=32 --set evaluation.attacks=confidence --set selection.seed=5 "
        "--audit probe --audit relearn --audit probe"
    )
    data = DataOptions(root=str(tmp_path), verify=False, download=True, seed=4, test_share=0.3)
    assert setting == Setting(
        "digits",
        "tinyvit_nano",
        data=data,
        architecture={"windows": "padded"},
        weights=str(weights),
        training={"epochs": 3, "recipe": "nano", "shift": 1},
        holdout=0.25,
        split_seed=5,
        batch_size=32,
        attacks="confidence",
        audits=("relearn", "probe"),
        threads=2,
    )
    assert (params["lr"], list(params["targets"])) == (3e-3, ["head.fc"])


def test_weights_are_found_from_where_the_command_runs(weights, monkeypatch):
    monkeypatch.chdir(weights.parent)
    assert read(f"{UNLEARN} --weights mine.pt")[0].weights == str(weights)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[3, 5]", [3, 5]), ("{random: 0.1, seed: 2}", {"random": 0.1, "seed": 2}), ("7", "7"), ("['7', 1]", ["7", 1])],
)
def test_forget_sets(text, expected):
    assert (
        read(f"unlearn --dataset digits --model tinyvit_nano --method neggrad --forget {shlex.quote(text)}")[2]
        == expected
    )


def test_the_papers_settings_and_what_is_said_beside_them():
    _, params, _ = read(f"{UNLEARN} --paper --set rank=4 --set lr=3e-4")
    assert (params["rank"], params["alpha"], params["dropout"], params["batch_size"]) == (4, 32, 0.1, 256)
    _, params, _ = read("unlearn --dataset digits --model tinyvit_nano --method neggrad --forget 3 --paper")
    assert params["batch_size"] == 256
    assert "rank" not in params


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ("--weights /nowhere.pt", "--weights: "),
        ("--set training.epoch=3", "--set training.epoch: "),
        ("--set training.recipe=nanno", "--set training.recipe: "),
        ("--set data.image_sizes=64", "--set data.image_sizes: "),
        ("--set architecture.window=padded", "--set architecture.window"),
        ("--set architecture.windows=paded", "--set architecture.windows: "),
        ("--set evaluation.attacks=some", "--set evaluation.attacks: "),
        ("--set selection.seeds=1", "--set selection.seeds: "),
        ("--audit relern", "--audit: unknown audit 'relern'; did you mean 'relearn'?"),
        ("--audit probe --forget '{random: 0.1}'", "--audit: audits ask whether a class is gone"),
        ("--set model.rank=1", "--set model.rank: expected training, data, architecture, evaluation, selection"),
        ("--set targets=last.block.conv", "--set targets: "),
        ("--seed -1", "--seed: "),
        ("--forget '[3, 3]'", "--forget: "),
        ("--forget '[3, 12]'", "--forget: "),
        ("--forget '{random: 1.5}'", "--forget: "),
        ("--forget '{share: 0.5}'", "--forget: "),
    ],
)
def test_a_mistake_is_named_by_its_option(options, part):
    assert part in refused(f"{UNLEARN} {options}")


def test_mistakes_of_several_sections_are_told_together():
    told = refused(f"{UNLEARN} --set training.epoch=3 --set evaluation.attacks=x --forget 12 --seed -1")
    assert [told.count(part) for part in ("training.epoch", "evaluation.attacks", "--forget", "--seed")] == [1] * 4


def test_the_command_that_reproduces_a_trial_has_its_surroundings(weights):
    space = parse_space(
        f"""
study: all
datasets: [digits]
models: [tinyvit_nano]
replicates: {{forget: [[3, 5]], seeds: [2]}}
selection: {{holdout: 0.25, seed: 3}}
search: {{trials: 1}}
resources: {{cpus: 2}}
training: {{epochs: 3, recipe: nano, lr: 1.0e-5, shift: 1}}
architecture: {{windows: padded}}
weights: {{tinyvit_nano: {weights}}}
data: {{verify: false, test_share: 0.3, seed: 1}}
evaluation: {{batch_size: 32, attacks: confidence}}
audits: [probe]
methods:
  neglora: {{lr: 1.0e-5, rank: 4, targets: [[head.fc, stages.3.blocks.0.mlp.fc1]]}}
""",
        "all.yaml",
    )
    plain = space.resolved()
    cell = next(cell for cell in space.cells() if cell.method == "neglora")
    replicate = {"forget": [3, 5], "seed": 2, "status": "ok", "metrics": {}, "report": {}}
    record = Record(f"{cell_id(cell.identity)}-0000", cell.identity, cell.fixed, "ok", replicates=[replicate])
    setting, params, forget = read(reproduce_command(record, plain).removeprefix("neglora "))
    assert setting == setting_of(plain, "digits", "tinyvit_nano")
    assert params == cell.fixed
    assert forget == [3, 5]
