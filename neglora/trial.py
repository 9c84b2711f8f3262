"""One trial, from configuration to record: every replicate unlearned, inferred once and measured."""

from __future__ import annotations

import copy
import gc
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

# Imported by `neglora.lora` when it is first used, which would be within the first trial's time.
import peft  # noqa: F401
import torch
from torch import Tensor, nn

from neglora.artifacts import Artifact
from neglora.ascend import Diverged
from neglora.data import ForgetSet, ImageDataset, Splits, parse_forget, split
from neglora.evaluation import DatasetOutputs, Evaluation, evaluate_outputs, infer_dataset, with_reference
from neglora.hardware import PeakMemory, choose_device, device_name, use_threads
from neglora.kept import adapter_bytes, adapter_name, keep_adapters
from neglora.methods import METHODS, Unlearned
from neglora.metrics import mean_loss
from neglora.mirrored import open_artifacts
from neglora.prerequisites import Prerequisite, base_of, find, load_model, retrain_of
from neglora.provenance import provenance
from neglora.prune import measured_sparsity
from neglora.record import Fidelity, Measured, Record, forget_title, mean_measured
from neglora.seeds import derive_seed
from neglora.setting import Setting
from neglora.shortage import Shortage, shortage_of
from neglora.turns import Turns

logger = logging.getLogger(__name__)

#: Models with their outputs that a worker keeps; the least recently used goes first.
KEPT_MODELS = 16


@dataclass(frozen=True)
class Stop:
    """A trial that another one passes through on its way: the same run after fewer epochs.

    Attributes:
        trial: its id.
        epochs: after how many.
        sampler: Optuna's system attributes, passed through to the record.
    """

    trial: str
    epochs: int
    sampler: dict[str, Any] | None = None


@dataclass(frozen=True)
class Task:
    """One trial to run. Plain JSON data but for the setting.

    Attributes:
        trial: its id.
        cell: dataset, model, method and axes.
        params: the configuration, resolved.
        setting: the surroundings.
        replicates: (forget set, seed) pairs, as the user named them: a class, a list of classes, or `{random: SHARE}`.
        sparsities: base levels to measure beside Retrain (only used by the `retrain` cell).
        sampler: Optuna's system attributes, passed through to the record.
        keep: the study's folder, where adapters are kept; None to keep none.
        fidelity: `search` measures as the setting's samples say, `full` and `confirm` all there is.
        stops: trials that this one passes through, by ascending epochs.
    """

    trial: str
    cell: dict[str, Any]
    params: dict[str, Any]
    setting: Setting
    replicates: tuple[tuple[Any, int], ...]
    sparsities: tuple[float, ...] = (0.0,)
    sampler: dict[str, Any] | None = None
    keep: str | None = None
    fidelity: Fidelity = "full"
    stops: tuple[Stop, ...] = ()


@dataclass
class Findings:
    """What was measured of a model, by forget set. Small, and dear to measure again: it stays when the model goes."""

    evaluations: dict[ForgetSet, Evaluation] = field(default_factory=dict)
    losses: dict[ForgetSet, float] = field(default_factory=dict)


@dataclass
class Kept:
    """A finished model that a worker holds on its device, with its logits once they were asked for."""

    artifact: Artifact
    model: nn.Module
    masks: dict[str, Tensor]
    findings: Findings
    outputs: DatasetOutputs | None = None


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
        #: After a trial that found too little memory even alone: a fresh process had better go on.
        self.spent = False

    def release(self) -> None:
        """Let go of all that can be read again, and of what the allocator holds back: others need the memory."""
        self._models.clear()
        self._datasets.clear()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def dataset(self, setting: Setting) -> ImageDataset:
        """The dataset of a setting, on the device."""
        key = repr((setting.dataset, setting.data))
        if key not in self._datasets:
            self._datasets[key] = setting.load_dataset().to(self.device)
        return self._datasets[key]

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
            self._models[key] = Kept(found, model, masks, self._findings.setdefault(key, Findings()))
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
        """A kept model measured on the splits of a forget set, once."""
        known = kept.findings.evaluations
        if forget not in known:
            known[forget] = _evaluate(self, setting, self.outputs(kept, setting), forget, seed)
        return known[forget]

    def forget_loss(self, kept: Kept, setting: Setting, forget: ForgetSet, splits: Splits) -> float:
        """A kept model's mean loss on a forget set, whose splits these are."""
        known = kept.findings.losses
        if forget not in known:
            known[forget] = _forget_loss(self.outputs(kept, setting), splits)
        return known[forget]


