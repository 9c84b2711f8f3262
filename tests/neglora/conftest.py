"""Small surroundings for the library's tests: a slice of the digits, registered as `tiny`, and its prerequisites."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from neglora.artifacts import ArtifactStore
from neglora.data import DATASETS, DatasetEntry, DatasetInfo, ForgetSet, ImageDataset
from neglora.data.digits import load
from neglora.prerequisites import base_of, ensure, retrain_of
from neglora.session import Session
from neglora.setting import Setting

#: A few seconds of training: enough to be better than chance, far from good.
TRAINING = {"epochs": 3, "warmup_epochs": 1, "batch_size": 32, "recovery_epochs": 1}
FORGET = 3
#: The same as the library holds it.
FORGET_SET = ForgetSet((FORGET,))
SPARSITY = 0.9


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> ImageDataset:
    return load()


@pytest.fixture(scope="package")
def tiny(digits: ImageDataset) -> Iterator[ImageDataset]:
    """The first 240 training and 120 test images of the digits, in the registry while this package's tests run."""
    dataset = ImageDataset(
        info=DatasetInfo("tiny", digits.info.classes, digits.info.image_size, digits.info.channels),
        train_images=digits.train_images[:240],
        train_labels=digits.train_labels[:240],
        test_images=digits.test_images[:120],
        test_labels=digits.test_labels[:120],
        mean=digits.mean,
        std=digits.std,
        augmentation=digits.augmentation,
    )
    with pytest.MonkeyPatch.context() as patch:
        entry = DatasetEntry("a slice of the digits", lambda options: dataset.info, lambda options: dataset)
        patch.setitem(DATASETS, "tiny", entry)
        yield dataset


@pytest.fixture(scope="package")
def setting(tiny: ImageDataset) -> Setting:
    return Setting(dataset="tiny", model="resnet_nano", training=TRAINING, holdout=0.5)


@pytest.fixture(scope="package")
def storage(tmp_path_factory: pytest.TempPathFactory, setting: Setting, tiny: ImageDataset) -> Path:
    """A storage with a base, a sparse base and Retrain of seed 0. Tests read it and add nothing."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("storage")
    store = ArtifactStore(folder / "artifacts")
    for wanted in (base_of(setting, 0, 0.0), base_of(setting, 0, SPARSITY), retrain_of(setting, 0, FORGET_SET)):
        ensure(wanted, store, tiny)
    return folder


@pytest.fixture(scope="package")
def session(storage: Path) -> Session:
    """A warm worker, shared: trials leave it as it was."""
    return Session(storage)
