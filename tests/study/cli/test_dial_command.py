"""`neglora dial`, and `neglora export --scale`, on a small study that ran in this process."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from neglora.data import parse_forget
from neglora.evaluation import evaluate_outputs, infer_dataset
from neglora.kept import ADAPTERS
from neglora.models import build_model
from neglora.prerequisites import base_of, ensure, retrain_of
from neglora.record import Record, trial_id
from neglora.session import Session
from neglora.trial import Task, run_trial
from study.cli import main
from study.cli.dial_command import sparklines
from study.dialed import DIALS, read_dials
from study.ledger import Ledger, read_ledger
from study.space import parse_space
from study.surroundings import setting_of
from tests.neglora.test_dial import DIAL

SPACE = """
study: tiny
datasets: [digits]
models: [resnet_nano]
replicates: {forget: [3, [1, 2]], seeds: [0]}
search: {trials: 1}
training: {epochs: 2}
evaluation: {attacks: confidence}
methods:
  neggrad: {lr: 1.0e-3, retract: 0.9}
  neglora: {lr: 3.0e-2, rank: 4, targets: last.conv+head, retract: 0.9}
"""
NEGLORA, NEGGRAD, RETRAIN = (f"digits-resnet_nano-{method}-0000" for method in ("neglora", "neggrad", "retrain"))
POINTS = ("--points", "5")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A study's folder with Retrain, both methods retracted, and a diverged trial."""
    torch.set_num_threads(1)
    storage = tmp_path_factory.mktemp("runs")
    folder = storage / "tiny"
    space = parse_space(SPACE, "tiny.yaml")
    setting = setting_of(space.resolved(), "digits", "resnet_nano")
    session = Session(storage)
    dataset = session.dataset(setting)
    forgets = space.resolved()["replicates"]["forget"]
    wanted = [base_of(setting, 0, 0.0), *(retrain_of(setting, 0, parse_forget(dataset.info, one)) for one in forgets)]
    for one in wanted:
        ensure(one, session.store, dataset)
    with Ledger.open(folder) as ledger:
        (folder / "study.yaml").write_text(yaml.safe_dump(space.resolved()))
        for cell in space.cells():
            plan = Task(
                trial=trial_id(cell.identity, 0),
                cell=cell.identity,
                params=cell.fixed,
                setting=setting,
                replicates=tuple((forget, 0) for forget in forgets),
                keep=str(folder),
            )
            ledger.append(run_trial(session, plan))
            if cell.method == "neggrad":
                diverging = replace(plan, trial=trial_id(cell.identity, 1), params=cell.fixed | {"lr": 1e30})
                ledger.append(run_trial(session, diverging))
    assert [record.status for record in read_ledger(folder)] == ["ok", "ok", "diverged", "ok"]
    return folder


@pytest.fixture
def copied(study, tmp_path) -> Path:
    """The same study, to be written to; its artifacts are where they were."""
    folder = tmp_path / "tiny"
    shutil.copytree(study, folder, ignore=shutil.ignore_patterns(DIALS, "ledger.lock"))
    (tmp_path / "artifacts").symlink_to(study.parent / "artifacts")
    return folder


def dial(study: Path, *options: str) -> int:
    return main(["dial", str(study), *options])


def record_of(study: Path, trial: str) -> Record:
    return next(record for record in read_ledger(study) if record.trial == trial)


