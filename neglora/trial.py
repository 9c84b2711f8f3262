"""One trial, from configuration to record: every replicate unlearned, inferred once and measured."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neglora.hardware import device_name, use_threads
from neglora.kept import adapter_bytes, adapter_name, keep_adapters
from neglora.methods import Unlearned
from neglora.provenance import provenance
from neglora.record import Fidelity, Record, mean_measured
from neglora.replicate import measure_retrain, run_stages
from neglora.session import Session
from neglora.setting import Setting
from neglora.shortage import Shortage, shortage_of
from neglora.turns import Turns

logger = logging.getLogger(__name__)

#: What a trial's time is counted in: D_f's prefix is part of unlearning, attack and audits of evaluating.
SECONDS = ("unlearn_seconds", "prefix_seconds", "evaluate_seconds", "attack_seconds", "audit_seconds")


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

    @property
    def parts(self) -> tuple[Task, ...]:
        """The trials of this task by themselves: each stop as a task of its own, then this one."""
        stopped = [
            replace(
                self, trial=stop.trial, params=self.params | {"epochs": stop.epochs}, sampler=stop.sampler, stops=()
            )
            for stop in self.stops
        ]
        return (*stopped, self)


def run_trial(session: Session, task: Task, adapters: dict[str, bytes] | None = None) -> Record:
    """The task's own record. See `run_task`."""
    return run_task(session, task, adapters)[-1]


def run_task(session: Session, task: Task, adapters: dict[str, bytes] | None = None) -> list[Record]:
    """Run every replicate of a configuration and average them.

    One diverged replicate makes the trial diverged; the others are still recorded. An exception makes it failed, with
    its reason: the worker goes on with the next trial. A trial that runs out of memory beside others is tried once
    more, alone on its device; if that fails too, the session is `spent`.

    Args:
        session: what the worker keeps.
        task: the trial.
        adapters: filled with the files of the trial's adapters, by name, which are then not written to `task.keep`.

    Returns:
        A record of each of the task's stops, then its own.
    """
    use_threads(task.setting.threads)
    with closing(Turns(session.device)) as turns:
        with turns.together(session.release):
            found = _attempt(session, task, adapters)
        if isinstance(found, Shortage):
            logger.warning("trial %s ran out of memory (%s): it is tried again alone", task.trial, found)
            session.release()
            with turns.alone():
                found = _attempt(session, task, adapters)
    if not isinstance(found, Shortage):
        return found
    session.spent = True
    session.release()
    return _records(
        task,
        [],
        f"out of memory, when it ran alone too: it {found}. "
        "Take a smaller batch_size or model, or give each trial more of the device (`resources`)",
    )


def _attempt(session: Session, task: Task, adapters: dict[str, bytes] | None) -> list[Record] | Shortage:
    """One try at a task: its records, or what memory it lacked."""
    found: list[list[dict[str, Any]]] = []
    failure: str | None = None
    data: str | None = None
    try:
        data = session.dataset(task.setting).fingerprint
        for forget, seed in task.replicates:
            if task.cell["method"] == "retrain":
                found.append([measure_retrain(session, task.setting, forget, seed, task.sparsities)])
                continue
            outcomes = run_stages(
                session,
                task.setting,
                task.cell["method"],
                task.params,
                forget,
                seed,
                task.fidelity,
                [stop.epochs for stop in task.stops],
            )
            found.append([replicate for replicate, _ in outcomes])
            for (_, unlearned), one in zip(outcomes, task.parts, strict=True):
                _keep(one, forget, seed, unlearned, adapters)
    except Exception as error:
        shortage = shortage_of(error, device_name(session.device))
        if shortage:
            if adapters:
                adapters.clear()
            return shortage
        logger.exception("trial %s failed", task.trial)
        failure = f"{type(error).__name__}: {error}"
    return _records(task, found, failure, data)


def _records(
    task: Task, found: Sequence[Sequence[dict[str, Any]]], failure: str | None, data: str | None = None
) -> list[Record]:
    """The records of a task from its replicates, as far as they came. `data` is the dataset's fingerprint."""
    return [_record(one, [stages[place] for stages in found], failure, data) for place, one in enumerate(task.parts)]


def _record(task: Task, replicates: list[dict[str, Any]], failure: str | None, data: str | None) -> Record:
    """The record of one trial."""
    diverged = [replicate["reason"] for replicate in replicates if replicate["status"] == "diverged"]
    ok = failure is None and not diverged
    remarks = [replicate["reason"] for replicate in replicates if replicate["reason"]]
    sampled = any("intervals" in (replicate.get("details") or {}) for replicate in replicates)
    return Record(
        trial=task.trial,
        cell=dict(task.cell),
        params=dict(task.params),
        status="ok" if ok else "failed" if failure else "diverged",
        reason=failure or next(iter(diverged or remarks), None),
        fidelity=task.fidelity if task.fidelity != "search" else "search" if sampled else "full",
        metrics=mean_measured([replicate["metrics"] for replicate in replicates]) if ok else {},
        report=mean_measured([replicate["report"] for replicate in replicates]) if ok and not sampled else {},
        replicates=replicates,
        cost=_total_cost([replicate["cost"] for replicate in replicates]),
        sampler=dict(task.sampler or {}),
        provenance=provenance() | ({} if data is None else {"data": data}),
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


def _total_cost(costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Seconds add up over replicates, memory and parameters are the largest; None where none was measured."""
    if not costs:
        return {}

    def over(name: str, combine: Any) -> Any:
        values = [cost[name] for cost in costs if cost.get(name) is not None]
        return combine(values) if values else None

    return {
        **{name: over(name, sum) for name in SECONDS},
        "peak_memory_bytes": over("peak_memory_bytes", max),
        "device_memory_bytes": over("device_memory_bytes", min),
        "trainable_parameters": over("trainable_parameters", max),
        "device": costs[0]["device"],
        "threads": costs[0]["threads"],
    }
