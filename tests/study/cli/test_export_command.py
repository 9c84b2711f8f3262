"""`neglora export` on a small study that ran in this process: checked against its record, refused where it differs."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from neglora.data import parse_forget
from neglora.kept import ADAPTERS
from neglora.prerequisites import base_of, ensure, retrain_of
from neglora.record import Record, trial_id
from neglora.session import Session
from neglora.trial import Task, run_trial
from study.cli import main
from study.ledger import Ledger, read_ledger
from study.space import parse_space
from study.surroundings import setting_of

SPACE = """
study: tiny
datasets: [digits]
models: [resnet_nano]
replicates: {forget: [3, [1, 2]], seeds: [0]}
search: {trials: 1}
training: {epochs: 1}
evaluation: {attacks: confidence}
methods:
  neggrad: {lr: 1.0e-3}
  neglora: {lr: 1.0e-2, rank: 4, targets: last.conv+head}
"""
NEGLORA, NEGGRAD, RETRAIN = (f"digits-resnet_nano-{method}-0000" for method in ("neglora", "neggrad", "retrain"))


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A study's folder with Retrain, NegGrad, NegLoRA, a diverged and a failed trial."""
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
                lost = Record(trial_id(cell.identity, 2), cell.identity, cell.fixed, "failed", "the worker was lost")
                ledger.append(lost)
    assert [record.status for record in read_ledger(folder)] == ["ok", "ok", "diverged", "failed", "ok"]
    return folder


def export(study: Path, trial: str, to: Path, *options: str) -> int:
    return main(["export", str(study), "--trial", trial, "--to", str(to), *options])


def record_of(study: Path, trial: str) -> Record:
    return next(record for record in read_ledger(study) if record.trial == trial)


@pytest.mark.parametrize(("trial", "adapted"), [(NEGLORA, True), (NEGGRAD, False)])
def test_a_trial_is_exported_as_its_record_says(study, tmp_path, capsys, trial, adapted):
    assert export(study, trial, tmp_path / "out") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "measures exactly as its record says" in told
    assert ("has no kept adapter and runs again" in told) != adapted
    assert (tmp_path / "out" / "adapter" / "adapter_config.json").exists() == adapted
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    [first, _] = record_of(study, trial).replicates
    assert card["metrics"] == first["report"]
    assert card["selection"] == first["metrics"]
    assert (card["study"], card["trial"], card["checked"]["differences"]) == ("tiny", trial, [])
    assert card["retrain"]["ta"] == record_of(study, RETRAIN).replicates[0]["report"]["ta"]


def test_a_replicate_is_chosen_by_its_forget_set_in_any_order(study, tmp_path):
    assert export(study, NEGLORA, tmp_path / "out", "--forget", "[2, 1]", "--seed", "0") == 0
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["params"]["forget"] == ["1", "2"]
    assert card["metrics"] == record_of(study, NEGLORA).replicates[1]["report"]


def test_retrain_is_a_model_without_an_adapter(study, tmp_path):
    assert export(study, RETRAIN, tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "card.json", "model.safetensors"]


def test_the_command_on_the_card_makes_the_same_numbers(study, tmp_path, capsys):
    assert export(study, NEGLORA, tmp_path / "out") == 0
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    capsys.readouterr()
    words = shlex.split(card["command"])[1:]
    assert main([*words, "--storage", str(study.parent), "--json", "--to", str(tmp_path / "again")]) == 0
    result = json.loads(capsys.readouterr().out)
    timed = {"rte", "rte_epoch", "speedup"}
    same = set(card["metrics"]) - timed
    assert {name: result["metrics"][name] for name in same} == {name: card["metrics"][name] for name in same}
    again = json.loads((tmp_path / "again" / "card.json").read_text())
    assert again["sha256"] == card["sha256"], "the same weights, adapter and base to the bit"


@pytest.fixture(scope="module")
def staged(study, tmp_path_factory) -> Path:
    """A study on the same artifacts, measured in stages: the second trial in full too, and on what was not seen."""
    folder = study.parent / "staged"
    plain = yaml.safe_load(SPACE) | {"study": "staged", "replicates": {"forget": [[1, 2]], "seeds": [0]}}
    plain["evaluation"] = {"attacks": "confidence", "retain_samples": 200, "test_samples": 60}
    space = parse_space(yaml.safe_dump(plain | {"confirm": {"forget": [3]}}), "staged.yaml")
    session = Session(study.parent)
    cell = next(cell for cell in space.cells() if cell.method == "neglora")
    setting = setting_of(space.resolved(), "digits", "resnet_nano")
    folder.mkdir()
    (folder / "study.yaml").write_text(yaml.safe_dump(space.resolved()))
    with Ledger.open(folder) as ledger:
        for number, fidelity, forget in (
            (0, "search", [1, 2]),
            (1, "search", [1, 2]),
            (1, "full", [1, 2]),
            (1, "confirm", 3),
        ):
            task = Task(
                trial=trial_id(cell.identity, number),
                cell=cell.identity,
                params=cell.fixed,
                setting=setting,
                replicates=((forget, 0),),
                fidelity=fidelity,
            )
            ledger.append(run_trial(session, task))
    assert [record.fidelity for record in read_ledger(folder)] == ["search", "search", "full", "confirm"]
    return folder


def test_a_trial_on_subsets_is_made_again_and_measured_in_full(staged, tmp_path, capsys):
    assert export(staged, NEGLORA, tmp_path / "out") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "runs again" in told
    assert (
        "Its record is of subsets, and was compared in what it says of all forgotten images. It measures exactly"
        in told
    )
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    # The other trial has the same configuration, and was measured in full.
    full = next(record for record in read_ledger(staged) if record.fidelity == "full")
    timed = {"rte", "rte_epoch", "speedup"}
    for half, key in (("report", "metrics"), ("metrics", "selection")):
        recorded = full.replicates[0][half]
        assert {name: card[key].get(name) for name in set(recorded) - timed} == {
            name: value for name, value in recorded.items() if name not in timed
        }
    assert card["details"]["counts"] == full.replicates[0]["details"]["counts"]
    assert card["confirmed"] is None
    assert "never saw" not in (tmp_path / "out" / "README.md").read_text()