def said(capsys) -> str:
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("trial", "kept"), [(NEGLORA, True), (NEGGRAD, False)])
def test_a_trial_is_dialed_and_kept(copied, capsys, monkeypatch, trial, kept):
    monkeypatch.setenv("COLUMNS", "80")
    assert dial(copied, "--trial", trial, *POINTS) == 0
    out = capsys.readouterr().out
    told = " ".join(out.split())
    assert "It measures exactly as its record says" in told
    assert ("its ascent ran again" in told) != kept
    assert f"{copied}/{DIALS}/{trial}.forget-" in told
    assert "the next `neglora report` shows it" in told
    table = out[out.index("scale") : out.index("Nearest")]
    assert max(map(len, table.splitlines())) <= 80
    for part in ("base", "recorded", "nearest", "full ascent", "Retrain"):
        assert part in table
    [made] = read_dials(copied)
    [first, _] = record_of(copied, trial).replicates
    assert (made.trial, made.forget, made.seed, made.from_kept) == (trial, 3, 0, kept)
    assert made.recorded == first["details"]["retraction"]["scale"]
    assert 3 <= made.evaluations <= 5
    at = made.at(made.recorded)
    assert {name: first["report"][name] for name in at.report} == at.report
    assert {name: first["metrics"][name] for name in at.metrics} == at.metrics
    assert made.retrain["report"]["ta"] == record_of(copied, RETRAIN).replicates[0]["report"]["ta"]


def test_the_same_dial_again_has_the_same_numbers(copied):
    dials = []
    for _ in range(2):
        assert dial(copied, "--trial", NEGLORA, "--forget", "[2, 1]", "--seed", "0", *POINTS) == 0
        [made] = read_dials(copied)
        dials.append(made)
    assert dials[0].forget == [1, 2]
    assert dials[0] == replace(dials[1], seconds=dials[0].seconds, provenance=dials[0].provenance)


def test_without_a_trial_it_is_the_recommended_one(copied, capsys):
    assert dial(copied, "--points", "3") == 0
    [made] = read_dials(copied)
    assert made.trial in (NEGLORA, NEGGRAD)
    # A second group: then nobody can tell which one is meant.
    record = record_of(copied, NEGLORA)
    other = replace(
        record, trial=record.trial.replace("resnet", "tinyvit"), cell=record.cell | {"model": "tinyvit_nano"}
    )
    with (copied / "ledger.jsonl").open("a") as ledger:
        ledger.write(other.to_line() + "\n")
    capsys.readouterr()
    assert dial(copied, "--points", "3") == 2
    told = capsys.readouterr().err
    assert "say which" in told
    assert f"--trial {made.trial} " in told
    assert f"--trial {other.trial} " in told


def test_of_a_record_that_is_not_met_nothing_is_kept(copied, capsys):
    lines = []
    for line in (copied / "ledger.jsonl").read_text().splitlines():
        record = json.loads(line)
        for replicate in record["replicates"]:
            if replicate["metrics"]:
                replicate["metrics"]["ra"] -= 0.1
        lines.append(json.dumps(record) + "\n")
    (copied / "ledger.jsonl").write_text("".join(lines))
    assert dial(copied, "--trial", NEGLORA, "--points", "3") == 1
    told = capsys.readouterr().err
    assert "ra on the selection half: recorded 0." in told
    assert "Nothing was written" in told
    assert read_dials(copied) == []
    assert dial(copied, "--trial", NEGLORA, "--points", "3", "--force") == 0
    assert len(read_dials(copied)) == 1


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ("--trial digits-resnet_nano-neglora-0001", f"the nearest are {NEGLORA}"),
        ("--trial digits-resnet_nano-neggrad-0001", "is diverged and left no model: "),
        (f"--trial {RETRAIN}", "has no update to scale"),
        (f"--trial {NEGLORA} --forget 5", "it has --forget 3 --seed 0, --forget [1, 2] --seed 0"),
        (f"--trial {NEGLORA} --seed 4", "no such replicate"),
        (f"--trial {NEGLORA} --points 2", "a dial has at least 3"),
        (f"--trial {NEGLORA} --storage {{empty}}", "is missing from"),
    ],
)
def test_a_mistake_is_named_and_ends_with_2(study, tmp_path, capsys, options, part):
    assert dial(study, *shlex.split(options.format(empty=tmp_path / "empty"))) == 2
    told = capsys.readouterr().err
    assert part in told
    assert "Traceback" not in told
    assert not (study / DIALS).exists()


