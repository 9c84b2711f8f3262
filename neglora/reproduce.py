"""A recorded replicate made again, and whether it measures as its record says."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from neglora.ascend import Diverged
from neglora.data import parse_forget, split
from neglora.evaluation import Evaluation, evaluate_outputs, infer_dataset
from neglora.hardware import device_name, use_threads
from neglora.line import Line, ScaleError, lets_statistics_go
from neglora.lora import Adapter, attach, merge
from neglora.metrics import mean_loss
from neglora.objectives import AUDIT_METRICS
from neglora.prerequisites import base_of, retrain_of
from neglora.provenance import provenance
from neglora.prune import measured_sparsity
from neglora.record import Measured, Record
from neglora.replicate import run_replicate
from neglora.session import Kept, Session
from neglora.setting import Setting

#: Of the accuracies of few images: so many may fall on the other side elsewhere.
IMAGES = 2
#: Of the figures of the membership attack, which is fitted anew: so far may they be elsewhere.
ATTACK = 0.01

#: Which count of images each share is one of, by metric; `test` stands for the half's own.
COUNTED = {"ua": "forget", "runner_up": "forget", "ra": "retain", "ta": "test", "ua_test": "test_forget"}
COUNTED |= dict.fromkeys(AUDIT_METRICS, "test_forget")
#: Follow from the others, from Retrain and from clocks.
DERIVED = ("gap", "tow", "rte", "rte_epoch", "speedup")
#: What numbers depend on, beside device and threads.
SURROUNDINGS = ("host", "torch", "torchvision", "timm", "peft", "numpy", "scikit-learn", "neglora")


@dataclass(frozen=True)
class Reproduced:
    """A replicate made again.

    Attributes:
        model: merged, in evaluation mode, on the session's device.
        adapter: what was merged; None for a method without one.
        metrics, report: of the model itself, on each half.
        counts: of images, by part of the splits.
        from_kept: made of the kept adapter; otherwise it was run again.
    """

    model: nn.Module
    adapter: Adapter | None
    metrics: Measured
    report: Measured
    counts: dict[str, int]
    from_kept: bool


@dataclass(frozen=True)
class Difference:
    """A value that is not the recorded one: `half` is `metrics` (selection) or `report`; tolerated or not."""

    half: str
    name: str
    recorded: float | bool | None
    measured: float | bool | None
    tolerated: bool

    def __str__(self) -> str:
        half = "selection half" if self.half == "metrics" else "report half"
        values = [
            f"{value:.6g}" if isinstance(value, float) else str(value) for value in (self.recorded, self.measured)
        ]
        return f"{self.name} on the {half}: recorded {values[0]}, now {values[1]}"


def reproduce(
    session: Session,
    setting: Setting,
    method: str,
    params: Mapping[str, Any],
    replicate: Mapping[str, Any],
    adapter: Adapter | None,
) -> Reproduced:
    """Make the model of a recorded replicate again and measure it.

    Args:
        session: its storage has to hold what the replicate started from.
        setting, method, params: of the record.
        replicate: as the record has it.
        adapter: the kept one; None to run the replicate again.

    Raises:
        LookupError: what it starts from is missing.
        Diverged: it was run again and diverged.
        ValueError: the adapter is not of this model.
    """
    use_threads(setting.threads)
    seed = replicate["seed"]
    if adapter is not None:
        base = session.get(base_of(setting, seed, params["sparsity"]))
        # An adapter has no running statistics.
        if not lets_statistics_go(base.model, params):
            return _merged(session, setting, base, params, replicate, adapter)
    again, unlearned = run_replicate(session, setting, method, params, replicate["forget"], seed)
    if unlearned is None:
        raise Diverged(again["reason"], again["details"]["step"])
    return Reproduced(
        unlearned.model,
        unlearned.adapter,
        _own(again["metrics"]),
        _own(again["report"]),
        again["details"]["counts"],
        from_kept=False,
    )


def reproduce_along(line: Line, scale: float) -> tuple[Reproduced, dict[str, Any]]:
    """The model of a replicate at a scale of its update, and what a record's details would say of that.

    Args:
        line: of the replicate; its model is the one returned, until it is put elsewhere.
        scale: of the update, whatever was recorded.

    Raises:
        ScaleError: there is no such scale, or the model there gives no finite logits.
    """
    outputs = line.outputs(scale)
    if not outputs.finite:
        raise ScaleError(f"the logits of the model at scale {scale:g} are not finite: choose a smaller one")
    evaluation = evaluate_outputs(outputs, line.splits, seed=line.seed, attacks=line.setting.attacks)
    forget = outputs.train[line.splits.forget]
    adapter = replace(line.adapter, scale=scale) if line.adapter else None
    details = evaluation.details | {
        "loss_after": mean_loss(forget.logits, forget.labels),
        "sparsity": {"before": line.base.artifact.facts["sparsity"], "merged": measured_sparsity(line.model)},
    }
    counts = evaluation.details["counts"]
    made = Reproduced(line.model, adapter, evaluation.metrics, evaluation.report, counts, line.from_kept)
    return made, details


def reproduce_retrain(session: Session, setting: Setting, replicate: Mapping[str, Any]) -> Reproduced:
    """Retrain, which is an artifact, measured again.

    Raises:
        LookupError: the artifact is missing.
    """
    use_threads(setting.threads)
    forget = parse_forget(session.dataset(setting).info, replicate["forget"])
    kept = session.get(retrain_of(setting, replicate["seed"], forget))
    evaluation = session.evaluation(kept, setting, forget, replicate["seed"])
    return _measured(kept.model, None, evaluation)


def _own(values: Measured) -> Measured:
    return {name: value for name, value in values.items() if name not in DERIVED}


def _merged(
    session: Session,
    setting: Setting,
    base: Kept,
    params: Mapping[str, Any],
    replicate: Mapping[str, Any],
    adapter: Adapter,
) -> Reproduced:
    dataset = session.dataset(setting)
    adapted = attach(copy.deepcopy(base.model), adapter)
    model = merge(adapted, base.masks if params["merge"] == "masked" else None).eval()
    splits = split(dataset, replicate["forget"], holdout=setting.holdout, seed=setting.split_seed)
    outputs = infer_dataset(model, dataset, setting.batch_size)
    seed, forget = replicate["seed"], parse_forget(dataset.info, replicate["forget"])
    evaluation = evaluate_outputs(outputs, splits, seed=seed, attacks=setting.attacks)
    evaluation = session.audited(evaluation, model, base.masks, setting, forget, seed)
    return _measured(model, adapter, evaluation)


def _measured(model: nn.Module, adapter: Adapter | None, evaluation: Evaluation) -> Reproduced:
    counts = evaluation.details["counts"]
    return Reproduced(model, adapter, evaluation.metrics, evaluation.report, counts, from_kept=True)


def changed_surroundings(record: Record, replicate: Mapping[str, Any], session: Session, setting: Setting) -> list[str]:
    """In what this process differs from the one that wrote a record, as far as numbers may depend on it."""
    cost, then, now = replicate["cost"], record.provenance, provenance()
    pairs = {
        "device": (cost.get("device"), device_name(session.device)),
        "threads": (cost.get("threads"), setting.threads),
        **{name: (then.get(name), now.get(name)) for name in SURROUNDINGS},
    }
    return [f"{name} {old} then, {new} now" for name, (old, new) in pairs.items() if old != new]


def differences(replicate: Mapping[str, Any], again: Reproduced, *, exact: bool) -> list[Difference]:
    """Every recorded value of the model itself that is another one now.

    Args:
        replicate: as the record has it.
        again: the same made again.
        exact: nothing is tolerated: device, threads and versions are those of the record. Otherwise accuracies may
            differ by `IMAGES` images, and figures of the attack by `ATTACK` or as many images of D_f.
    """
    found = []
    for half, measured in (("metrics", again.metrics), ("report", again.report)):
        for name, recorded in (replicate.get(half) or {}).items():
            if name in DERIVED or measured.get(name) == recorded:
                continue
            now = measured.get(name)
            tolerated = not exact and _near(name, half, recorded, now, again.counts)
            found.append(Difference(half, name, recorded, now, tolerated))
    return found


def _near(name: str, half: str, recorded: Any, now: Any, counts: Mapping[str, int]) -> bool:
    if isinstance(recorded, bool) or isinstance(now, bool):
        # Whether the attack has signal may tip over where its AUC moves a little.
        return True
    if recorded is None or now is None:
        return False
    part = COUNTED.get(name, "forget")
    count = counts["test_report" if part == "test" and half == "report" else part]
    images = IMAGES / count if count else 0.0
    bound = images if name in COUNTED else max(images, ATTACK)
    return bool(abs(recorded - now) <= bound + 1e-12)