def test_what_subsets_say_of_all_forgotten_images_has_to_be_met(staged, study, tmp_path, capsys):
    folder = tmp_path / "spoiled"
    folder.mkdir()
    (folder / "study.yaml").write_bytes((staged / "study.yaml").read_bytes())
    record = json.loads((staged / "ledger.jsonl").read_text().splitlines()[0])
    record["replicates"][0]["metrics"]["ua"] -= 0.5
    # On a sample it may be another one.
    record["replicates"][0]["metrics"]["ra"] -= 0.5
    (folder / "ledger.jsonl").write_text(json.dumps(record) + "\n")
    assert export(folder, NEGLORA, tmp_path / "out", "--storage", str(study.parent)) == 1
    told = capsys.readouterr().err
    assert "ua on the selection half" in told
    assert "ra on the" not in told


def test_the_card_says_how_the_trial_carried_over(staged, tmp_path):
    trial = NEGLORA.replace("0000", "0001")
    _, _, full, confirm = read_ledger(staged)
    assert export(staged, trial, tmp_path / "out") == 0
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["metrics"] == full.replicates[0]["report"]
    assert card["confirmed"]["pairs"] == [{"forget": 3, "seed": 0, "status": "ok"}]
    assert card["confirmed"]["report"] == confirm.report
    told = (tmp_path / "out" / "README.md").read_text()
    assert "## On what the search never saw" in told
    assert card["confirmed"]["words"].split(":")[0] in told
    assert f"{100 * confirm.report['ra']:.2f}" in told
    assert "Tried on: 3 with seed 0." in told


def test_the_model_of_an_unseen_pair_is_exported_too(staged, tmp_path, capsys):
    trial = NEGLORA.replace("0000", "0001")
    confirm = read_ledger(staged)[-1]
    assert export(staged, trial, tmp_path / "out", "--forget", "3") == 0
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["metrics"] == confirm.replicates[0]["report"]
    assert "--forget 3" in card["command"]
    assert export(staged, trial, tmp_path / "no", "--forget", "7") == 2
    assert "it has --forget [1, 2] --seed 0, --forget 3 --seed 0" in capsys.readouterr().err


@pytest.fixture
def spoiled(study, tmp_path) -> Path:
    """The same study, whose records say something else."""
    folder = tmp_path / "spoiled"
    folder.mkdir()
    (folder / "study.yaml").write_bytes((study / "study.yaml").read_bytes())
    lines = []
    for line in (study / "ledger.jsonl").read_text().splitlines():
        record = json.loads(line)
        for replicate in record["replicates"]:
            if replicate["metrics"]:
                replicate["metrics"]["ra"] -= 0.1
        lines.append(json.dumps(record) + "\n")
    (folder / "ledger.jsonl").write_text("".join(lines))
    (folder / ADAPTERS).symlink_to(study / ADAPTERS)
    return folder


def test_a_record_that_is_not_met_writes_nothing(study, spoiled, tmp_path, capsys):
    assert export(spoiled, NEGLORA, tmp_path / "out", "--storage", str(study.parent)) == 1
    told = capsys.readouterr().err
    assert "ra on the selection half: recorded 0." in told
    assert "Nothing was written" in told
    assert not (tmp_path / "out").exists()
    assert export(spoiled, NEGLORA, tmp_path / "out", "--force", "--storage", str(study.parent)) == 0
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert len(card["checked"]["differences"]) == 1
    assert "does not measure as its record says" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("trial", "options", "part"),
    [
        ("digits-resnet_nano-neglora-0001", "", f"the nearest are {NEGLORA}"),
        ("digits-resnet_nano-neggrad-0001", "", "is diverged and left no model: "),
        ("digits-resnet_nano-neggrad-0002", "", "is failed and left no model: the worker was lost"),
        (NEGLORA, "--forget 5", "it has --forget 3 --seed 0, --forget [1, 2] --seed 0"),
        (NEGLORA, "--seed 4", "no such replicate"),
        (NEGLORA, "--forget 12", "has no class '12'"),
        (NEGLORA, "--storage {empty}", "is missing from"),
        (NEGLORA, "--to {full}", "is not overwritten"),
    ],
)
def test_a_mistake_is_named_and_ends_with_2(study, tmp_path, capsys, trial, options, part):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    given = shlex.split(options.format(empty=tmp_path / "empty", full=tmp_path / "full"))
    assert export(study, trial, tmp_path / "out", *given) == 2
    told = capsys.readouterr().err
    assert part in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()


def test_a_missing_artifact_says_what_makes_it(study, tmp_path, capsys):
    assert export(study, NEGLORA, tmp_path / "out", "--storage", str(tmp_path / "empty")) == 2
    command = capsys.readouterr().err.strip().splitlines()[-1]
    assert main(shlex.split(command)[1:]) == 0
    assert export(study, NEGLORA, tmp_path / "out", "--storage", str(tmp_path / "empty")) == 0


@pytest.mark.parametrize("content", [None, "", "no ledger"])
def test_a_folder_without_a_ledger(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(parse_space(SPACE, "tiny.yaml").resolved()))
    if content == "":
        (tmp_path / "ledger.jsonl").write_text("")
    assert export(tmp_path, NEGLORA, tmp_path / "out") == 2
    assert ("holds no study" if content is None else "has no trials yet") in capsys.readouterr().err