def test_a_scale_that_a_ledger_makes_up_is_refused(copied, capsys):
    lines = (copied / "ledger.jsonl").read_text().replace('"scale":', '"scale":7.5,"was":')
    (copied / "ledger.jsonl").write_text(lines)
    assert dial(copied, "--trial", NEGLORA, *POINTS) == 2
    assert "a scale lies in [0, 1]" in capsys.readouterr().err


def test_where_it_cannot_be_written(copied, capsys):
    (copied / DIALS).write_text("in the way")
    assert dial(copied, "--trial", NEGLORA, "--points", "3") == 2
    assert "the dial cannot be written to" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, ""])
def test_a_folder_without_a_ledger(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(parse_space(SPACE, "tiny.yaml").resolved()))
        (tmp_path / "ledger.jsonl").write_text(content)
    for options in ((), ("--trial", NEGLORA)):
        assert dial(tmp_path, *options) == 2
        assert ("holds no study" if content is None else "has no trials yet") in capsys.readouterr().err


def test_a_sparkline_has_a_block_for_each_point():
    lines = sparklines(DIAL)
    assert [line[:5] for line in lines[:4]] == ["  UA ", "  RA ", "  TA ", " MIA "]
    assert [line[5:] for line in lines[:4]] == ["▃▃▃ ", "███ ", "███ ", "▃▃▃ "]


def model_in(folder: Path):
    card = json.loads((folder / "card.json").read_text())
    data = card["dataset"]
    model = build_model(
        "resnet_nano",
        num_classes=10,
        image_size=data["image_size"],
        channels=data["channels"],
        seed=0,
        options=card["model"]["architecture"],
    )
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval(), card


def export(study: Path, trial: str, to: Path, *options: str) -> int:
    return main(["export", str(study), "--trial", trial, "--to", str(to), *options])


@pytest.mark.parametrize("trial", [NEGLORA, NEGGRAD])
def test_a_retracted_trial_is_exported_as_its_record_says(study, tmp_path, capsys, trial):
    assert export(study, trial, tmp_path / "out") == 0
    assert "measures exactly as its record says" in said(capsys)
    _, card = model_in(tmp_path / "out")
    [first, _] = record_of(study, trial).replicates
    scale = first["details"]["retraction"]["scale"]
    assert 0 < scale < 1
    assert card["metrics"] == first["report"]
    assert "scale" not in card
    assert f"retracted to {scale:g} of the ascent's update" in (tmp_path / "out" / "README.md").read_text()
    if trial == NEGLORA:
        assert card["adapter"]["scale"] == scale
        config = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())
        assert config["lora_alpha"] == card["adapter"]["alpha"] * scale


