"""One replicate of a trial: a forget set unlearned with a seed, and measured as far as was asked for."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

# Imported by `neglora.lora` when it is first used, which would be within the first trial's time.
import peft  # noqa: F401
import torch

from neglora.artifact import Artifact
from neglora.ascend import Diverged
from neglora.audits import NOT_AUDITED
from neglora.data import ForgetSet, Splits, parse_forget
from neglora.evaluation import DatasetOutputs, Evaluation, Outputs, evaluate_outputs, evaluate_sample, with_reference
from neglora.hardware import PeakMemory, device_memory, device_name
from neglora.intervals import wilson
from neglora.methods import METHODS, Passing, Unlearned
from neglora.metrics import accuracy, mean_loss
from neglora.prerequisites import base_of, retrain_of
from neglora.prune import measured_sparsity
from neglora.record import Fidelity, Measured, forget_title
from neglora.retract import RANDOM_SHARE
from neglora.session import Kept, Session
from neglora.setting import Setting
from neglora.trunk import Trunk

#: A replicate as a record holds it, and the unlearned model; None if it diverged.
Outcome = tuple[dict[str, Any], Unlearned | None]


@dataclass
class Run:
    """One way from a base through an ascent, with everything that is measured on it.

    Attributes:
        session, setting, method, params, forget, seed, fidelity: as `run_replicate` was given them.
        wanted: the forget set.
        base: what it starts from.
        splits: of the forget set.
        trunk: what its images go through.
        retrained: what it is compared with; None where there is no Retrain.
        aside: seconds that measuring on the way took.
    """

    session: Session
    setting: Setting
    method: str
    params: Mapping[str, Any]
    forget: Any
    seed: int
    fidelity: Fidelity
    wanted: ForgetSet
    base: Kept
    splits: Splits
    trunk: Trunk
    retrained: Kept | None
    aside: float = field(default=0.0)


def run_replicate(
    session: Session,
    setting: Setting,
    method: str,
    params: Mapping[str, Any],
    forget: Any,
    seed: int,
    fidelity: Fidelity = "full",
) -> Outcome:
    """Unlearn one forget set with one seed, and measure.

    Args:
        session: its storage has to hold the base.
        setting, method, params: of the trial.
        forget: as the user named it.
        seed: of base, adapters and order.
        fidelity: `search` measures as the setting's samples say, `full` and `confirm` all there is.
    """
    return run_stages(session, setting, method, params, forget, seed, fidelity)[-1]


def run_stages(
    session: Session,
    setting: Setting,
    method: str,
    params: Mapping[str, Any],
    forget: Any,
    seed: int,
    fidelity: Fidelity = "full",
    stops: Sequence[int] = (),
) -> list[Outcome]:
    """The same, measured on its way after each number of epochs in `stops` too; the whole run comes last.

    What a stop gives is what a run of so many epochs would: the ascent's rate is constant, and measuring disturbs
    nothing.
    """
    wanted = parse_forget(session.dataset(setting).info, forget)
    if params.get("retract") is not None and wanted.share is not None:
        raise ValueError(RANDOM_SHARE)
    if setting.audits and wanted.share is not None:
        raise ValueError(NOT_AUDITED)
    base = session.get(base_of(setting, seed, params.get("sparsity", 0.0)))
    run = Run(
        session,
        setting,
        method,
        params,
        forget,
        seed,
        fidelity,
        wanted,
        base,
        session.splits(setting, wanted),
        Trunk(session, setting, base, method, params),
        session.find(retrain_of(setting, seed, wanted)),
    )
    outcomes: list[Outcome] = []
    with PeakMemory(session.device) as peak:
        started = time.perf_counter()
        try:
            unlearned, seconds = _unlearned(run, stops, outcomes)
        except Diverged as error:
            seconds = time.perf_counter() - started - run.aside
            # Whatever was not reached would have diverged by the same step.
            outcomes += [(_diverged(run, error, seconds), None) for _ in range(len(stops) + 1 - len(outcomes))]
        else:
            outcomes.append(_outcome(run, unlearned, params.get("epochs"), seconds))
    for replicate, made in outcomes:
        replicate["cost"]["peak_memory_bytes"] = peak.bytes if made else None
    return outcomes


def _unlearned(run: Run, stops: Sequence[int], outcomes: list[Outcome]) -> tuple[Unlearned, float]:
    """Hand a copy of the base to the method, and measure at the stops.

    Returns:
        What the method made, and the seconds it took, as if it had been alone: with what D_f's activations took, and
        without the stops.
    """
    model = copy.deepcopy(run.base.model)
    with run.trunk.ascending(model, run.splits, run.seed) as data:
        started = time.perf_counter()

        def taken() -> float:
            _synchronize(run.session.device)
            return time.perf_counter() - started - run.aside + run.trunk.seconds

        def passed(epochs: int, copied: Callable[[], Callable[[], Unlearned]]) -> None:
            reached = time.perf_counter()
            finish = copied()
            copying = time.perf_counter() - reached
            # Finishing is of its time: a run by itself ends so too.
            unlearned = finish()
            outcomes.append(_outcome(run, unlearned, epochs, taken() - copying))
            run.aside += time.perf_counter() - reached

        method = METHODS[run.method]
        extra = {"passing": Passing(tuple(stops), passed)} if stops else {}
        unlearned = method.unlearn(model, params=run.params, masks=run.base.masks, seed=run.seed, **extra, **data)
        return unlearned, taken()


def _outcome(run: Run, unlearned: Unlearned, epochs: int | None, seconds: float) -> Outcome:
    """A model measured as the run's fidelity asks."""
    session, setting = run.session, run.setting
    started = time.perf_counter()
    try:
        evaluation, after, reason = _evaluated(run, unlearned)
    except Diverged as error:
        return _diverged(run, error, seconds), None
    cost: dict[str, Any] = _place(run) | {
        "unlearn_seconds": seconds,
        "prefix_seconds": run.trunk.seconds,
        "evaluate_seconds": time.perf_counter() - started,
        "attack_seconds": evaluation.attack_seconds,
        "audit_seconds": evaluation.audit_seconds,
        "trainable_parameters": unlearned.trainable_parameters,
    }
    retrained = run.retrained
    ratios = run_time_ratios(cost, epochs, retrained.artifact.facts if retrained else None)
    selection = session.selection(retrained, setting, run.wanted, run.seed) if retrained else None
    report = {}
    if evaluation.report:
        whole = session.evaluation(retrained, setting, run.wanted, run.seed) if retrained else None
        report = with_reference(evaluation.report, whole.report if whole else None) | ratios
    details = {
        "sparsity": {
            "before": run.base.artifact.facts["sparsity"],
            "after": unlearned.sparsity_after_ascent,
            "merged": measured_sparsity(unlearned.model),
        },
        "loss_before": session.forget_loss(run.base, setting, run.wanted),
        "loss_after": after,
        "steps": _steps(unlearned),
        "epochs": unlearned.ascent.epochs if unlearned.ascent else None,
    }
    if unlearned.retraction is not None:
        details["retraction"] = unlearned.retraction.as_plain()
    replicate = _head(run) | {
        "status": "ok",
        "reason": reason,
        "metrics": with_reference(evaluation.metrics, selection) | ratios,
        "report": report,
        "cost": cost,
        "details": evaluation.details | details,
    }
    return replicate, unlearned


