"""A user's own images and weights from a folder and a file to an exported model, through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from PIL import Image
from safetensors.torch import load_file

from neglora.data import DataOptions, ImageDataset, find_dataset
from neglora.data.digits import load
from neglora.evaluation import infer
from neglora.models import build_model
from neglora.train import Recipe, train
from study.ledger import read_ledger

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

CLASSES = ("ada", "bela", "cleo", "dora")
SPACE = {
    "study": "photos",
    "models": ["resnet_nano"],
    "replicates": {"forget": ["cleo"], "seeds": [0]},
    "selection": {"holdout": 0.5},
    "search": {"sampler": "random", "trials": 2, "seed": 0},
    "training": {"epochs": 1},
    "methods": {"neggrad": {"lr": {"log": [1e-5, 1e-3]}}, "neglora": {"lr": {"log": [1e-3, 1e-2]}, "rank": [2, 4]}},
}


def write_photos(folder: Path) -> str:
    """A folder per class with small images of digits, for training and for testing; the dataset's name."""
    digits = load(DataOptions())
    parts = {
        "train": (digits.train_images, digits.train_labels, 40),
        "test": (digits.test_images, digits.test_labels, 15),
    }
    for part, (images, labels, count) in parts.items():
        for label, name in enumerate(CLASSES):
            place = folder / part / name
            place.mkdir(parents=True)
            for number, image in enumerate(images[labels == label][:count]):
                Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{number:03d}.png")
    return f"imagefolder:{folder}"


def train_model(dataset: ImageDataset, file: Path) -> dict[str, torch.Tensor]:
    """A user's own training: a few epochs, and a plain state dict."""
    torch.set_num_threads(1)
    model = build_model("resnet_nano", num_classes=len(CLASSES), image_size=32, channels=3, seed=7)
    everything = torch.arange(len(dataset.train_labels))
    train(model, dataset.augmented(everything, batch_size=32, seed=7), Recipe(epochs=6, warmup_epochs=1, batch_size=32))
    outputs = infer(model, dataset.test(batch_size=32))
    assert (outputs.logits.argmax(1) == outputs.labels).float().mean() > 0.6, "a model that has something to forget"
    torch.save({"state_dict": model.state_dict()}, file)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "study.cli", *words],
        cwd=folder,
        env=os.environ | {"CI": "1", "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )


def test_from_photos_and_a_weights_file_to_an_exported_model(tmp_path):
    name = write_photos(tmp_path / "photos")
    entry = find_dataset(name)
    assert entry is not None
    dataset = entry.load(DataOptions())
    assert dataset.info.classes == CLASSES
    mine = train_model(dataset, tmp_path / "mine.pt")
    space = SPACE | {"datasets": [name], "weights": str(tmp_path / "mine.pt")}
    (tmp_path / "photos.yaml").write_text(yaml.safe_dump(space))

    ran = command(tmp_path, "run", "photos.yaml")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    study = tmp_path / "runs" / "photos"
    records = {record.trial: record for record in read_ledger(study)}
    assert len(records) == 5
    summary = json.loads((study / "summary.json").read_text())
    [cell] = [cell for cell in summary["cells"] if cell["method"] == "neglora"]
    kept = {path.name.split(".forget-")[0] for path in (study / "adapters").iterdir()}
    assert set(cell["front"]) <= kept <= {trial for trial in records if "-neglora-" in trial}

    trial = cell["recommended"]["trial"] or cell["front"][0]
    exported = command(tmp_path, "export", "runs/photos", "--trial", trial, "--forget", "cleo", "--to", "out")
    assert exported.returncode == 0, exported.stdout + exported.stderr
    assert "exactly as its record says" in " ".join(exported.stdout.split())

    base = load_file(tmp_path / "out" / "base.safetensors")
    assert all(torch.equal(tensor, mine[name]) for name, tensor in base.items()), "it began at the user's own weights"
    merged, plain = (
        build_model("resnet_nano", num_classes=len(CLASSES), image_size=32, channels=3, seed=0) for _ in range(2)
    )
    merged.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"))
    plain.load_state_dict(base)
    adapted = PeftModel.from_pretrained(plain, str(tmp_path / "out" / "adapter")).eval()
    outputs, together = (infer(model, dataset.train(batch_size=64)) for model in (merged, adapted))
    assert (outputs.logits - together.logits).abs().max() <= 1e-5

    card = json.loads((tmp_path / "out" / "card.json").read_text())
    forgotten = outputs.labels == CLASSES.index("cleo")
    wrong = (outputs.logits.argmax(1) != outputs.labels)[forgotten].double().mean().item()
    assert card["metrics"]["ua"] == pytest.approx(wrong)
    assert card["metrics"]["ua"] == records[trial].replicates[0]["report"]["ua"]
    assert card["forget"]["classes"] == ["cleo"]
    assert card["dataset"]["fingerprint"] == dataset.fingerprint

    again = command(tmp_path, *card["command"].replace(f"{tmp_path}/", "").split()[1:], "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads(again.stdout)["metrics"]["ua"] == card["metrics"]["ua"]
