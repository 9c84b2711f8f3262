"""Recommendations on handmade records, and commands that read back."""

import shlex

import handmade
import pytest
import yaml

from neglora.data import DataOptions
from neglora.setting import Setting
from study.aggregate import trials_table
from study.cli.common import forget_of
from study.cli.settings import SECTIONS as OPTION_SECTIONS
from study.recommend import FORGOTTEN, SECTIONS, front_rows, recommend, reproduce_command

NEAR = handmade.values(1.0, 0.99, 0.96, 1.0)
FAR = handmade.values(0.5, 1.0, 0.98, 0.5)
BEATEN = handmade.values(0.5, 0.9, 0.9, 0.4)


def choose(*metrics, constraints=None, **more):
    return recommend(trials_table([handmade.record(i, metrics=m, **more) for i, m in enumerate(metrics)]), constraints)


def test_nearest_to_retrain_on_the_front():
    assert choose(FAR, NEAR, BEATEN).trial.endswith("-0001")


def test_a_dominated_trial_is_not_recommended_even_if_it_is_nearer():
    """Better than Retrain in TA: farther from it than a trial that it dominates."""
    better = handmade.values(1.0, 1.0, 1.0, 1.0)
    beaten = handmade.values(1.0, 1.0, 0.97, 1.0)
    assert choose(beaten, better).trial.endswith("-0001")


def test_selection_values_decide_not_the_reported_ones():
    swapped = [
        handmade.record(0, metrics=NEAR, report=BEATEN),
        handmade.record(1, metrics=handmade.values(0.9, 0.9, 0.9, 0.9), report=handmade.values()),
    ]
    assert recommend(trials_table(swapped)).trial.endswith("-0000")


def test_ties_go_to_the_earlier_trial():
    assert choose(NEAR, NEAR).trial.endswith("-0000")


@pytest.mark.parametrize("fidelity", ["search", "confirm"])
def test_only_full_fidelity_enters(fidelity):
    choice = choose(NEAR, fidelity=fidelity)
    assert choice.trial is None
    assert "in full" in choice.reason


def test_retrain_is_never_a_candidate():
    assert recommend(trials_table([handmade.retrain()])).trial is None


def test_constraints_are_kept_where_any_trial_keeps_them():
    near_but_below = handmade.values(0.94, 1.0, 0.97, 1.0)
    far_but_above = handmade.values(0.99, 0.8, 0.8, 0.9)
    assert choose(near_but_below, far_but_above).trial.endswith("-0000")
    assert choose(near_but_below, far_but_above, constraints={"ua": {"min": 0.95}}).trial.endswith("-0001")
    assert choose(near_but_below, far_but_above, constraints={"runner_up": {"max": 0.3}}).trial.endswith("-0000")


def test_a_constraint_that_none_keeps_is_said():
    choice = choose(FAR, constraints={"ua": {"min": 0.95}})
    assert choice.trial is not None
    assert "no trial keeps the constraint ua >= 0.95" in choice.reason


def without_retrain(*args):
    return handmade.values(*args, gap=None, tow=None)


def test_without_retrain_the_highest_minimum_among_those_that_forgot():
    choice = choose(
        without_retrain(FORGOTTEN, 0.9, 0.8, 1.0),
        without_retrain(1.0, 0.85, 0.85, 1.0),
        without_retrain(FORGOTTEN - 0.01, 1.0, 1.0, 1.0),
    )
    assert choice.trial.endswith("-0001")
    assert "Retrain" in choice.reason


def test_without_retrain_an_unmeasured_attack_does_not_matter():
    assert choose(without_retrain(1.0, 0.9, 0.9, None)).trial is not None


def test_without_retrain_and_forgetting_there_is_none():
    choice = choose(without_retrain(0.5, 1.0, 1.0, 0.5))
    assert choice.trial is None
    assert "no trial forgot 95%" in choice.reason


@pytest.mark.parametrize(
    ("records", "words"),
    [([], "nothing was tried"), ([handmade.record(0, status="diverged", reason="nan")], "diverged or failed")],
)
def test_says_why_there_is_none(records, words):
    choice = recommend(trials_table(records))
    assert choice.trial is None
    assert words in choice.reason


def test_front_rows_are_in_order_and_without_the_beaten():
    records = [handmade.record(i, metrics=m) for i, m in enumerate([FAR, BEATEN, NEAR])]
    assert [trial[-4:] for trial in front_rows(trials_table(records))["trial"]] == ["0000", "0002"]


def settings_of(command):
    words = shlex.split(command)
    assert words[:2] == ["neglora", "unlearn"]
    pairs = list(zip(words[2::2], words[3::2], strict=True))
    options = {name: value for name, value in pairs if name != "--set"}
    return options, dict(value.split("=", 1) for name, value in pairs if name == "--set")


def test_the_command_reads_back():
    params = {
        "lr": 1e-05,
        "alpha": 16,
        "targets": ["blocks.0.mlp", "head"],
        "merge": "dense",
        "label": "true",
        "note": "a: [b",
        "dropout": 0.1,
        "sparsity": 0.0,
        "retract": 0.99,
    }
    record = handmade.record(0, params=params)
    options, settings = settings_of(reproduce_command(record, handmade.study()))
    assert options == {
        "--dataset": "digits",
        "--model": "tinyvit_nano",
        "--method": "neglora",
        "--forget": "3",
        "--seed": "0",
        "--holdout": "0.5",
    }
    assert {name: yaml.safe_load(value) for name, value in settings.items()} == params


