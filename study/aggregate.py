"""From the ledger's records to tables: trials, fronts, hypervolume, recommendations. Pure functions, no clocks."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from neglora.objectives import METRICS
from neglora.record import Record, cell_id
from study.carried import Carried, as_plain, carried
from study.pareto import hypervolume, reference_point
from study.recommend import Recommendation, candidates, front_rows, recommend, reproduce_command
from study.references import Base, base_values, retrain_record
from study.shown import shown, spread
from study.stages import by_fidelity, by_status, share_confirmed

__all__ = [
    "Base",
    "Recommendation",
    "base_values",
    "cell_hypervolume",
    "group_keys",
    "latest",
    "recommend",
    "reproduce_command",
    "retrain_record",
    "shown",
    "spread",
    "summarize",
    "trials_table",
    "write_tables",
]

#: What is measured beside the named metrics.
ATTACK_FACTS = ("mia_accuracy", "mia_auc", "mia_has_signal")
ATTACK_FEATURES = ("mia_correctness", "mia_entropy", "mia_modified_entropy", "mia_full")
SECONDS = ("unlearn_seconds", "prefix_seconds", "evaluate_seconds", "attack_seconds", "audit_seconds")
COSTS = (
    *SECONDS,
    "peak_memory_bytes",
    "trainable_parameters",
    "device",
    "threads",
)
_IDENTITY = ("trial", "number", "cell", "dataset", "model", "method", "axes")
_OUTCOME = ("status", "fidelity", "reason", "replicates")
_NUMBERS = (*METRICS, "mia_accuracy", "mia_auc")


def latest(records: Sequence[Record]) -> list[Record]:
    """One record per trial and fidelity: where a trial was tried again, the last one, at the first one's place."""
    return list({(record.trial, record.fidelity): record for record in records}.values())


def trials_table(records: Sequence[Record]) -> pd.DataFrame:
    """One row per trial and fidelity.

    Columns: trial, number, cell (its id), dataset, model, method, axes (a JSON object); status, fidelity, reason,
    replicates (how many); `param_NAME`; every metric on the selection half under its own name, on the report half as
    `report_NAME`; `spread_NAME`, the sample standard deviation over replicates of the values that are shown (report
    half where measured); costs. What was not measured is NaN.
    """
    records = latest(records)
    parameters = list(dict.fromkeys(name for record in records for name in record.params))
    columns = [*_IDENTITY, *_OUTCOME, *(f"param_{name}" for name in parameters)]
    columns += [*METRICS, *ATTACK_FACTS]
    columns += [f"report_{name}" for name in (*METRICS, *ATTACK_FACTS, *ATTACK_FEATURES)]
    columns += [f"spread_{name}" for name in METRICS]
    columns += COSTS
    rows = [_row(record) for record in records]
    table = pd.DataFrame(rows, columns=columns)
    floats = [*_NUMBERS, *(f"report_{name}" for name in (*_NUMBERS, *ATTACK_FEATURES))]
    floats += [f"spread_{name}" for name in METRICS]
    floats += SECONDS
    table = table.astype(dict.fromkeys(floats, float))
    for name in (*(f"param_{name}" for name in parameters), "peak_memory_bytes", "trainable_parameters", "threads"):
        measured = [row.get(name) for row in rows if row.get(name) is not None]
        if measured and all(type(value) is int for value in measured):
            # A whole number stays one beside rows that have none: 2, not 2.0.
            table[name] = table[name].astype("Int64")
    return table


def _row(record: Record) -> dict[str, Any]:
    axes = {name: value for name, value in record.cell.items() if name not in ("dataset", "model", "method")}
    row: dict[str, Any] = {
        "trial": record.trial,
        "number": record.number,
        "cell": cell_id(record.cell),
        **{name: str(record.cell[name]) for name in ("dataset", "model", "method")},
        "axes": json.dumps(axes),
        "status": record.status,
        "fidelity": record.fidelity,
        "reason": record.reason,
        "replicates": len(record.replicates),
    }
    for name, value in record.params.items():
        row[f"param_{name}"] = json.dumps(value) if isinstance(value, list | tuple | dict) else value
    row |= record.metrics
    row |= {f"report_{name}": value for name, value in record.report.items()}
    row |= {f"spread_{name}": spread(record, name) for name in METRICS}
    row |= {name: record.cost.get(name) for name in COSTS}
    return row


