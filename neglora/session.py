"""What a warm worker keeps between trials: data, finished models and what was measured of them."""

from __future__ import annotations

import gc
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from neglora.activations import PrefixCache
from neglora.artifact import Artifact
from neglora.audits import NOT_AUDITED, material_of, run_audits
from neglora.data import ForgetSet, ImageDataset, Splits, sampled, split
from neglora.evaluation import DatasetOutputs, Evaluation, evaluate_outputs, infer, infer_dataset
from neglora.hardware import choose_device
from neglora.metrics import mean_loss
from neglora.mirrored import open_artifacts
from neglora.prefix import Cut
from neglora.prerequisites import Prerequisite, find, load_model
from neglora.record import Measured
from neglora.setting import Setting

#: Models with their outputs that a worker keeps; the least recently used goes first.
KEPT_MODELS = 16
#: Splits of forget sets, which are small.
KEPT_SPLITS = 256
GIB = 2**30


@dataclass
class Findings:
    """What was measured of a model, by forget set. Small, and dear to measure again: it stays when the model goes.

    Attributes:
        evaluations: on both halves.
        selections: on the selection half alone, where no more was asked for.
        losses: mean over D_f.
    """

    evaluations: dict[ForgetSet, Evaluation] = field(default_factory=dict)
    selections: dict[ForgetSet, Measured] = field(default_factory=dict)
    losses: dict[ForgetSet, float] = field(default_factory=dict)


@dataclass
class Kept:
    """A finished model that a worker holds on its device, with its logits once they were asked for.

    Attributes:
        key: the same for what is the same model, loaded once or again.
        cuts: by the modules that change and what becomes of BatchNorm, where it can be cut in two, and how many bytes
            of activations an image has there.
    """

    key: str
    artifact: Artifact
    model: nn.Module
    masks: dict[str, Tensor]
    findings: Findings
    outputs: DatasetOutputs | None = None
    cuts: dict[tuple[tuple[str, ...] | None, str], tuple[Cut, int] | None] = field(default_factory=dict)


