"""The commands in this process: what they print, and exit code 2 without a traceback for a user's mistake."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import safetensors.torch

from neglora.models import build_model
from study.cli import COMMANDS, main
from tests.trees import write_image_folder

UNLEARN = "unlearn --dataset digits --model tinyvit_nano --method neglora --forget 3"
QUICK = "--set training.epochs=1 --set lr=3e-3 --set targets=last.ffn --set rank=4 --set batch_size=64"
QUICKSTART = Path(__file__).parents[3] / "search_spaces" / "quickstart.yaml"


def said(capsys: pytest.CaptureFixture[str], words: str, expected: int) -> str:
    """Run a command; what it printed on the stream that fits its outcome, on one line."""
    assert main(shlex.split(words)) == expected
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return " ".join((captured.err if expected else captured.out).split())


def test_help_of_every_command_teaches(capsys):
    assert len(COMMANDS) >= 6
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stopped:
            main([name, "--help"])
        assert stopped.value.code == 0
        assert COMMANDS[name][1:20] in " ".join(capsys.readouterr().out.split())


def test_check_says_how_large_a_space_is(capsys):
    assert "4 cells, 49 trials" in said(capsys, f"check {shlex.quote(str(QUICKSTART))}", 0)


def test_check_names_every_mistake_of_every_file(capsys, tmp_path):
    (tmp_path / "a.yaml").write_text("study: a\ndatasets: [digitz]\n")
    (tmp_path / "b.yaml").write_text("stady: b\n")
    told = said(capsys, f"check {tmp_path}/a.yaml {tmp_path}/b.yaml {tmp_path}/absent.yaml", 2)
    for part in ("did you mean 'digits'", "stady", "absent.yaml"):
        assert part in told


def test_check_looks_for_images_where_it_is_told(capsys, tmp_path):
    write_image_folder(tmp_path / "data" / "photos", classes=("cat", "dog"))
    space = tmp_path / "photos.yaml"
    space.write_text(QUICKSTART.read_text().replace("[digits]", "['imagefolder:photos']").replace("[3]", "[cat]"))
    assert "2 cells" not in said(capsys, f"check {space}", 2)
    assert "4 cells" in said(capsys, f"check {space} --data-root {tmp_path}/data", 0)


def test_shipped_spaces_are_fine_without_any_data(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = sorted(QUICKSTART.parent.glob("*.yaml"))
    told = said(capsys, f"check {shlex.join(map(str, files))}", 0)
    assert told.count(": fine,") == len(files) >= 11


@pytest.mark.parametrize("option", ["", "--no-verify"])
def test_a_study_whose_data_is_missing_says_so_before_anything_starts(capsys, tmp_path, option):
    space = QUICKSTART.parent / "cifar10-resnet50.yaml"
    words = f"run {space} --storage {tmp_path}/runs --data-root {tmp_path}/nowhere {option}"
    told = said(capsys, words, 2)
    assert f"{tmp_path}/nowhere" in told
    assert "cifar10" in told


def test_list_names_what_there_is(capsys):
    told = said(capsys, "list", 0)
    for name in ("digits", "tinyvit_nano", "partial_neggrad", "attn_out", "runner_up", "nsga3", "grouped convolutions"):
        assert name in told


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (f"{UNLEARN} --dataset digitz", "did you mean 'digits'"),
        (f"{UNLEARN} --model tinyvit_nan", "did you mean 'tinyvit_nano'"),
        (f"{UNLEARN} --method neglra", "did you mean 'neglora'"),
        (f"{UNLEARN} --method retrain", "reference of every method"),
        (f"{UNLEARN} --forget 10", "has no class '10'"),
        (f"{UNLEARN} --set rank=0", "rank: expected a whole number >= 1, got 0"),
        (f"{UNLEARN} --set lr=-1", "lr: expected a number > 0"),
        (f"{UNLEARN} --set sparsity=1.0", "sparsity: expected a number in [0, 1)"),
        (f"{UNLEARN} --set epochs=0", "epochs: expected a whole number >= 1"),
        (f"{UNLEARN} --set rnak=4", "has no parameter 'rnak'"),
        (f"{UNLEARN} --set targets=last.block.conv", "matches no layer"),
        (f"{UNLEARN} --set rank", "expected key=value"),
        (f"{UNLEARN} --set training.epoch=3", "training.epoch"),
        (f"{UNLEARN} --holdout 1", "expected a share in [0, 1)"),
        (f"{UNLEARN} --storage /proc/nothing", "cannot"),
        (f"{UNLEARN} --storage s3:///runs", "names no bucket"),
        (f"{UNLEARN} --storage s3://ann:word@bucket/runs", "credentials do not belong in a URI"),
        ("status s3://bucket", "names no study"),
        ("status /nowhere", "holds no study"),
        ("report /nowhere", "holds no study"),
        ("run /nowhere.yaml", "/nowhere.yaml"),
    ],
)
def test_a_mistake_is_named_and_ends_with_2(capsys, words, part):
    assert part in said(capsys, words, 2)


def test_several_mistakes_are_named_together(capsys):
    told = said(capsys, f"{UNLEARN} --dataset x --model y --holdout 2 --threads 0", 2)
    for part in ("--dataset", "--model", "--holdout", "--threads"):
        assert part in told


def test_unlearn_prints_one_json_object_and_writes_the_model(capsys, tmp_path):
    storage = f"--storage {tmp_path}/runs"
    assert main(shlex.split(f"{UNLEARN} {QUICK} {storage} --json --to {tmp_path}/out")) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) >= {"metrics", "base", "retrain", "params", "cost"}
    assert result["retrain"] is None
    assert result["metrics"]["gap"] is None
    assert {"ua", "ra", "ta", "mia"} <= set(result["metrics"]) & set(result["base"])
    assert result["params"]["targets"] == "last.ffn"
    weights = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert any(name.startswith("stages.3") for name in weights)
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["metrics"] == result["metrics"]

    told = said(capsys, f"{UNLEARN} {QUICK} {storage} --retrain", 0)
    assert "times faster than retraining" in told
    assert "No Retrain" not in told


def test_unlearn_starts_from_a_file_and_writes_what_export_writes(capsys, tmp_path):
    model = build_model("tinyvit_nano", num_classes=10, image_size=32, channels=3, seed=5)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "mine.safetensors")
    words = UNLEARN.replace("--forget 3", "--forget '[3, 5]'").replace("tinyvit_nano", "tinyvit_nano --paper")
    given = f"--weights {tmp_path}/mine.safetensors --set evaluation.attacks=confidence"
    assert main(shlex.split(f"{words} {given} --storage {tmp_path}/runs --json --to {tmp_path}/out")) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["params"]["forget"], result["params"]["batch_size"]) == (["3", "5"], 256)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"model.safetensors", "base.safetensors", "adapter", "card.json", "README.md"}
    base = safetensors.torch.load_file(tmp_path / "out" / "base.safetensors")
    assert all(base[name].equal(tensor) for name, tensor in model.state_dict().items()), "not trained any further"
    told = said(capsys, f"{words} {given} --storage {tmp_path}/runs --to {tmp_path}/runs", 2)
    assert "is not overwritten" in told


def test_a_diverged_ascent_is_said_not_printed_as_a_result(capsys, tmp_path):
    told = said(capsys, f"{UNLEARN} --set training.epochs=1 --set lr=1e25 --storage {tmp_path}", 2)
    assert "diverged" in told