@pytest.mark.parametrize("trial", [NEGLORA, NEGGRAD])
@pytest.mark.parametrize("scale", [0.0, 0.375, 1.0])
def test_a_model_at_any_scale_has_its_own_numbers(study, tmp_path, capsys, trial, scale):
    assert export(study, trial, tmp_path / "out", "--scale", str(scale)) == 0
    told = said(capsys)
    model, card = model_in(tmp_path / "out")
    [first, _] = record_of(study, trial).replicates
    recorded = first["details"]["retraction"]["scale"]
    assert f"At its recorded scale of {recorded:g}: it measures exactly as its record says" in told
    session = Session(study.parent)
    setting = setting_of(yaml.safe_load((study / "study.yaml").read_text()), "digits", "resnet_nano")
    dataset = session.dataset(setting)
    splits = session.splits(setting, parse_forget(dataset.info, 3))
    expected = evaluate_outputs(
        infer_dataset(model, dataset, setting.batch_size), splits, seed=0, attacks=setting.attacks
    )
    for half, key in ((expected.report, "metrics"), (expected.metrics, "selection")):
        assert {name: card[key][name] for name in half} == pytest.approx(half, abs=1e-5)
    base = session.get(base_of(setting, 0, 0.0)).model.state_dict()
    moved = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, base[name])]
    assert bool(moved) == (scale > 0)
    assert card["scale"] == {"written": scale, "recorded": recorded}
    assert card["confirmed"] is None
    assert "retraction" not in card["details"]
    assert card["details"]["counts"] == first["details"]["counts"]
    assert f"--scale {scale}" in card["command"]
    page = (tmp_path / "out" / "README.md").read_text()
    assert f"This is the model at {scale:g} of the ascent's update" in page
    assert f"the record is of the model at {recorded:g}" in " ".join(page.split())
    if trial == NEGLORA:
        from peft import PeftModel

        plain, _ = model_in(tmp_path / "out")
        plain.load_state_dict(load_file(tmp_path / "out" / "base.safetensors"))
        adapted = PeftModel.from_pretrained(plain, str(tmp_path / "out" / "adapter")).eval()
        inputs, _ = next(iter(dataset.test(batch_size=16)))
        with torch.no_grad():
            assert torch.allclose(adapted(inputs), model(inputs), atol=1e-4)


def test_the_command_on_a_scaled_card_makes_the_same_model(study, tmp_path):
    (tmp_path / "first").mkdir()
    to = tmp_path / "first" / "out"
    assert export(study, NEGLORA, to, "--scale", "0.5") == 0
    before = json.loads((to / "card.json").read_text())
    assert main(shlex.split(before["command"])[1:]) == 0
    assert json.loads((to / "card.json").read_text())["sha256"] == before["sha256"]


@pytest.mark.parametrize(
    ("trial", "options", "part"),
    [
        (NEGLORA, "--scale 1.5", "a scale lies in [0, 1]"),
        (NEGLORA, "--scale nan", "a scale lies in [0, 1]"),
        (RETRAIN, "--scale 0.5", "it has no update, and no --scale"),
        (NEGLORA, "--scale 0.5 --storage {empty}", "is missing from"),
    ],
)
def test_a_scale_that_cannot_be_exported(study, tmp_path, capsys, trial, options, part):
    given = shlex.split(options.format(empty=tmp_path / "empty"))
    assert export(study, trial, tmp_path / "out", *given) == 2
    assert part in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_statistics_that_were_let_go_leave_no_adapter_beside_the_model(study, tmp_path, capsys):
    """Base and adapter together would be another model."""
    folder = study.parent / "drifting"
    plain = yaml.safe_load(SPACE) | {"study": "drifting", "audits": ["probe"]}
    plain["methods"] = {"neglora": plain["methods"]["neglora"] | {"batchnorm": "update", "retract": 0.5}}
    space = parse_space(yaml.safe_dump(plain), "drifting.yaml")
    setting = setting_of(space.resolved(), "digits", "resnet_nano")
    cell = next(cell for cell in space.cells() if cell.method == "neglora")
    with Ledger.open(folder) as ledger:
        (folder / "study.yaml").write_text(yaml.safe_dump(space.resolved()))
        task = Task(trial_id(cell.identity, 0), cell.identity, cell.fixed, setting, ((3, 0),), keep=str(folder))
        ledger.append(run_trial(Session(study.parent), task))
    assert list((folder / ADAPTERS).iterdir())
    for options in ((), ("--scale", "0.5")):
        assert export(folder, NEGLORA, tmp_path / "out", *options) == 0
        assert "measures exactly as its record says" in said(capsys)
        assert not (tmp_path / "out" / "adapter").exists()
    # The dial runs no audits, and misses none.
    assert "probe" in record_of(folder, NEGLORA).report
    assert dial(folder, "--points", "3") == 0
    told = said(capsys)
    assert "measures exactly as its record says" in told
    assert "its ascent ran again" in told
    assert "probe" not in read_dials(folder)[0].points[0].report
