"""What trials start from: the base model, its pruned and recovered forms, and Retrain. Each is made once and kept."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neglora.artifacts import Artifact, ArtifactStore
from neglora.data import DATASETS, ImageDataset, TensorBatches, forget_class, split
from neglora.evaluation import infer
from neglora.hardware import choose_device, cpu_model, device_name, use_threads
from neglora.methods import METHODS
from neglora.metrics import accuracy
from neglora.models import build_model
from neglora.prune import apply_masks, measured_sparsity, prune
from neglora.seeds import derive_seed
from neglora.train import RECIPES, Epoch, Recipe, train

#: Raised when the code makes another model from the same settings, so that older artifacts are not taken for it.
VERSION = 1

MASK = "mask:"


@dataclass(frozen=True)
class Setting:
    """The surroundings of a trial: everything but method, parameters, forget class and seed. Plain JSON data.

    Attributes:
        dataset, model: keys of the registries.
        data_root: folder of datasets that are read from disk; None for the embedded ones.
        training: changes to the model's recipe, by field name.
        holdout, split_seed: of the test images' two halves.
        batch_size: images in an evaluation batch.
        attacks: `confidence` or `all`, for the report half.
        threads: of one task.
    """

    dataset: str
    model: str
    data_root: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    holdout: float = 0.0
    split_seed: int = 0
    batch_size: int = 64
    attacks: Literal["confidence", "all"] = "all"
    threads: int = 1

    @property
    def recipe(self) -> Recipe:
        return RECIPES[self.model].changed(self.training)

    def load_dataset(self) -> ImageDataset:
        return DATASETS[self.dataset].load(Path(self.data_root) if self.data_root else None)


@dataclass(frozen=True)
class Prerequisite:
    """One thing to be made: `base`, `sparse` (needs the base) or `retrain`.

    Attributes:
        kind: which.
        setting: the surroundings.
        seed: fixes initialization and order of the data.
        sparsity: of a `sparse` one, in (0, 1).
        forget: class index, of a `retrain` one.
    """

    kind: Literal["base", "sparse", "retrain"]
    setting: Setting
    seed: int
    sparsity: float = 0.0
    forget: int | None = None

    @property
    def needs(self) -> Prerequisite | None:
        """What has to be there first."""
        return Prerequisite("base", self.setting, self.seed) if self.kind == "sparse" else None

    @property
    def title(self) -> str:
        """What progress calls it."""
        extra = {"base": "", "sparse": f" {self.sparsity:g}", "retrain": f" without {self.forget}"}[self.kind]
        return f"{self.setting.dataset} {self.setting.model} {self.kind}{extra} seed {self.seed}"

    def determines(self, fingerprint: str) -> dict[str, Any]:
        """Everything that determines the weights."""
        recipe = asdict(self.setting.recipe)
        if self.kind != "sparse":
            recipe = {name: value for name, value in recipe.items() if not name.startswith(("pruning", "recovery"))}
        return {
            "version": VERSION,
            "kind": self.kind,
            "data": fingerprint,
            "model": self.setting.model,
            "recipe": recipe,
            "seed": self.seed,
            "sparsity": self.sparsity,
            "forget": self.forget,
        }


def base_of(setting: Setting, seed: int, sparsity: float) -> Prerequisite:
    """The base model that a trial at this sparsity starts from."""
    return Prerequisite("sparse" if sparsity > 0 else "base", setting, seed, sparsity)


def retrain_of(setting: Setting, seed: int, forget: int) -> Prerequisite:
    """Retrain for one forget class."""
    return Prerequisite("retrain", setting, seed, forget=forget)


OnEpoch = Callable[[Epoch, int], None]


def find(prerequisite: Prerequisite, store: ArtifactStore, dataset: ImageDataset) -> Artifact | None:
    """The artifact of a prerequisite if it was made before and is whole."""
    return store.get(prerequisite.kind, prerequisite.determines(dataset.fingerprint))


def ensure(
    prerequisite: Prerequisite, store: ArtifactStore, dataset: ImageDataset, on_epoch: OnEpoch | None = None
) -> Artifact:
    """The artifact of a prerequisite, made now (with what it needs) if it is absent or damaged.

    Args:
        prerequisite: what.
        store: where.
        dataset: the loaded dataset of its setting, on any device; training runs on this process's GPU if it has one.
        on_epoch: told about each epoch and their number, for progress.
    """

    def make() -> tuple[dict[str, Tensor], dict[str, Any]]:
        use_threads(prerequisite.setting.threads)
        return MAKERS[prerequisite.kind](prerequisite, store, dataset.to(choose_device()), on_epoch)

    return store.get_or_make(prerequisite.kind, prerequisite.determines(dataset.fingerprint), make)


def load_model(artifact: Artifact, setting: Setting, dataset: ImageDataset) -> tuple[nn.Module, dict[str, Tensor]]:
    """A model with an artifact's weights, and the masks of a sparse one; on the dataset's device, evaluation mode."""
    model = _fresh(setting, dataset, seed=0)
    weights = {name: tensor for name, tensor in artifact.tensors.items() if not name.startswith(MASK)}
    model.load_state_dict(weights)
    device = dataset.train_images.device
    masks = {
        name.removeprefix(MASK): tensor.to(device) for name, tensor in artifact.tensors.items() if name.startswith(MASK)
    }
    return model.to(device).eval(), masks


def _fresh(setting: Setting, dataset: ImageDataset, seed: int) -> nn.Module:
    info = dataset.info
    return build_model(
        setting.model,
        num_classes=info.num_classes,
        image_size=info.image_size,
        channels=info.channels,
        seed=seed,
    ).to(dataset.train_images.device)


def _training_batches(dataset: ImageDataset, index: Tensor, recipe: Recipe, seed: int) -> TensorBatches:
    return TensorBatches(
        dataset.train_images[index],
        dataset.train_labels[index],
        mean=dataset.mean,
        std=dataset.std,
        batch_size=recipe.batch_size,
        generator=torch.Generator().manual_seed(seed),
        shift=recipe.shift,
    )


def _make_base(
    wanted: Prerequisite, store: ArtifactStore, dataset: ImageDataset, on_epoch: OnEpoch | None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    recipe = wanted.setting.recipe
    model = _fresh(wanted.setting, dataset, derive_seed(wanted.seed, "base", "weights"))
    everything = torch.arange(len(dataset.train_labels))
    batches = _training_batches(dataset, everything, recipe, derive_seed(wanted.seed, "base", "order"))
    curve = train(model, batches, recipe, steps_per_epoch=len(batches), on_epoch=_told(on_epoch, recipe))
    return dict(model.state_dict()), _facts(model, dataset, curve, wanted)


def _make_sparse(
    wanted: Prerequisite, store: ArtifactStore, dataset: ImageDataset, on_epoch: OnEpoch | None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    dense = ensure(Prerequisite("base", wanted.setting, wanted.seed), store, dataset)
    recipe = wanted.setting.recipe
    recovery = recipe.recovery
    model, _ = load_model(dense, wanted.setting, dataset)
    masks = prune(model, wanted.sparsity, recipe.pruning)
    everything = torch.arange(len(dataset.train_labels))
    batches = _training_batches(dataset, everything, recovery, derive_seed(wanted.seed, "sparse", wanted.sparsity))
    curve = train(
        model,
        batches,
        recovery,
        steps_per_epoch=len(batches),
        after_step=lambda: apply_masks(model, masks),
        on_epoch=_told(on_epoch, recovery),
    )
    tensors = dict(model.state_dict()) | {f"{MASK}{name}": mask for name, mask in masks.items()}
    return tensors, _facts(model, dataset, curve, wanted)


def _make_retrain(
    wanted: Prerequisite, store: ArtifactStore, dataset: ImageDataset, on_epoch: OnEpoch | None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if wanted.forget is None:
        raise ValueError("Retrain needs a forget class")
    recipe = wanted.setting.recipe
    retain = split(dataset, forget_class(dataset.info, wanted.forget)).retain
    seed = derive_seed(wanted.seed, "retrain", "order")
    batches = _training_batches(dataset, retain, recipe, seed)
    unlearned = METHODS["retrain"].unlearn(
        _fresh(wanted.setting, dataset, derive_seed(wanted.seed, "retrain", "weights")),
        params={"recipe": recipe, "steps_per_epoch": len(batches), "on_epoch": _told(on_epoch, recipe)},
        masks={},
        seed=seed,
        retain=batches,
    )
    return dict(unlearned.model.state_dict()), _facts(unlearned.model, dataset, list(unlearned.curve), wanted)


MAKERS = {"base": _make_base, "sparse": _make_sparse, "retrain": _make_retrain}


def _told(on_epoch: OnEpoch | None, recipe: Recipe) -> Callable[[Epoch], None] | None:
    return (lambda epoch: on_epoch(epoch, recipe.epochs)) if on_epoch else None


def _facts(model: nn.Module, dataset: ImageDataset, curve: list[Epoch], wanted: Prerequisite) -> dict[str, Any]:
    test = TensorBatches(
        dataset.test_images,
        dataset.test_labels,
        mean=dataset.mean,
        std=dataset.std,
        batch_size=wanted.setting.batch_size,
    )
    outputs = infer(model, test)
    device = dataset.train_images.device
    return {
        "title": wanted.title,
        "curve": [asdict(epoch) for epoch in curve],
        "epochs": len(curve),
        "train_seconds": sum(epoch.seconds for epoch in curve),
        "test_accuracy": accuracy(outputs.logits, outputs.labels),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "sparsity": measured_sparsity(model),
        "device": device_name(device),
        "threads": wanted.setting.threads,
        "processor": cpu_model(),
        "host": platform.node(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def needed(setting: Setting, *, forgets: list[int], seeds: list[int], sparsities: list[float]) -> list[Prerequisite]:
    """Everything that the trials of one dataset and model start from or are compared with."""
    bases = [base_of(setting, seed, sparsity) for seed in seeds for sparsity in sorted({0.0, *sparsities})]
    return bases + [retrain_of(setting, seed, forget) for seed in seeds for forget in forgets]