def _evaluated(run: Run, unlearned: Unlearned) -> tuple[Evaluation, float, str | None]:
    """The model's evaluation, its mean loss on D_f, and why it was not measured further than at a probe.

    Raises:
        Diverged: its logits are not finite.
    """
    session, setting, model = run.session, run.setting, unlearned.model
    if run.fidelity != "search" or not setting.staged:
        outputs = run.trunk.infer(model)
        _check_finite(outputs, unlearned)
        evaluation = evaluate_outputs(outputs, run.splits, seed=run.seed, attacks=setting.attacks)
        with run.trunk.left(model):
            evaluation = session.audited(evaluation, model, run.base.masks, setting, run.wanted, run.seed)
        return evaluation, _loss(outputs, run.splits), None
    reason = None
    if setting.probe_samples is not None:
        probe = session.probe(setting, run.wanted)
        reason = _hopeless(run.trunk.infer_train(model, probe.retain))
    if reason:
        sample = probe
    elif setting.retain_samples is None and setting.test_samples is None:
        return _evaluated(replace(run, fidelity="full"), unlearned)
    else:
        sample = session.sample(setting, run.wanted)
    outputs = run.trunk.infer(
        model,
        torch.cat([sample.forget, sample.retain]).sort().values,
        torch.cat([sample.test, sample.test_forget]).sort().values,
    )
    _check_finite(outputs, unlearned)
    return evaluate_sample(outputs, sample, run.splits, seed=run.seed), _loss(outputs, run.splits), reason


def _hopeless(probe: Outputs) -> str | None:
    """Why a model that is asked for images of D_r is not worth more questions: it is right about as often as chance.

    Chance is one class of those there are: what a model scores that calls every image the same.
    """
    right, count = accuracy(probe.logits, probe.labels), len(probe)
    classes = len(probe.labels.unique())
    if classes < 2 or wilson(right, count)[0] > 1 / classes:
        return None
    return (
        f"its accuracy of {right:.1%} on {count} retained images is that of chance among {classes} classes: it was not "
        f"measured further"
    )


def _check_finite(outputs: DatasetOutputs, unlearned: Unlearned) -> None:
    if not outputs.finite:
        raise Diverged("the unlearned model's logits are not finite", _steps(unlearned))


