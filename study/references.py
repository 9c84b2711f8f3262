"""What unlearned models are measured against: Retrain, and the model before unlearning at each sparsity."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neglora.record import Measured, Record, mean_measured


@dataclass(frozen=True)
class Base:
    """The model before unlearning, at one sparsity: a reference mark.

    Attributes:
        sparsity: share of weights pruned; 0 is the dense base.
        metrics, report: its values on the two halves, means over replicates.
        train_seconds: what training (or pruning and recovering) it took, mean over replicates; None if unknown.
        parameters: how many weights it has.
    """

    sparsity: float
    metrics: Measured
    report: Measured
    train_seconds: float | None
    parameters: int | None


def base_name(sparsity: float) -> str:
    """How a base is called where people read: "Base", "Base, 90% sparse"."""
    return "Base" if sparsity == 0 else f"Base, {sparsity * 100:g}% sparse"


def retrain_record(records: Sequence[Record], dataset: str, model: str) -> Record | None:
    """The group's Retrain, or None where it is missing or did not end well."""
    for record in reversed(records):
        cell = (str(record.cell["dataset"]), str(record.cell["model"]), record.cell["method"])
        if cell == (dataset, model, "retrain") and record.status == "ok" and record.fidelity == "full":
            return record
    return None


def base_values(records: Sequence[Record], dataset: str, model: str) -> list[Base]:
    """The group's bases by sparsity, dense first, averaged over replicates; empty until Retrain was measured."""
    retrain = retrain_record(records, dataset, model)
    found: dict[float, list[dict[str, Any]]] = {}
    for replicate in retrain.replicates if retrain else []:
        for base in replicate.get("bases") or []:
            found.setdefault(float(base["sparsity"]), []).append(base)
    return [
        Base(
            sparsity,
            mean_measured([base.get("metrics") or {} for base in bases]),
            mean_measured([base.get("report") or {} for base in bases]),
            _mean([(base.get("cost") or {}).get("train_seconds") for base in bases]),
            bases[0].get("parameters"),
        )
        for sparsity, bases in sorted(found.items())
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return statistics.fmean(measured) if measured and len(measured) == len(values) else None