def group_keys(records: Sequence[Record], study: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The (dataset, model) pairs of the records, in the order of the study's space; others behind, as they come."""
    found = dict.fromkeys((str(record.cell["dataset"]), str(record.cell["model"])) for record in records)
    asked = itertools.product(study.get("datasets") or (), study.get("models") or ())
    return list(dict.fromkeys([*(pair for pair in asked if pair in found), *found]))


def cell_hypervolume(table: pd.DataFrame, objectives: Sequence[str]) -> float | None:
    """Volume that the rows' front covers over the study's objectives, from `reference_point`; selection half.

    None where no trial has all of the objectives measured.
    """
    points = candidates(table)[list(objectives)].to_numpy(dtype=float)
    if pd.isna(points).any(axis=1).all():
        return None
    return hypervolume(points, reference_point(objectives), [METRICS[name].direction for name in objectives])


def summarize(records: Sequence[Record], study: Mapping[str, Any], ledger_sha256: str | None = None) -> dict[str, Any]:
    """What `summary.json` holds; every number that was not measured is null.

    Keys: `schema` (1), `study`, `ledger_sha256`, `objectives`, `constraints`, `selection`, `trials` (by status),
    `fidelity` (trials that were measured on subsets, in full, on unseen pairs), `share_confirmed` (of those measured on
    subsets, the share measured in full as well);
    `cells`: one each with `cell`, `dataset`, `model`, `method`, `axes`, `trials`, `best` (per objective `value` on the
    selection half and `trial`), `hypervolume`, `front` (trial ids) and `recommended`;
    `groups`: one per dataset x model with `retrain` and `bases` (each with `metrics` and `report`) and `recommended`.
    `recommended` is `trial` (null where there is none), `reason`, `params`, `metrics`, `report`, `command`, `confirmed`
    (`study.carried.as_plain`).
    """
    records = latest(records)
    table = trials_table(records)
    constraints = study.get("constraints") or {}
    objectives = list(study["objectives"])
    by_trial = {record.trial: record for record in records if record.fidelity == "full"}
    keys = group_keys(records, study)
    elsewhere = {one.trial: one for key in keys for one in carried(records, *key)}
    searched = table[table["method"] != "retrain"]
    cells = []
    for cell, rows in searched.groupby("cell", sort=False):
        cells.append(
            {
                "cell": cell,
                **{name: rows.iloc[0][name] for name in ("dataset", "model", "method")},
                "axes": json.loads(rows.iloc[0]["axes"]),
                "trials": by_status(rows),
                "best": {name: _best(rows, name) for name in objectives},
                "hypervolume": cell_hypervolume(rows, objectives),
                "front": list(front_rows(rows)["trial"]),
                "recommended": _recommended(recommend(rows, constraints), by_trial, elsewhere, study),
            }
        )
    groups = []
    for dataset, model in keys:
        rows = searched[(searched["dataset"] == dataset) & (searched["model"] == model)]
        retrain = retrain_record(records, dataset, model)
        groups.append(
            {
                "dataset": dataset,
                "model": model,
                "retrain": None if retrain is None else {"metrics": retrain.metrics, "report": retrain.report},
                "bases": [asdict(base) for base in base_values(records, dataset, model)],
                "recommended": _recommended(recommend(rows, constraints), by_trial, elsewhere, study),
            }
        )
    return {
        "schema": 1,
        "study": study["study"],
        "ledger_sha256": ledger_sha256,
        "objectives": objectives,
        "constraints": constraints,
        "selection": study.get("selection"),
        "trials": by_status(searched),
        "fidelity": by_fidelity(searched),
        "share_confirmed": share_confirmed(searched),
        "cells": cells,
        "groups": groups,
    }


def _best(rows: pd.DataFrame, name: str) -> dict[str, Any] | None:
    measured = candidates(rows).dropna(subset=[name]).sort_values("number", kind="stable")
    if measured.empty:
        return None
    measured = measured.sort_values(name, ascending=METRICS[name].direction == "minimize", kind="stable")
    first = measured.iloc[0]
    return {"value": float(first[name]), "trial": first["trial"]}


def _recommended(
    choice: Recommendation, by_trial: Mapping[str, Record], elsewhere: Mapping[str, Carried], study: Mapping[str, Any]
) -> dict[str, Any]:
    if choice.trial is None:
        return {"trial": None, "reason": choice.reason}
    record = by_trial[choice.trial]
    return {
        "trial": choice.trial,
        "reason": choice.reason,
        "params": record.params,
        "metrics": record.metrics,
        "report": record.report,
        "command": reproduce_command(record, study) if record.replicates else None,
        "confirmed": as_plain(elsewhere[choice.trial]) if choice.trial in elsewhere else None,
    }


def write_tables(study_dir: Path, records: Sequence[Record], study: Mapping[str, Any]) -> list[Path]:
    """Write trials.csv, front.csv (the front of every dataset x model x method) and summary.json, each atomically.

    Returns:
        The three paths.
    """
    table = trials_table(records)
    searched = table[table["method"] != "retrain"]
    fronts = [front_rows(rows) for _, rows in searched.groupby(["dataset", "model", "method"], sort=False)]
    on_front = pd.concat(fronts) if fronts else searched
    ledger = study_dir / "ledger.jsonl"
    digest = hashlib.sha256(ledger.read_bytes()).hexdigest() if ledger.exists() else None
    summary = summarize(records, study, digest)
    texts = {
        "trials.csv": table.to_csv(index=False, lineterminator="\n"),
        "front.csv": on_front.to_csv(index=False, lineterminator="\n"),
        "summary.json": json.dumps(summary, allow_nan=False, indent=2) + "\n",
    }
    for name, text in texts.items():
        write_atomically(study_dir / name, text)
    return [study_dir / name for name in texts]


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader, or a kill in between, sees the old one or the new one, never a half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
