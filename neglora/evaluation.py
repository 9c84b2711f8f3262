"""Infer once per split, then every metric is a function of the logits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neglora.data import Batches, ImageDataset, Splits
from neglora.intervals import of_population
from neglora.logits import as_logits
from neglora.metrics import (
    FEATURES,
    MembershipAttack,
    accuracy,
    by_class,
    efficacy_interval,
    histogram,
    mia_efficacy,
    runner_up_share,
    tally,
)
from neglora.modes import in_mode
from neglora.objectives import gap_to_reference, tug_of_war
from neglora.record import Measured

#: The attack runs on the confidence alone, or on all five features.
Attacks = Literal["confidence", "all"]


@dataclass(frozen=True)
class Outputs:
    """Logits `[n, classes]` in float32 on the CPU, and labels `[n]`.

    Attributes:
        rows: of which images of a dataset's part these are, ascending, `[n]`; None for all of them. An index counts
            the images of the part, whether all of them or some were inferred.
    """

    logits: Tensor
    labels: Tensor
    rows: Tensor | None = None

    def __getitem__(self, index: Tensor) -> Outputs:
        places = index if self.rows is None else torch.searchsorted(self.rows, index)
        return Outputs(self.logits[places], self.labels[places])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class DatasetOutputs:
    """A model's logits for training and test images, from one pass over each."""

    train: Outputs
    test: Outputs

    @property
    def finite(self) -> bool:
        return all(bool(part.logits.isfinite().all()) for part in (self.train, self.test))


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
    *,
    forget: Outputs,
    retain: Outputs,
    test: Outputs,
    test_forget: Outputs | None,
    seed: int,
    attacks: Attacks,
    exact: bool = True,
) -> tuple[Measured, MembershipAttack | None]:
    """Every metric that needs only the unlearned model.

    Args:
        forget, retain: of D_f and D_r.
        test: of test images of the remaining classes: the selection half or the report half.
        test_forget: of test images of the forget class; None or empty where there are none.
        seed: of the attack's balanced sample.
        attacks: `all` adds the efficacies of the four other features.
        exact: fit the confidence attack exactly, as a report wants it, or fast.

    Returns:
        Fractions by name, and the confidence attack. Where logits are not finite the attack is not run, and its
        values are None.
    """
    values, attack, _ = _attacked(forget, retain, test, seed, attacks, exact)
    return _accuracies(forget, retain, test, test_forget) | values, attack


def _accuracies(forget: Outputs, retain: Outputs, test: Outputs, test_forget: Outputs | None) -> Measured:
    return {
        "ua": 1.0 - accuracy(forget.logits, forget.labels),
        "ra": accuracy(retain.logits, retain.labels),
        "ta": accuracy(test.logits, test.labels),
        "ua_test": 1.0 - accuracy(test_forget.logits, test_forget.labels) if test_forget else None,
        "runner_up": runner_up_share(forget.logits, forget.labels),
    }


def _attacked(
    forget: Outputs, retain: Outputs, test: Outputs, seed: int, attacks: Attacks, exact: bool, regions: bool = False
) -> tuple[Measured, MembershipAttack | None, dict[str, Tensor]]:
    """The attacks' values, that on the confidence itself, and the three sides' confidences.

    With `regions` it is found as well what the exact attack says of every confidence.
    """
    nothing: Measured = dict.fromkeys(("mia", "mia_accuracy", "mia_auc", "mia_has_signal"))
    if not all(bool(torch.isfinite(outputs.logits).all()) for outputs in (forget, retain, test)):
        return nothing, None, {}
    sides = _sides("mia", forget, retain, test)
    confidence = mia_efficacy(**sides, seed=seed, exact=exact, between=(0.0, 1.0) if regions else None)
    values: Measured = {
        "mia": confidence.efficacy,
        "mia_accuracy": confidence.attack_accuracy,
        "mia_auc": confidence.attack_auc,
        "mia_has_signal": confidence.has_signal,
    }
    if attacks == "all":
        for name in FEATURES:
            if name != "mia":
                others = _sides(name, forget, retain, test)
                values[name] = mia_efficacy(**others, seed=seed, exact=True, between=None).efficacy
    return values, confidence, sides


def _sides(name: str, forget: Outputs, retain: Outputs, test: Outputs) -> dict[str, Tensor]:
    feature = FEATURES[name]
    parts = {"forget": forget, "retain": retain, "test": test}
    return {side: feature(part.logits, part.labels) for side, part in parts.items()}


@dataclass(frozen=True)
class Evaluation:
    """A model measured on both halves of the test set, or on a sample of the selection half.

    Attributes:
        metrics: on the selection half.
        report: on the report half; where the test set is not split equal to `metrics`, with all attacks. Empty where
            it was not asked for.
        details: counts and the attacks' own figures; of a sample also the intervals, and where the report half was
            measured what became of single images (`_images`).
        attack_seconds: what the attacks took.
        audit_seconds: what audits took; None where there were none.
    """

    metrics: Measured
    report: Measured
    details: dict[str, Any]
    attack_seconds: float = 0.0
    audit_seconds: float | None = None