class Session:
    """What a warm worker keeps between trials: datasets, base models and their logits, Retrain's measurements.

    Args:
        storage: the folder or URI that holds `artifacts/`.
        commits: whether what is made here is written to a URI. Workers on a cluster do not.

    Raises:
        StorageError: nothing opens such a URI.
    """

    def __init__(self, storage: Path | str, *, commits: bool = True) -> None:
        self.store = open_artifacts(str(storage), commits=commits)
        self.device = choose_device()
        self._datasets: dict[str, ImageDataset] = {}
        self._models: OrderedDict[str, Kept] = OrderedDict()
        self._findings: dict[str, Findings] = {}
        self._splits: OrderedDict[tuple[str, ForgetSet], tuple[Splits, Splits, Splits]] = OrderedDict()
        self._prefixes = PrefixCache(0)
        #: After a trial that found too little memory even alone: a fresh process had better go on.
        self.spent = False

    def release(self) -> None:
        """Let go of all that can be read again, and of what the allocator holds back: others need the memory."""
        self._models.clear()
        self._datasets.clear()
        self._prefixes.clear()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def dataset(self, setting: Setting) -> ImageDataset:
        """The dataset of a setting, on the device."""
        key = repr((setting.dataset, setting.data))
        if key not in self._datasets:
            self._datasets[key] = setting.load_dataset().to(self.device)
        return self._datasets[key]

    def splits(self, setting: Setting, forget: ForgetSet) -> Splits:
        """The splits of a forget set."""
        return self._split(setting, forget)[0]

    def sample(self, setting: Setting, forget: ForgetSet) -> Splits:
        """The part of them on which a search measures."""
        return self._split(setting, forget)[1]

    def probe(self, setting: Setting, forget: ForgetSet) -> Splits:
        """The part of them at which a search looks first; of no use where the setting has no probe."""
        return self._split(setting, forget)[2]

    def prefixes(self, setting: Setting) -> PrefixCache:
        """What trials on a base compute alike."""
        budget = int(setting.prefix_gib * GIB)
        if self._prefixes.budget_bytes != budget:
            self._prefixes = PrefixCache(budget)
        return self._prefixes

    def find(self, wanted: Prerequisite) -> Kept | None:
        """A prerequisite that was made before, held from now on; None where it is absent."""
        key = repr(asdict(wanted))
        if key not in self._models:
            dataset = self.dataset(wanted.setting)
            found = find(wanted, self.store, dataset)
            if found is None:
                return None
            model, masks = load_model(found, wanted.setting, dataset)
            # The model has the weights: a second copy of them would stay in memory.
            found = replace(found, tensors={})
            self._models[key] = Kept(key, found, model, masks, self._findings.setdefault(key, Findings()))
            if len(self._models) > KEPT_MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(key)
        return self._models[key]

    def get(self, wanted: Prerequisite) -> Kept:
        """A prerequisite that has to be there.

        Raises:
            LookupError: it is not.
        """
        kept = self.find(wanted)
        if kept is None:
            raise LookupError(f"the artifact of '{wanted.title}' is missing from {self.store.title}")
        return kept

    def outputs(self, kept: Kept, setting: Setting) -> DatasetOutputs:
        """A kept model's logits for the whole dataset, inferred once."""
        if kept.outputs is None:
            kept.outputs = infer_dataset(kept.model, self.dataset(setting), setting.batch_size)
        return kept.outputs

    def evaluation(self, kept: Kept, setting: Setting, forget: ForgetSet, seed: int) -> Evaluation:
        """A kept model measured on both halves of the splits of a forget set, once."""
        known = kept.findings.evaluations
        if forget not in known:
            evaluation = self._measured(kept, setting, forget, seed, report=True)
            known[forget] = self.audited(evaluation, kept.model, kept.masks, setting, forget, seed)
        return known[forget]

    def audited(
        self,
        evaluation: Evaluation,
        model: nn.Module,
        masks: Mapping[str, Tensor],
        setting: Setting,
        forget: ForgetSet,
        seed: int,
    ) -> Evaluation:
        """An evaluation with what the setting's audits found of the model, in both halves and in `details.audits`.

        The images of the forget class are the same for both halves.

        Args:
            evaluation: of the model.
            model: takes images; not modified.
            masks: of the sparse base that it came from.
            setting, forget, seed: as they were evaluated.

        Raises:
            ValueError: the forget set is a random share, which no audit is meant for.
        """
        if not setting.audits:
            return evaluation
        if forget.share is not None:
            raise ValueError(NOT_AUDITED)
        started = time.perf_counter()
        material = material_of(self.dataset(setting), self.splits(setting, forget), setting.batch_size)
        found = run_audits(setting.audits, model, material, seed=seed, masks=masks)
        return replace(
            evaluation,
            metrics=evaluation.metrics | found.values,
            report=evaluation.report | found.values,
            details=evaluation.details | {"audits": found.details},
            audit_seconds=time.perf_counter() - started,
        )

    def selection(self, kept: Kept, setting: Setting, forget: ForgetSet, seed: int) -> Measured:
        """A kept model's values on the selection half, which a search compares with: without the report's attacks."""
        found = kept.findings
        if forget in found.evaluations:
            return found.evaluations[forget].metrics
        if forget not in found.selections:
            found.selections[forget] = self._measured(kept, setting, forget, seed, report=False).metrics
        return found.selections[forget]

    def forget_loss(self, kept: Kept, setting: Setting, forget: ForgetSet) -> float:
        """A kept model's mean loss on a forget set."""
        known = kept.findings.losses
        if forget not in known:
            index = self.splits(setting, forget).forget
            outputs = infer(kept.model, self.dataset(setting).train(index, batch_size=setting.batch_size))
            known[forget] = mean_loss(outputs.logits, outputs.labels)
        return known[forget]

    def _measured(self, kept: Kept, setting: Setting, forget: ForgetSet, seed: int, *, report: bool) -> Evaluation:
        outputs, splits = self.outputs(kept, setting), self.splits(setting, forget)
        return evaluate_outputs(outputs, splits, seed=seed, attacks=setting.attacks, report=report)

    def _split(self, setting: Setting, forget: ForgetSet) -> tuple[Splits, Splits, Splits]:
        samples = (setting.retain_samples, setting.test_samples, setting.probe_samples)
        surroundings = (setting.dataset, setting.data, setting.holdout, setting.split_seed, samples)
        key = repr(surroundings), forget
        if key not in self._splits:
            dataset, seed = self.dataset(setting), setting.split_seed
            whole = split(dataset, forget, holdout=setting.holdout, seed=seed)
            retain, test, probe = samples
            self._splits[key] = (
                whole,
                sampled(whole, dataset, retain=retain, test=test, seed=seed),
                sampled(whole, dataset, retain=probe, test=probe, seed=seed),
            )
            if len(self._splits) > KEPT_SPLITS:
                self._splits.popitem(last=False)
        return self._splits[key]