def reference(session: Session, setting: Setting, forget: ForgetSet, seed: int) -> tuple[Evaluation, Artifact] | None:
    """Retrain measured on the splits of a forget set; None where there is no Retrain."""
    kept = session.find(retrain_of(setting, seed, forget))
    if kept is None:
        return None
    return session.evaluation(kept, setting, forget, seed), kept.artifact


def run_replicate(
    session: Session, setting: Setting, method: str, params: Mapping[str, Any], forget: Any, seed: int
) -> tuple[dict[str, Any], Unlearned | None]:
    """Unlearn one forget set with one seed, and measure.

    Returns:
        The replicate as a record holds it, and the unlearned model (None if it diverged).
    """
    dataset = session.dataset(setting)
    wanted = parse_forget(dataset.info, forget)
    base = session.get(base_of(setting, seed, params.get("sparsity", 0.0)))
    splits = split(dataset, wanted, holdout=setting.holdout, seed=setting.split_seed)
    retrained = reference(session, setting, wanted, seed)
    loss_before = session.forget_loss(base, setting, wanted, splits)
    replicate: dict[str, Any] = {"forget": forget, "seed": seed, "status": "ok", "reason": None}
    cost: dict[str, Any] = {"device": device_name(session.device), "threads": setting.threads}
    with PeakMemory(session.device) as peak:
        started = time.perf_counter()
        try:
            unlearned = _unlearn(session, setting, method, params, base, splits, seed)
            _synchronize(session.device)
            cost["unlearn_seconds"] = time.perf_counter() - started
            started = time.perf_counter()
            outputs = infer_dataset(unlearned.model, dataset, setting.batch_size)
            if not all(bool(part.logits.isfinite().all()) for part in (outputs.train, outputs.test)):
                raise Diverged("the unlearned model's logits are not finite", _steps(unlearned))
        except Diverged as error:
            cost["unlearn_seconds"] = cost.get("unlearn_seconds", time.perf_counter() - started)
            replicate |= {"status": "diverged", "reason": str(error), "metrics": {}, "report": {}, "details": {}}
            replicate["details"] = {"step": error.step}
            replicate["cost"] = cost | {"evaluate_seconds": None, "peak_memory_bytes": None}
            return replicate, None
        evaluation = _evaluate(session, setting, outputs, wanted, seed)
        cost["evaluate_seconds"] = time.perf_counter() - started
    cost |= {"peak_memory_bytes": peak.bytes, "trainable_parameters": unlearned.trainable_parameters}
    ratios = run_time_ratios(cost, params.get("epochs"), retrained[1].facts if retrained else None)
    replicate |= {
        "metrics": with_reference(evaluation.metrics, retrained[0].metrics if retrained else None) | ratios,
        "report": with_reference(evaluation.report, retrained[0].report if retrained else None) | ratios,
        "cost": cost,
        "details": evaluation.details
        | {
            "sparsity": {
                "before": base.artifact.facts["sparsity"],
                "after": unlearned.sparsity_after_ascent,
                "merged": measured_sparsity(unlearned.model),
            },
            "loss_before": loss_before,
            "loss_after": _forget_loss(outputs, splits),
            "steps": _steps(unlearned),
            "epochs": unlearned.ascent.epochs if unlearned.ascent else None,
        },
    }
    return replicate, unlearned


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
        "details": evaluation.details | {"epochs": facts["epochs"], "test_accuracy": facts["test_accuracy"]},
        "bases": [measure_base(session, setting, wanted, seed, level)[0] for level in sparsities],
    }


def run_task(session: Session, task: Task, adapters: dict[str, bytes] | None = None) -> list[Record]:
    """The records of a task: one for each of its stops, then its own. See `run_trial`."""
    if task.stops:
        raise NotImplementedError("stops on the way")
    return [run_trial(session, task, adapters)]


def run_trial(session: Session, task: Task, adapters: dict[str, bytes] | None = None) -> Record:
    """Run every replicate of a configuration and average them.

    One diverged replicate makes the trial diverged; the others are still recorded. An exception makes it failed, with
    its reason: the worker goes on with the next trial. A trial that runs out of memory beside others is tried once
    more, alone on its device; if that fails too, the session is `spent`.

    Args:
        session: what the worker keeps.
        task: the trial.
        adapters: filled with the files of the trial's adapters, by name, which are then not written to `task.keep`.
    """
    use_threads(task.setting.threads)
    with closing(Turns(session.device)) as turns:
        with turns.together(session.release):
            outcome = _attempt(session, task, adapters)
        if isinstance(outcome, Record):
            return outcome
        logger.warning("trial %s ran out of memory (%s): it is tried again alone", task.trial, outcome)
        session.release()
        with turns.alone():
            outcome = _attempt(session, task, adapters)
    if isinstance(outcome, Record):
        return outcome
    session.spent = True
    session.release()
    return _record(
        task,
        [],
        f"out of memory, when it ran alone too: it {outcome}. "
        "Take a smaller batch_size or model, or give each trial more of the device (`resources`)",
    )


