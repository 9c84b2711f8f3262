"""Infer once per split, then every metric is a function of the logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neglora.data import Batches, ImageDataset, Splits
from neglora.logits import as_logits
from neglora.metrics import (
    FEATURES,
    MembershipAttack,
    accuracy,
    mia_efficacy,
    runner_up_share,
)
from neglora.objectives import gap_to_reference, tug_of_war
from neglora.record import Measured

#: The attack runs on the confidence alone, or on all five features.
Attacks = Literal["confidence", "all"]


@dataclass(frozen=True)
class Outputs:
    """Logits `[n, classes]` in float32 on the CPU, and labels `[n]`."""

    logits: Tensor
    labels: Tensor

    def __getitem__(self, index: Tensor) -> Outputs:
        return Outputs(self.logits[index], self.labels[index])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class DatasetOutputs:
    """A model's logits for every training and test image, from one pass over each."""

    train: Outputs
    test: Outputs


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put a model into one mode, and every module back into its own afterwards: they may differ from each other."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        # Through `train`, parents first: timm's attention forgets the biases that it cached when its mode is set.
        for module, mode in modes:
            module.train(mode)


@torch.no_grad()
def infer(model: nn.Module, batches: Batches) -> Outputs:
    """One pass in evaluation mode; the mode of every module is restored afterwards.

    Raises:
        ValueError: there was no batch.
        TypeError: the model returns something else than logits.
    """
    logits, labels = [], []
    with in_mode(model, training=False):
        for inputs, batch_labels in batches:
            logits.append(as_logits(model(inputs), batch_labels).float())
            labels.append(batch_labels)
    if not logits:
        raise ValueError("there was no batch to infer: the images are none, or can be iterated only once")
    return Outputs(torch.cat(logits).cpu(), torch.cat(labels).cpu())


def infer_dataset(model: nn.Module, dataset: ImageDataset, batch_size: int) -> DatasetOutputs:
    """Logits for the whole dataset, in its own order, without augmentation."""
    return DatasetOutputs(
        infer(model, dataset.train(batch_size=batch_size)), infer(model, dataset.test(batch_size=batch_size))
    )


def measure(
    *, forget: Outputs, retain: Outputs, test: Outputs, test_forget: Outputs | None, seed: int, attacks: Attacks
) -> tuple[Measured, MembershipAttack | None]:
    """Every metric that needs only the unlearned model.

    Args:
        forget, retain: of D_f and D_r.
        test: of test images of the remaining classes: the selection half or the report half.
        test_forget: of test images of the forget class; None or empty where there are none.
        seed: of the attack's balanced sample.
        attacks: `all` adds the efficacies of the four other features.

    Returns:
        Fractions by name, and the confidence attack. Where logits are not finite the attack is not run, and its
        values are None.
    """
    has_test_forget = test_forget is not None and len(test_forget) > 0
    values: Measured = {
        "ua": 1.0 - accuracy(forget.logits, forget.labels),
        "ra": accuracy(retain.logits, retain.labels),
        "ta": accuracy(test.logits, test.labels),
        "mia": None,
        "ua_test": 1.0 - accuracy(test_forget.logits, test_forget.labels)
        if test_forget is not None and has_test_forget
        else None,
        "runner_up": runner_up_share(forget.logits, forget.labels),
        "mia_accuracy": None,
        "mia_auc": None,
        "mia_has_signal": None,
    }
    if not all(bool(torch.isfinite(outputs.logits).all()) for outputs in (forget, retain, test)):
        return values, None
    confidence = _attack("mia", forget, retain, test, seed)
    values |= {
        "mia": confidence.efficacy,
        "mia_accuracy": confidence.attack_accuracy,
        "mia_auc": confidence.attack_auc,
        "mia_has_signal": confidence.has_signal,
    }
    if attacks == "all":
        for name in FEATURES:
            if name != "mia":
                values[name] = _attack(name, forget, retain, test, seed).efficacy
    return values, confidence


def _attack(name: str, forget: Outputs, retain: Outputs, test: Outputs, seed: int) -> MembershipAttack:
    feature = FEATURES[name]
    return mia_efficacy(
        retain=feature(retain.logits, retain.labels),
        test=feature(test.logits, test.labels),
        forget=feature(forget.logits, forget.labels),
        seed=seed,
    )


@dataclass(frozen=True)
class Evaluation:
    """A model measured on both halves of the test set.

    Attributes:
        metrics: on the selection half.
        report: on the report half; equal to `metrics` where the test set is not split, with all attacks.
        details: counts and the attacks' own figures.
    """

    metrics: Measured
    report: Measured
    details: dict[str, Any]


def evaluate_outputs(outputs: DatasetOutputs, splits: Splits, *, seed: int, attacks: Attacks) -> Evaluation:
    """Measure logits of the whole dataset on the splits of one forget set.

    UA and RA come from D_f and D_r and are the same in both halves; TA and the attack's non-members differ.
    """
    shared = {
        "forget": outputs.train[splits.forget],
        "retain": outputs.train[splits.retain],
        "test_forget": outputs.test[splits.test_forget],
    }
    metrics, attack = measure(**shared, test=outputs.test[splits.test], seed=seed, attacks="confidence")
    report, report_attack = measure(**shared, test=outputs.test[splits.test_report], seed=seed, attacks=attacks)
    details = {
        "counts": splits.counts,
        "attack": {"selection": _attack_details(attack), "report": _attack_details(report_attack)},
    }
    return Evaluation(metrics, report, details)


def _attack_details(attack: MembershipAttack | None) -> dict[str, Any] | None:
    if attack is None:
        return None
    low, high = attack.auc_interval or (None, None)
    return {
        "n_per_side": attack.n_per_side,
        "accuracy": attack.attack_accuracy,
        "auc": attack.attack_auc,
        "auc_low": low,
        "auc_high": high,
        "has_signal": attack.has_signal,
    }


def with_reference(values: Measured, reference: Measured | None) -> Measured:
    """Add the distances to Retrain: `gap` and `tow`; None where there is no Retrain or a value is missing."""
    if reference is None:
        return values | {"gap": None, "tow": None}
    return values | {"gap": gap_to_reference(values, reference), "tow": tug_of_war(values, reference)}
