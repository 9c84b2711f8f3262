"""Which prerequisites are there already: looked at in the driver, before any cluster is started. Without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neglora.data import ImageDataset, split
from neglora.mirrored import open_artifacts
from neglora.prerequisites import Prerequisite, find, model_of_file
from study.progress import Progress


def missing(prerequisites: Sequence[Prerequisite], storage: str, progress: Progress) -> list[Prerequisite]:
    """Those that are absent or damaged, read and verified here; `progress` is told of images that are left out.

    Raises:
        DataError: a dataset is missing or damaged.
        ForgetError: a forget set, or a half of the test images, would be empty.
        WeightsError: a file of weights that is wanted cannot be read, or does not fit its model.
        StorageError: a storage on a URI cannot be read.
    """
    store = open_artifacts(storage, commits=True)
    datasets: dict[str, ImageDataset] = {}
    fitting: set[tuple[str, str, Path]] = set()
    absent = []
    for wanted in prerequisites:
        key = repr((wanted.setting.dataset, wanted.setting.data))
        if key not in datasets:
            datasets[key] = wanted.setting.load_dataset()
            if damage := datasets[key].damage:
                progress.say(damage)
        if wanted.forget is not None:
            split(datasets[key], wanted.forget, holdout=wanted.setting.holdout, seed=wanted.setting.split_seed)
        if find(wanted, store, datasets[key]) is None:
            fit = (key, wanted.setting.model, wanted.given) if wanted.given else None
            if fit and fit not in fitting:
                model_of_file(wanted.setting, datasets[key], fit[2])
                fitting.add(fit)
            absent.append(wanted)
    return absent
