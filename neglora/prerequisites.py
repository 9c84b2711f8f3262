"""What trials start from: the base model, its pruned and recovered forms, and Retrain. Each is made once and kept."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neglora.artifacts import Artifact, ArtifactError, ArtifactStore, Made, artifact_key
from neglora.checkpoint import Checkpoint
from neglora.data import Augmentation, ForgetSet, ImageDataset, TrainingBatches, split
from neglora.evaluation import infer
from neglora.hardware import choose_device, cpu_model, device_name, use_threads
from neglora.methods import METHODS
from neglora.metrics import accuracy
from neglora.models import build_model, fit_weights, load_weights, pretrained_model, weights_digest
from neglora.parallel import Workers
from neglora.prune import apply_masks, measured_sparsity, prune
from neglora.recipe import Recipe
from neglora.record import forget_title
from neglora.seeds import derive_seed
from neglora.setting import PRETRAINED, Setting
from neglora.train import Epoch, train, uses_bf16

#: Raised when the code makes another model from the same settings, so that older artifacts are not taken for it.
VERSION = 3

MASK = "mask:"
#: The file of a training that is under way.
TRAINING = "training.pt"
#: The keys of `training` that change the augmentation; the dataset's own is part of its definition.
AUGMENTED = Augmentation.names()


@dataclass(frozen=True)
class Prerequisite:
    """One thing to be made: `base`, `sparse` (needs the base) or `retrain`.

    Attributes:
        kind: which.
        setting: the surroundings.
        seed: fixes initialization and order of the data.
        sparsity: of a `sparse` one, in (0, 1).
        forget: of a `retrain` one.
    """

    kind: Literal["base", "sparse", "retrain"]
    setting: Setting
    seed: int
    sparsity: float = 0.0
    forget: ForgetSet | None = None

    @property
    def needs(self) -> Prerequisite | None:
        """What has to be there first."""
        return Prerequisite("base", self.setting, self.seed) if self.kind == "sparse" else None

    @property
    def title(self) -> str:
        """What progress calls it."""
        extra = {"base": "", "sparse": f" {self.sparsity:g}", "retrain": f" without {self._forgotten}"}[self.kind]
        return f"{self.setting.dataset} {self.setting.model} {self.kind}{extra} seed {self.seed}"

    @property
    def _forgotten(self) -> str:
        return forget_title(self.forget.named(self.setting.dataset_info())) if self.forget else "nothing"

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Prerequisite:
        """From the plain data that `dataclasses.asdict` gives, as JSON may have rewritten it."""
        forget = plain["forget"]
        if forget is not None:
            forget = ForgetSet(tuple(forget["classes"]), forget["share"], forget["seed"])
        return cls(**{**plain, "setting": Setting.of(plain["setting"]), "forget": forget})

    @property
    def given(self) -> Path | None:
        """The file that this is read from instead of being trained: a base of trained weights."""
        return self.setting.weights_file if self.kind == "base" else None

    @property
    def workers(self) -> int:
        """How many processes are to make it."""
        return self.setting.recipe.workers if self.given is None else 1

    def determines(self, fingerprint: str) -> dict[str, Any]:
        """Everything that determines the weights.

        Raises:
            WeightsError: the setting's file of weights cannot be read.
        """
        trained = self.given is None
        augmentation = {name: value for name, value in self.setting.training.items() if name in AUGMENTED}
        return {
            "version": VERSION,
            "kind": self.kind,
            "data": fingerprint,
            "model": self.setting.model,
            "architecture": self.setting.chosen_options,
            "weights": self._starts_from,
            "recipe": self.setting.recipe.determining(sparse=self.kind == "sparse") if trained else None,
            "augmentation": augmentation if trained else None,
            "seed": self.seed if trained else None,
            "sparsity": self.sparsity,
            "forget": self.forget.plain if self.forget else None,
        }

    @property
    def _starts_from(self) -> dict[str, str | None] | None:
        """Weights that others trained and this comes from; Retrain never comes from a file."""
        if self.setting.weights_file is not None and self.kind != "retrain":
            return {"sha256": weights_digest(self.setting.weights_file)}
        return {"timm": self.setting.pretrained} if self.setting.weights == PRETRAINED else None


def base_of(setting: Setting, seed: int, sparsity: float) -> Prerequisite:
    """The base model that a trial at this sparsity starts from."""
    return Prerequisite("sparse" if sparsity > 0 else "base", setting, seed, sparsity)


def retrain_of(setting: Setting, seed: int, forget: ForgetSet) -> Prerequisite:
    """Retrain for one forget set."""
    return Prerequisite("retrain", setting, seed, forget=forget)


OnEpoch = Callable[[Epoch, int], None]
#: Makes a prerequisite whose own prerequisites are there: `fit(prerequisite, store, partial, on_epoch)`, where
#: `partial` is the folder of what is unfinished.
Fit = Callable[["Prerequisite", ArtifactStore, Path, "OnEpoch | None"], Made]
#: Where a training is kept while it is under way: `keeping(partial, key, seconds between two writes)`.
Keeping = Callable[[Path, str, float], Checkpoint]


def in_file(partial: Path, key: str, every: float) -> Checkpoint:
    """A checkpoint in a file of the folder of what is unfinished."""
    return Checkpoint(partial / TRAINING, key, every)


def find(prerequisite: Prerequisite, store: ArtifactStore, dataset: ImageDataset) -> Artifact | None:
    """The artifact of a prerequisite if it was made before and is whole."""
    return store.get(prerequisite.kind, prerequisite.determines(dataset.fingerprint))


def ensure(
    prerequisite: Prerequisite,
    store: ArtifactStore,
    dataset: ImageDataset,
    on_epoch: OnEpoch | None = None,
    fit: Fit | None = None,
    keeping: Keeping = in_file,
) -> Artifact:
    """The artifact of a prerequisite, made now (with what it needs) if it is absent or damaged.

    Args:
        prerequisite: what.
        store: where.
        dataset: the loaded dataset of its setting, on any device; training runs on this process's GPU if it has one.
        on_epoch: told about each epoch and their number, for progress.
        fit: makes what the recipe wants several workers for; None makes it in this process, whatever the recipe says.
        keeping: where this one's training is kept; what it needs is kept in a file.
    """

    def make(partial: Path) -> Made:
        if prerequisite.needs is not None:
            ensure(prerequisite.needs, store, dataset, fit=fit)
        if fit is not None and prerequisite.workers > 1:
            return fit(prerequisite, store, partial, on_epoch)
        return make_here(prerequisite, store, dataset, partial, on_epoch, keeping)

    return store.get_or_make(prerequisite.kind, prerequisite.determines(dataset.fingerprint), make)


def make_here(
    prerequisite: Prerequisite,
    store: ArtifactStore,
    dataset: ImageDataset,
    partial: Path,
    on_epoch: OnEpoch | None = None,
    keeping: Keeping = in_file,
) -> Made:
    """Make a prerequisite whose own prerequisites are there, in this process or as one of torch.distributed's workers.

    Args:
        prerequisite, store, dataset, on_epoch, keeping: see `ensure`.
        partial: a folder for checkpoints of the training, made when the first one is written.
    """
    setting = prerequisite.setting
    use_threads(setting.threads)
    every = setting.recipe.checkpoint_minutes * 60
    key = artifact_key(prerequisite.kind, prerequisite.determines(dataset.fingerprint))
    checkpoint = keeping(partial, key, every)
    return MAKERS[prerequisite.kind](prerequisite, store, dataset.to(choose_device()), checkpoint, on_epoch)


def load_model(artifact: Artifact, setting: Setting, dataset: ImageDataset) -> tuple[nn.Module, dict[str, Tensor]]:
    """A model with an artifact's weights, and the masks of a sparse one; on the dataset's device, evaluation mode."""
    model = _fresh(setting, dataset, seed=0)
    weights = {name: tensor for name, tensor in artifact.tensors.items() if not name.startswith(MASK)}
    model.load_state_dict(weights)
    device = dataset.device
    masks = {
        name.removeprefix(MASK): tensor.to(device) for name, tensor in artifact.tensors.items() if name.startswith(MASK)
    }
    return model.to(device).eval(), masks


def model_of_file(setting: Setting, dataset: ImageDataset, file: Path) -> nn.Module:
    """A model with a file's weights, on the dataset's device.

    Raises:
        WeightsError: they cannot be read, or do not fit.
    """
    model = _fresh(setting, dataset, seed=0)
    fit_weights(model, load_weights(file), str(file))
    return model


def _fresh(setting: Setting, dataset: ImageDataset, seed: int) -> nn.Module:
    return _built(build_model, setting, dataset, seed)


def _untrained(setting: Setting, dataset: ImageDataset, seed: int) -> nn.Module:
    """What training starts from: fresh weights, or timm's pretrained ones. Never those of the setting's file."""
    return _built(pretrained_model if setting.weights == PRETRAINED else build_model, setting, dataset, seed)


def _built(build: Callable[..., nn.Module], setting: Setting, dataset: ImageDataset, seed: int) -> nn.Module:
    info = dataset.info
    return build(
        setting.model,
        num_classes=info.num_classes,
        image_size=info.image_size,
        channels=info.channels,
        seed=seed,
        options=setting.architecture,
    ).to(dataset.device)


def _training_batches(
    setting: Setting, dataset: ImageDataset, index: Tensor, recipe: Recipe, seed: int
) -> TrainingBatches:
    augmentation = setting.augmentation(dataset)
    return dataset.augmented(index, batch_size=recipe.batch_size, seed=seed, augmentation=augmentation)


def _make_base(
    wanted: Prerequisite,
    store: ArtifactStore,
    dataset: ImageDataset,
    checkpoint: Checkpoint,
    on_epoch: OnEpoch | None,
) -> Made:
    if wanted.given is not None:
        return _read_base(wanted, dataset, wanted.given)
    recipe = wanted.setting.recipe
    model = _untrained(wanted.setting, dataset, derive_seed(wanted.seed, "base", "weights"))
    everything = torch.arange(len(dataset.train_labels))
    batches = _training_batches(wanted.setting, dataset, everything, recipe, derive_seed(wanted.seed, "base", "order"))
    curve = train(
        model,
        batches,
        recipe,
        seed=derive_seed(wanted.seed, "base", "dropout"),
        on_epoch=_told(on_epoch, recipe),
        checkpoint=checkpoint,
    )
    return dict(model.state_dict()), _facts(model, dataset, curve, wanted)


def _read_base(wanted: Prerequisite, dataset: ImageDataset, file: Path) -> Made:
    """The base of a file: exactly its weights."""
    model = model_of_file(wanted.setting, dataset, file)
    facts = _facts(model, dataset, [], wanted) | {"train_seconds": None, "precision": None}
    return dict(model.state_dict()), facts | {"weights": {"file": file.name, "sha256": weights_digest(file)}}


def _make_sparse(
    wanted: Prerequisite,
    store: ArtifactStore,
    dataset: ImageDataset,
    checkpoint: Checkpoint,
    on_epoch: OnEpoch | None,
) -> Made:
    dense = find(Prerequisite("base", wanted.setting, wanted.seed), store, dataset)
    if dense is None:
        raise ArtifactError(f"{wanted.title} needs its base model, which is absent: make it first")
    recipe = wanted.setting.recipe
    recovery = recipe.recovery
    model, _ = load_model(dense, wanted.setting, dataset)
    masks = prune(model, wanted.sparsity, recipe.pruning)
    everything = torch.arange(len(dataset.train_labels))
    batches = _training_batches(
        wanted.setting, dataset, everything, recovery, derive_seed(wanted.seed, "sparse", wanted.sparsity)
    )
    curve = train(
        model,
        batches,
        recovery,
        seed=derive_seed(wanted.seed, "sparse", wanted.sparsity, "dropout"),
        after_step=lambda: apply_masks(model, masks),
        on_epoch=_told(on_epoch, recovery),
        checkpoint=checkpoint,
    )
    tensors = dict(model.state_dict()) | {f"{MASK}{name}": mask for name, mask in masks.items()}
    return tensors, _facts(model, dataset, curve, wanted)


def _make_retrain(
    wanted: Prerequisite,
    store: ArtifactStore,
    dataset: ImageDataset,
    checkpoint: Checkpoint,
    on_epoch: OnEpoch | None,
) -> Made:
    if wanted.forget is None:
        raise ValueError("Retrain needs a forget set")
    recipe = wanted.setting.recipe
    retain = split(dataset, wanted.forget).retain
    batches = _training_batches(wanted.setting, dataset, retain, recipe, derive_seed(wanted.seed, "retrain", "order"))
    unlearned = METHODS["retrain"].unlearn(
        _untrained(wanted.setting, dataset, derive_seed(wanted.seed, "retrain", "weights")),
        params={"recipe": recipe, "on_epoch": _told(on_epoch, recipe), "checkpoint": checkpoint},
        masks={},
        seed=derive_seed(wanted.seed, "retrain", "dropout"),
        retain=batches,
    )
    return dict(unlearned.model.state_dict()), _facts(unlearned.model, dataset, list(unlearned.curve), wanted)


MAKERS = {"base": _make_base, "sparse": _make_sparse, "retrain": _make_retrain}


def _told(on_epoch: OnEpoch | None, recipe: Recipe) -> Callable[[Epoch], None] | None:
    return (lambda epoch: on_epoch(epoch, recipe.epochs)) if on_epoch else None


def _facts(model: nn.Module, dataset: ImageDataset, curve: list[Epoch], wanted: Prerequisite) -> dict[str, Any]:
    test = dataset.test(batch_size=wanted.setting.batch_size)
    outputs = infer(model, test)
    device = dataset.device
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
        "workers": Workers.of_this_process().world,
        "precision": "bf16" if uses_bf16(wanted.setting.recipe, device) else "float32",
        "processor": cpu_model(),
        "host": platform.node(),
        "weights": {"timm": wanted.setting.pretrained} if wanted.setting.pretrained else None,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def needed(
    setting: Setting, *, forgets: list[ForgetSet], seeds: list[int], sparsities: list[float]
) -> list[Prerequisite]:
    """Everything that the trials of one dataset and model start from or are compared with."""
    bases = [base_of(setting, seed, sparsity) for seed in seeds for sparsity in sorted({0.0, *sparsities})]
    return bases + [retrain_of(setting, seed, forget) for seed in seeds for forget in forgets]