def evaluate_outputs(
    outputs: DatasetOutputs, splits: Splits, *, seed: int, attacks: Attacks, report: bool = True
) -> Evaluation:
    """Measure logits on the splits of one forget set.

    UA and RA come from D_f and D_r and are the same in both halves; TA and the attack's non-members differ. The attack
    on the report half is exact, and that on the selection half fast, unless they are the same.

    Args:
        outputs: of every image of the splits, but for the report half where that is not asked for.
        splits: of the forget set.
        seed: of the attack's balanced samples.
        attacks: on the report half.
        report: measure it too.
    """
    same = torch.equal(splits.test, splits.test_report)
    forget, retain = outputs.train[splits.forget], outputs.train[splits.retain]
    test_forget = outputs.test[splits.test_forget]
    spent = 0.0

    def half(
        test: Outputs, attacks: Attacks, exact: bool, regions: bool
    ) -> tuple[Measured, MembershipAttack | None, dict[str, Tensor]]:
        nonlocal spent
        started = time.perf_counter()
        values, attack, sides = _attacked(forget, retain, test, seed, attacks, exact, regions)
        spent += time.perf_counter() - started
        return _accuracies(forget, retain, test, test_forget) | values, attack, sides

    reported: Measured = {}
    report_attack: MembershipAttack | None = None
    if report:
        test = outputs.test[splits.test_report]
        reported, report_attack, sides = half(test, attacks, True, True)
    if report and same:
        metrics = {name: value for name, value in reported.items() if name == "mia" or name not in FEATURES}
        attack = report_attack
    else:
        metrics, attack, _ = half(outputs.test[splits.test], "confidence", same, False)
    details: dict[str, Any] = {
        "counts": splits.counts,
        "attack": {"selection": _attack_details(attack), "report": _attack_details(report_attack)},
    }
    if report_attack is not None:
        details["attack"]["report"]["non_member"] = [list(ends) for ends in report_attack.non_member or ()]
        details |= _images(forget, retain, (test, test_forget), sides)
    return Evaluation(metrics, reported, details, spent)


def evaluate_sample(outputs: DatasetOutputs, sample: Splits, whole: Splits, *, seed: int) -> Evaluation:
    """Measure logits of a sample (`Splits.sampled`) of the splits of one forget set, on the selection half.

    The details' `intervals` say, for `ua`, `ra`, `ta` and `mia`, within which bounds the values of the whole splits lie
    at 95 percent. D_f is whole, so that UA is what it is.
    """
    found = evaluate_outputs(outputs, sample, seed=seed, attacks="confidence", report=False)
    shares = {name: float(value) for name, value in found.metrics.items() if value is not None}
    intervals = {"ua": [shares["ua"], shares["ua"]]}
    for name, part in (("ra", "retain"), ("ta", "test")):
        intervals[name] = [*of_population(shares[name], sample.counts[part], whole.counts[part])]
    started = time.perf_counter()
    if "mia" in shares:
        sides = _sides("mia", outputs.train[sample.forget], outputs.train[sample.retain], outputs.test[sample.test])
        bounds = efficacy_interval(
            **sides, seed=seed, retain_total=whole.counts["retain"], test_total=whole.counts["test"]
        )
        intervals["mia"] = [*bounds]
    spent = found.attack_seconds + time.perf_counter() - started
    return Evaluation(found.metrics, {}, found.details | {"intervals": intervals}, spent)


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


def _images(
    forget: Outputs, retain: Outputs, test: tuple[Outputs, Outputs], sides: dict[str, Tensor]
) -> dict[str, Any]:
    """What became of single images: right answers by class, what D_f is called, and histograms of confidences.

    Args:
        forget, retain: of D_f and D_r.
        test: of the report half of the remaining classes' test images, and of the forget classes'.
        sides: the attack's sides on the report half: confidences by name.
    """
    classes = forget.logits.shape[1]
    called = forget.logits.argmax(1)

    def counted(parts: tuple[Outputs, Outputs], answers: tuple[Tensor, Tensor]) -> dict[str, list[int]]:
        return by_class(torch.cat(answers), torch.cat([part.labels for part in parts]), classes)

    return {
        "classes": {
            "train": counted((forget, retain), (called, retain.logits.argmax(1))),
            "test": counted(test, (test[0].logits.argmax(1), test[1].logits.argmax(1))),
        },
        "called": tally(called, classes),
        "confidences": {name: histogram(values) for name, values in sides.items()},
    }


def with_reference(values: Measured, reference: Measured | None) -> Measured:
    """Add the distances to Retrain: `gap` and `tow`; None where there is no Retrain or a value is missing."""
    if reference is None:
        return values | {"gap": None, "tow": None}
    return values | {"gap": gap_to_reference(values, reference), "tow": tug_of_war(values, reference)}
