"""The surroundings of a trial, as plain data: which data and model, trained and measured how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from neglora.data import (
    Augmentation,
    DataError,
    DataOptions,
    DatasetEntry,
    DatasetInfo,
    ImageDataset,
    dataset_names,
    find_dataset,
)
from neglora.models import OPTIONS, find_model
from neglora.recipe import Recipe
from neglora.recipes import load_recipe
from neglora.train import recipe_of

#: What `Setting.weights` says where training starts from timm's pretrained weights.
PRETRAINED = "pretrained"


@dataclass(frozen=True)
class Setting:
    """The surroundings of a trial: everything but method, parameters, forget set and seed. Plain JSON data.

    Attributes:
        dataset, model: names that `find_dataset` and `find_model` know.
        data: how datasets are read from disk.
        architecture: options of models, by name (`neglora.models.OPTIONS`).
        weights: file of trained weights that studies start from instead of training a base; `pretrained` for timm's,
            from which base and Retrain are trained on; None for neither.
        training: `recipe`, the name of another recipe than the model's own, and changes to the recipe and to the
            dataset's augmentation, by field name.
        holdout, split_seed: of the test images' two halves.
        batch_size: images in an evaluation batch.
        attacks: `confidence` or `all`, for the report half.
        audits: names of `neglora.audits.AUDITS` that models are asked where all there is is measured.
        retain_samples, test_samples: how many retained and test images a trial is measured on while searching; None
            for all.
        probe_samples: retained images at which a trial is looked first: one at chance there is not measured further.
        prefix_gib: memory for what a worker's trials compute alike; 0 computes everything for every trial. D_f's
            activations are used for the ascent where they fit within it, so that it is part of what a trial does.
        threads: of one task.
    """

    dataset: str
    model: str
    data: DataOptions = field(default_factory=DataOptions)
    architecture: dict[str, str] = field(default_factory=dict)
    weights: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    holdout: float = 0.0
    split_seed: int = 0
    batch_size: int = 64
    attacks: Literal["confidence", "all"] = "all"
    audits: tuple[str, ...] = ()
    retain_samples: int | None = None
    test_samples: int | None = None
    probe_samples: int | None = None
    prefix_gib: float = 2.0
    threads: int = 1

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Setting:
        """From the plain data that `dataclasses.asdict` gives, as JSON may have rewritten it."""
        audits = tuple(plain.get("audits", ()))
        return cls(**{**plain, "data": DataOptions.of(plain["data"]), "audits": audits})

    @property
    def recipe(self) -> Recipe:
        own = {field.name for field in fields(Recipe)}
        changes = {name: value for name, value in self.training.items() if name in own}
        name = self.training.get("recipe")
        return (load_recipe(name).recipe if name else recipe_of(self.model)).changed(changes)

    @property
    def staged(self) -> bool:
        """Whether a search measures less than there is."""
        return not (self.retain_samples is None and self.test_samples is None and self.probe_samples is None)

    @property
    def chosen_options(self) -> dict[str, str]:
        """What makes the model another one than by default: a study's options may be for its other models."""
        entry = find_model(self.model)
        taken = entry.options if entry else ()
        return {name: value for name, value in self.architecture.items() if name in taken and value != OPTIONS[name][0]}

    @property
    def weights_file(self) -> Path | None:
        """The file that holds the base, where none is trained."""
        return None if self.weights in (None, PRETRAINED) else Path(str(self.weights))

    @property
    def pretrained(self) -> str | None:
        """What timm calls the weights that training starts from; None where they are drawn anew."""
        entry = find_model(self.model)
        return entry.pretrained if entry and self.weights == PRETRAINED else None

    def augmentation(self, dataset: ImageDataset) -> Augmentation:
        """How training images are varied: as the dataset has it, with this setting's changes."""
        return dataset.augmentation.changed(self.training)

    @property
    def _entry(self) -> DatasetEntry:
        entry = find_dataset(self.dataset)
        if entry is None:
            raise DataError(f"unknown dataset {self.dataset!r}; datasets are {', '.join(dataset_names())}")
        return entry

    def dataset_info(self) -> DatasetInfo:
        """What is known of the dataset before it is loaded.

        Raises:
            DataError: the dataset is unknown, or even that needs files that are missing.
        """
        return self._entry.info(self.data)

    def load_dataset(self) -> ImageDataset:
        """
        Raises:
            DataError: the dataset is unknown, missing or damaged.
        """
        return self._entry.load(self.data)
