"""Trials of the tests: tasks on the tiny dataset, and records without what a clock wrote."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from neglora.methods import METHODS
from neglora.objectives import METRICS
from neglora.record import trial_id
from neglora.setting import Setting
from neglora.trial import Task
from tests.neglora.conftest import FORGET, SPARSITY

#: What differs from run to run, or says when.
CLOCKS = {
    "unlearn_seconds",
    "prefix_seconds",
    "evaluate_seconds",
    "attack_seconds",
    "audit_seconds",
    "train_seconds",
    "peak_memory_bytes",
    "time",
    *(name for name, metric in METRICS.items() if metric.timed),
}


def task(setting: Setting, method: str = "neglora", replicates: Any = ((FORGET, 0),), **params: Any) -> Task:
    cell = {"dataset": "tiny", "model": "resnet_nano", "method": method}
    return Task(
        trial=trial_id(cell, 3),
        cell=cell,
        params=METHODS[method].resolve(params),
        setting=setting,
        replicates=replicates,
        sampler={"generation": 1},
    )


def neglora_task(setting: Setting, **changes: Any) -> Task:
    return task(setting, lr=1e-2, rank=4, targets="last.conv+head", **changes)


def retrain_task(
    setting: Setting, replicates: Any = ((FORGET, 0),), sparsities: tuple[float, ...] = (0.0, SPARSITY)
) -> Task:
    return replace(task(setting, "retrain", replicates), sparsities=sparsities)


def without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_clocks(item) for name, item in value.items() if name not in CLOCKS}
    if isinstance(value, list):
        return [without_clocks(item) for item in value]
    return value