def _diverged(run: Run, error: Diverged, seconds: float) -> dict[str, Any]:
    """What a record holds of a replicate that diverged."""
    cost = _place(run) | {"unlearn_seconds": seconds, "evaluate_seconds": None, "peak_memory_bytes": None}
    return _head(run) | {
        "status": "diverged",
        "reason": str(error),
        "metrics": {},
        "report": {},
        "details": {"step": error.step},
        "cost": cost,
    }


def _head(run: Run) -> dict[str, Any]:
    return {"forget": run.forget, "seed": run.seed}


def _place(run: Run) -> dict[str, Any]:
    device = run.session.device
    return {
        "device": device_name(device),
        "device_memory_bytes": device_memory(device),
        "threads": run.setting.threads,
    }


def reference(session: Session, setting: Setting, forget: ForgetSet, seed: int) -> tuple[Evaluation, Artifact] | None:
    """Retrain measured on the splits of a forget set; None where there is no Retrain."""
    kept = session.find(retrain_of(setting, seed, forget))
    if kept is None:
        return None
    return session.evaluation(kept, setting, forget, seed), kept.artifact


def measure_base(
    session: Session, setting: Setting, forget: ForgetSet, seed: int, sparsity: float
) -> tuple[dict[str, Any], Kept]:
    """A base model before unlearning, on the splits of a forget set: a reference mark."""
    kept = session.get(base_of(setting, seed, sparsity))
    evaluation = session.evaluation(kept, setting, forget, seed)
    retrained = reference(session, setting, forget, seed)
    measured = {
        "sparsity": sparsity,
        "metrics": with_reference(evaluation.metrics, retrained[0].metrics if retrained else None),
        "report": with_reference(evaluation.report, retrained[0].report if retrained else None),
        "cost": {"train_seconds": kept.artifact.facts["train_seconds"]},
        "parameters": kept.artifact.facts["parameters"],
        "details": evaluation.details,
    }
    return measured, kept


def measure_retrain(
    session: Session, setting: Setting, forget: Any, seed: int, sparsities: Sequence[float]
) -> dict[str, Any]:
    """Retrain as a replicate, with every base level beside it."""
    wanted = parse_forget(session.dataset(setting).info, forget)
    started = time.perf_counter()
    retrained = reference(session, setting, wanted, seed)
    if retrained is None:
        raise LookupError(
            f"Retrain of {setting.dataset} {setting.model} without {forget_title(forget)}, seed {seed}, is missing"
        )
    evaluation, artifact = retrained
    facts = artifact.facts
    cost = {
        "unlearn_seconds": facts["train_seconds"],
        "evaluate_seconds": time.perf_counter() - started,
        "audit_seconds": evaluation.audit_seconds,
        "peak_memory_bytes": None,
        "trainable_parameters": facts["parameters"],
        "device": facts["device"],
        "threads": facts["threads"],
    }
    ratios = run_time_ratios(cost, facts["epochs"], facts)
    return {
        "forget": forget,
        "seed": seed,
        "status": "ok",
        "reason": None,
        "metrics": with_reference(evaluation.metrics, evaluation.metrics) | ratios,
        "report": with_reference(evaluation.report, evaluation.report) | ratios,
        "cost": cost,
        "details": evaluation.details
        | {"epochs": facts["epochs"], "test_accuracy": facts["test_accuracy"]}
        # Once in a study is enough: other lines have the same classes.
        | {"class_names": list(session.dataset(setting).info.classes)},
        "bases": [measure_base(session, setting, wanted, seed, level)[0] for level in sparsities],
    }


def run_time_ratios(cost: Mapping[str, Any], epochs: int | None, retrain: Mapping[str, Any] | None) -> Measured:
    """`rte`, `rte_epoch` and `speedup` against Retrain's own measured time.

    None unless device and threads equal Retrain's, which one worker trained: a ratio between two machines says nothing
    about the method.

    Differs: the paper defines RTE as retraining time over unlearning time but prints the inverse per epoch. Here the
    inverse is `rte`, per epoch `rte_epoch`, and the formula is `speedup`.
    """
    nothing: Measured = {"rte": None, "rte_epoch": None, "speedup": None}
    if retrain is None or any(cost[name] != retrain[name] for name in ("device", "threads")):
        return nothing
    if retrain.get("workers", 1) > 1:
        return nothing
    seconds, whole = cost["unlearn_seconds"], retrain["train_seconds"]
    if not seconds or not whole or not epochs:
        return nothing
    return {
        "rte": seconds / whole,
        "rte_epoch": (seconds / epochs) / (whole / retrain["epochs"]),
        "speedup": whole / seconds,
    }


def _loss(outputs: DatasetOutputs, splits: Splits) -> float:
    forget = outputs.train[splits.forget]
    return mean_loss(forget.logits, forget.labels)


def _steps(unlearned: Unlearned) -> int:
    return unlearned.ascent.steps if unlearned.ascent else 0


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