def _attempt(session: Session, task: Task, adapters: dict[str, bytes] | None) -> Record | Shortage:
    """One try at a trial: its record, or what memory it lacked."""
    replicates: list[dict[str, Any]] = []
    failure: str | None = None
    try:
        for forget, seed in task.replicates:
            if task.cell["method"] == "retrain":
                replicates.append(measure_retrain(session, task.setting, forget, seed, task.sparsities))
            else:
                method = task.cell["method"]
                replicate, unlearned = run_replicate(session, task.setting, method, task.params, forget, seed)
                replicates.append(replicate)
                _keep(task, forget, seed, unlearned, adapters)
    except Exception as error:
        shortage = shortage_of(error, device_name(session.device))
        if shortage:
            if adapters:
                adapters.clear()
            return shortage
        logger.exception("trial %s failed", task.trial)
        failure = f"{type(error).__name__}: {error}"
    return _record(task, replicates, failure)


def _record(task: Task, replicates: list[dict[str, Any]], failure: str | None) -> Record:
    """The record of a trial from its replicates, as far as they came."""
    diverged = [replicate["reason"] for replicate in replicates if replicate["status"] == "diverged"]
    ok = failure is None and not diverged
    return Record(
        trial=task.trial,
        cell=dict(task.cell),
        params=dict(task.params),
        status="ok" if ok else "failed" if failure else "diverged",
        reason=failure or (diverged[0] if diverged else None),
        fidelity="full",
        metrics=mean_measured([replicate["metrics"] for replicate in replicates]) if ok else {},
        report=mean_measured([replicate["report"] for replicate in replicates]) if ok else {},
        replicates=replicates,
        cost=_total_cost([replicate["cost"] for replicate in replicates]),
        sampler=dict(task.sampler or {}),
        provenance=provenance(),
    )


def _keep(task: Task, forget: Any, seed: int, unlearned: Unlearned | None, adapters: dict[str, bytes] | None) -> None:
    """Keep a replicate's adapter where the study asks for it. Without it the trial can still be run again."""
    if unlearned is None or unlearned.adapter is None:
        return
    name = adapter_name(task.trial, forget, seed)
    if adapters is not None:
        adapters[name] = adapter_bytes(unlearned.adapter)
    elif task.keep is not None:
        keep_adapters(Path(task.keep), {name: adapter_bytes(unlearned.adapter)})


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


def _unlearn(
    session: Session,
    setting: Setting,
    method_name: str,
    params: Mapping[str, Any],
    base: Kept,
    splits: Splits,
    seed: int,
) -> Unlearned:
    """Hand a copy of the base to a method, with the data that it declares and nothing else."""
    method = METHODS[method_name]
    dataset = session.dataset(setting)
    handed = {
        need: dataset.train(
            getattr(splits, need), batch_size=params["batch_size"], seed=derive_seed(seed, "order", need)
        )
        for need in method.needs
    }
    model = copy.deepcopy(base.model)
    return method.unlearn(model, params=params, masks=base.masks, seed=seed, **handed)


def _evaluate(session: Session, setting: Setting, outputs: DatasetOutputs, forget: ForgetSet, seed: int) -> Evaluation:
    splits = split(session.dataset(setting), forget, holdout=setting.holdout, seed=setting.split_seed)
    return evaluate_outputs(outputs, splits, seed=seed, attacks=setting.attacks)


def _forget_loss(outputs: DatasetOutputs, splits: Splits) -> float:
    forget = outputs.train[splits.forget]
    return mean_loss(forget.logits, forget.labels)


def _steps(unlearned: Unlearned) -> int:
    return unlearned.ascent.steps if unlearned.ascent else 0


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _total_cost(costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Seconds add up over replicates, memory and parameters are the largest; None where none was measured."""
    if not costs:
        return {}

    def over(name: str, combine: Any) -> Any:
        values = [cost[name] for cost in costs if cost.get(name) is not None]
        return combine(values) if values else None

    return {
        "unlearn_seconds": over("unlearn_seconds", sum),
        "evaluate_seconds": over("evaluate_seconds", sum),
        "peak_memory_bytes": over("peak_memory_bytes", max),
        "trainable_parameters": over("trainable_parameters", max),
        "device": costs[0]["device"],
        "threads": costs[0]["threads"],
    }