def test_the_command_says_what_differs_from_the_defaults():
    study = handmade.study(
        resources={"cpus": 2, "gpus": 0},
        selection={"holdout": 0, "seed": 7},
        training={"epochs": 3, "lr": None},
    )
    options, settings = settings_of(reproduce_command(handmade.record(0, params={"lr": 0.1}), study))
    assert options["--threads"] == "2"
    assert options["--holdout"] == "0"
    # What a study of an earlier version did not know, and did without.
    assert settings == {"retract": "null", "lr": "0.1", "training.epochs": "3", "selection.seed": "7"}


def test_the_command_is_quoted_and_names_the_replicate():
    dataset = "imagefolder:/data/my photos; rm $HOME"
    ones = [handmade.replicate(NEAR, NEAR, forget="it's", seed=s) for s in (0, 5)]
    record = handmade.record(0, dataset=dataset, replicates=ones)
    options, _ = settings_of(reproduce_command(record, handmade.study(), replicate=1))
    assert options["--dataset"] == dataset
    assert options["--forget"] == "it's"
    assert options["--seed"] == "5"


def test_the_command_has_whatever_numbers_depend_on():
    study = handmade.study(
        data={
            "root": "/data/my sets", "verify": False, "download": True, "image_size": 64, "mean": [0.5, 0.5, 0.25],
            "std": None, "damaged": 0.01, "workers": 3, "seed": 2, "test_share": 0.2,
        },
        architecture={"windows": "padded"},
        weights={"tinyvit_nano": "/models/mine.safetensors", "resnet_nano": "/models/other.pt"},
        training={"recipe": "vit_paper", "betas": [0.9, 0.95], "flip": True, "lr": None},
        evaluation={"batch_size": 128, "attacks": "all", "retain_samples": 200, "prefix_gib": 2.0},
    )  # fmt: skip
    command = reproduce_command(handmade.record(0, params={"lr": 0.1}), study)
    assert "--no-verify" in shlex.split(command)
    options, settings = settings_of(command.replace(" --no-verify", ""))
    assert options["--data-root"] == "/data/my sets"
    assert options["--weights"] == "/models/mine.safetensors"
    assert {name: yaml.safe_load(value) for name, value in settings.items()} == {
        "retract": None,
        "lr": 0.1,
        "training.recipe": "vit_paper",
        "training.betas": [0.9, 0.95],
        "training.flip": True,
        "architecture.windows": "padded",
        "data.image_size": 64,
        "data.mean": [0.5, 0.5, 0.25],
        "data.seed": 2,
        "evaluation.batch_size": 128,
    }


@pytest.mark.parametrize(
    ("evaluation", "expected"),
    [
        ({"batch_size": 64}, {"evaluation.prefix_gib": "0.0"}),
        ({"batch_size": 64, "prefix_gib": 0.5}, {"evaluation.prefix_gib": "0.5"}),
        ({"batch_size": 64, "prefix_gib": 2.0, "test_samples": 100, "probe_samples": 50}, {}),
    ],
    ids=["of an earlier version", "other", "default"],
)
def test_the_command_makes_the_numbers_in_full(evaluation, expected):
    """Samples are the search's; what D_f's ascent may use changes every number a little."""
    study = handmade.study(evaluation=evaluation)
    params = {"lr": 0.1, "retract": None}
    for record in (handmade.record(0, params=params), handmade.record(0, params=params, fidelity="confirm")):
        _, settings = settings_of(reproduce_command(record, study))
        assert settings == {"lr": "0.1", "retract": "null"} | expected


def test_weights_of_a_study_are_a_file_from_anywhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for given, expected in (("mine.pt", str(tmp_path / "mine.pt")), ("pretrained", "pretrained")):
        options, _ = settings_of(reproduce_command(handmade.record(0), handmade.study(weights=given)))
        assert options["--weights"] == expected


def test_the_defaults_that_the_command_leaves_out_are_those_of_unlearn():
    data = DataOptions()
    assert SECTIONS["data"] == {name: getattr(data, name) for name in SECTIONS["data"]}
    setting = Setting("digits", "tinyvit_nano")
    assert SECTIONS["evaluation"] == {name: getattr(setting, name) for name in ("batch_size", "attacks", "prefix_gib")}
    assert set(SECTIONS) == set(OPTION_SECTIONS)


@pytest.mark.parametrize(
    "forget", [[3, 5], ["cat", "no", "a, b"], {"random": 1e-05, "seed": 4}, "[odd", "it's", "7", "{random: 0.1}"]
)
@pytest.mark.parametrize("dataset", ["digits", "imagefolder:photos"])
def test_forget_sets_of_every_kind_read_back(forget, dataset):
    record = handmade.record(0, dataset=dataset, replicates=[handmade.replicate(NEAR, NEAR, forget=forget)])
    options, _ = settings_of(reproduce_command(record, handmade.study()))
    read = forget_of(options["--forget"])
    assert read == forget or read == [forget]


def test_an_index_stays_one_where_folders_may_have_numbers_for_names():
    record = handmade.record(0, dataset="imagefolder:photos", replicates=[handmade.replicate(NEAR, NEAR, forget=3)])
    options, _ = settings_of(reproduce_command(record, handmade.study()))
    assert forget_of(options["--forget"]) == [3]


def test_the_command_needs_a_replicate():
    with pytest.raises(ValueError, match="has 1 replicates"):
        reproduce_command(handmade.record(0), handmade.study(), replicate=1)
