"""What the report decides, to cite: what is recommended beside Retrain and the base, and what in every cell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from neglora.intervals import wilson
from neglora.objectives import GAP_METRICS
from neglora.record import Record
from study.aggregate import group_keys, latest, shown, spread, trials_table
from study.recommend import recommend, reproduce_command
from study.references import Base, base_name, base_values, retrain_record
from study.shown import images

RECOMMENDED, RETRAIN = "Recommended", "Retrain"
#: What a row costs, by the names of a record's `cost`.
COSTS = ("unlearn_seconds", "peak_memory_bytes", "trainable_parameters")


@dataclass(frozen=True)
class Value:
    """What is shown of a metric (report half), fractions.

    Attributes:
        value: None where it was not measured.
        low, high: Wilson's 95% interval; None where the number of images is not recorded.
        images: on how many images; None where that is not recorded.
        spread: standard deviation over replicates; None for fewer than two.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    images: int | None = None
    spread: float | None = None


@dataclass(frozen=True)
class Decided:
    """One row.

    Attributes:
        name: for people: the cell, or `Recommended`, `Retrain`, `Base`.
        method: None for a base.
        axes: the cell's levels; empty but in a table of cells.
        trial: its id; None for a base, and where nothing is recommended.
        reason: why it was chosen, or why there is none; None for references.
        values: UA, RA, TA and MIA by name.
        gap, speedup: as shown; None where they were not measured.
        costs: by the names of COSTS.
        params: the configuration.
        command: makes it again; None for references.
    """

    dataset: str
    model: str
    name: str
    method: str | None
    axes: Mapping[str, Any]
    trial: str | None
    reason: str | None
    replicates: int | None
    values: Mapping[str, Value]
    gap: float | None
    speedup: float | None
    costs: Mapping[str, float | None]
    params: Mapping[str, Any]
    command: str | None

    @property
    def title(self) -> str:
        return f"{self.model} on {self.dataset}"


def decision_rows(records: Sequence[Record], study: Mapping[str, Any]) -> list[Decided]:
    """Per dataset x model what is recommended, Retrain, and the dense base, as far as they are there."""
    records = latest(records)
    table = _searched(records)
    rows = []
    for dataset, model in group_keys(records, study):
        own = table[(table["dataset"] == dataset) & (table["model"] == model)]
        rows.append(_recommended(own, (dataset, model), RECOMMENDED, {}, None, records, study))
        retrain = retrain_record(records, dataset, model)
        if retrain is not None:
            rows.append(_of(retrain, RETRAIN, {}, None, None))
        bases = base_values(records, dataset, model)
        rows += [_of_base(base, dataset, model) for base in bases if base.sparsity == 0]
    return rows


def cell_rows(records: Sequence[Record], study: Mapping[str, Any]) -> list[Decided]:
    """What is recommended in every searched cell, in the study's order."""
    records = latest(records)
    table = _searched(records)
    rows = []
    for dataset, model in group_keys(records, study):
        own = table[(table["dataset"] == dataset) & (table["model"] == model)]
        for _, cell in own.groupby("cell", sort=False):
            method, axes = str(cell.iloc[0]["method"]), json.loads(cell.iloc[0]["axes"])
            name = ", ".join([method, *(f"{axis} {level}" for axis, level in axes.items())])
            rows.append(_recommended(cell, (dataset, model), name, axes, method, records, study))
    return rows


def _searched(records: Sequence[Record]) -> pd.DataFrame:
    table = trials_table(records)
    return table[table["method"] != "retrain"]


def _recommended(
    table: pd.DataFrame,
    group: tuple[str, str],
    name: str,
    axes: Mapping[str, Any],
    method: str | None,
    records: Sequence[Record],
    study: Mapping[str, Any],
) -> Decided:
    choice = recommend(table, study.get("constraints") or {})
    if choice.trial is None:
        none = dict.fromkeys(GAP_METRICS, Value(None))
        costs = dict.fromkeys(COSTS)
        return Decided(*group, name, method, axes, None, choice.reason, None, none, None, None, costs, {}, None)
    record = next(one for one in records if one.trial == choice.trial and one.fidelity == "full")
    command = reproduce_command(record, study) if record.replicates else None
    return _of(record, name, axes, choice.reason, command)


def _of(record: Record, name: str, axes: Mapping[str, Any], reason: str | None, command: str | None) -> Decided:
    return Decided(
        str(record.cell["dataset"]),
        str(record.cell["model"]),
        name,
        str(record.cell["method"]),
        axes,
        record.trial,
        reason,
        len(record.replicates),
        {metric: _value(record, metric) for metric in GAP_METRICS},
        shown(record.metrics, record.report, "gap"),
        shown(record.metrics, record.report, "speedup"),
        {cost: record.cost.get(cost) for cost in COSTS},
        record.params,
        command,
    )


def _value(record: Record, metric: str) -> Value:
    value, number = shown(record.metrics, record.report, metric), images(record, metric)
    if value is None or number is None:
        return Value(value, spread=spread(record, metric))
    return Value(value, *wilson(value, number), number, spread(record, metric))


def _of_base(base: Base, dataset: str, model: str) -> Decided:
    return Decided(
        dataset,
        model,
        base_name(base.sparsity),
        None,
        {},
        None,
        None,
        None,
        {metric: Value(shown(base.metrics, base.report, metric)) for metric in GAP_METRICS},
        shown(base.metrics, base.report, "gap"),
        None,
        {"unlearn_seconds": base.train_seconds, "peak_memory_bytes": None, "trainable_parameters": base.parameters},
        {},
        None,
    )
