"""What a study looks at before it starts a cluster: its data, and what was made before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch

from neglora.artifacts import ArtifactStore
from neglora.data import DATASETS, DataError, DataOptions, DatasetEntry, ForgetError, ForgetSet, ImageDataset
from neglora.data.digits import load
from neglora.models import WeightsError, build_model
from neglora.prerequisites import needed
from neglora.setting import Setting
from study.cluster.missing import missing


class Heard:
    """Keeps what progress is told; nothing else may be told to it here."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def lossy(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A dataset with images that could not be decoded; their names may be changed."""
    damaged: list[str] = []

    def load_lossy(options: DataOptions) -> ImageDataset:
        whole = load(options)
        return replace(whole, info=replace(whole.info, name="lossy"), damaged=tuple(damaged))

    monkeypatch.setitem(DATASETS, "lossy", DatasetEntry("", DATASETS["digits"].info, load_lossy))
    return damaged


def looked_at(storage: Path, dataset: str) -> tuple[int, list[str]]:
    """How many prerequisites are absent, and what was told."""
    wanted = [
        one
        for model in ("tinyvit_nano", "resnet_nano")
        for one in needed(Setting(dataset, model), forgets=[ForgetSet((3,))], seeds=[0, 1], sparsities=[0.0, 0.5])
    ]
    heard = Heard()
    return len(missing(wanted, str(storage), heard)), heard.lines  # type: ignore[arg-type]


def test_what_was_made_before_is_not_missing(tmp_path: Path) -> None:
    assert looked_at(tmp_path, "digits") == (2 * 2 * 3, [])
    setting = Setting("digits", "tinyvit_nano")
    base, *_ = needed(setting, forgets=[], seeds=[0], sparsities=[])
    fingerprint = setting.load_dataset().fingerprint
    ArtifactStore(tmp_path / "artifacts").get_or_make("base", base.determines(fingerprint), lambda folder: ({}, {}))
    assert looked_at(tmp_path, "digits") == (2 * 2 * 3 - 1, [])


@pytest.mark.parametrize(
    ("damaged", "told"),
    [
        (["a.jpg"], "lossy: 1 image is damaged and left out: a.jpg"),
        (["a.jpg", "b.jpg"], "lossy: 2 images are damaged and left out: a.jpg, b.jpg"),
        (
            [f"{n}.jpg" for n in range(1200)],
            "lossy: 1,200 images are damaged and left out: 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, ...",
        ),
    ],
)
def test_damaged_images_are_named_once_for_all_models(
    tmp_path: Path, lossy: list[str], damaged: list[str], told: str
) -> None:
    lossy += damaged
    assert looked_at(tmp_path, "lossy")[1] == [told]


def test_data_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    wanted = needed(
        Setting("cifar10", "tinyvit_nano", data=DataOptions(root=str(tmp_path))), forgets=[], seeds=[0], sparsities=[]
    )
    with pytest.raises(DataError, match="cifar10"):
        missing(wanted, str(tmp_path), Heard())  # type: ignore[arg-type]


def test_weights_that_do_not_fit_are_told_before_anything_is_made(tmp_path: Path) -> None:
    def absent(classes: int) -> int:
        model = build_model("tinyvit_nano", num_classes=classes, image_size=32, channels=3, seed=0)
        safetensors.torch.save_file(model.state_dict(), tmp_path / "mine.safetensors")
        setting = Setting("digits", "tinyvit_nano", weights=str(tmp_path / "mine.safetensors"))
        wanted = needed(setting, forgets=[], seeds=[0, 1], sparsities=[0.5])
        return len(missing(wanted, str(tmp_path), Heard()))  # type: ignore[arg-type]

    assert absent(10) == 2 * 2
    with pytest.raises(WeightsError, match="classifier has 7 classes, the dataset 10"):
        absent(7)


def test_a_share_that_comes_to_no_image_is_told_before_anything_starts(tmp_path: Path) -> None:
    wanted = needed(Setting("digits", "resnet_nano"), forgets=[ForgetSet(share=1e-4)], seeds=[0], sparsities=[])
    with pytest.raises(ForgetError, match="random"):
        missing(wanted, str(tmp_path), Heard())  # type: ignore[arg-type]
