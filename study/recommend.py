"""Which configuration to take, and the command that reproduces its numbers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from neglora.objectives import GAP_METRICS, METRICS, TOW_METRICS
from neglora.parameters import WORKING
from neglora.record import Measured, Record
from study.pareto import front

#: Without Retrain there is no distance to it: then a configuration should forget at least this share of D_f.
FORGOTTEN = 0.95

#: Sections of a space that numbers depend on, with the defaults of their keys; None where every key is written.
SECTIONS: dict[str, dict[str, Any] | None] = {
    "training": None,
    "architecture": None,
    "data": {"image_size": None, "mean": None, "std": None, "damaged": 0.01, "seed": 0, "test_share": 0.2},
    "evaluation": {"batch_size": 64, "attacks": "all", "prefix_gib": 2.0},
    "selection": {"seed": 0},
}

#: What studies mean that do not say: those of versions that did not know a setting did without it.
UNSAID: dict[str, dict[str, Any]] = {"evaluation": {"prefix_gib": 0.0}}

Constraints = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Recommendation:
    """A trial's id, or None, and in words why it was chosen or why there is none."""

    trial: str | None
    reason: str


def candidates(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that may enter a front: unlearned in full, with status ok. Retrain is a reference, not a candidate."""
    return table[(table["status"] == "ok") & (table["fidelity"] == "full") & (table["method"] != "retrain")]


def front_rows(table: pd.DataFrame, names: Sequence[str] = GAP_METRICS) -> pd.DataFrame:
    """The candidates that no other candidate dominates in these metrics of the selection half."""
    rows = candidates(table)
    indices = front(rows[list(names)].to_numpy(dtype=float), [METRICS[name].direction for name in names])
    return rows.iloc[indices]


def satisfying(rows: pd.DataFrame, constraints: Constraints) -> pd.DataFrame:
    """The rows whose selection values keep every bound; a value that was not measured keeps none."""
    for name, bounds in constraints.items():
        if "min" in bounds:
            rows = rows[rows[name].astype(float) >= bounds["min"]]
        if "max" in bounds:
            rows = rows[rows[name].astype(float) <= bounds["max"]]
    return rows


def recommend(table: pd.DataFrame, constraints: Constraints | None = None) -> Recommendation:
    """Choose among the rows of `trials_table` by their values on the selection half.

    On the front of UA, RA, TA and MIA, the configuration nearest to Retrain. Without Retrain, the one with the highest
    min(RA, TA) among those with UA >= 0.95. Constraints of the study are kept where any trial keeps them. Ties go to
    the higher min(RA, TA), then to the earlier trial, so that the choice never depends on a clock.
    """
    rows = candidates(table)
    if rows.empty:
        return Recommendation(None, _why_empty(table))
    kept = satisfying(rows, constraints or {})
    remark = ""
    if kept.empty:
        kept, remark = rows, f"; no trial keeps the constraint {_in_words(constraints or {})}"
    on_front = front_rows(kept)
    nearest = on_front[on_front["gap"].notna()]
    if not nearest.empty:
        chosen = _first(nearest.assign(_rank=nearest["gap"].astype(float)))
        return Recommendation(
            chosen["trial"],
            "nearest to Retrain on the front of UA, RA, TA and MIA "
            f"(mean distance {chosen['gap']:.2%} on the selection half){remark}",
        )
    forgetful = kept[(kept["ua"].astype(float) >= FORGOTTEN) & kept["ra"].notna() & kept["ta"].notna()]
    if forgetful.empty:
        return Recommendation(
            None, f"no distance to Retrain was measured, and no trial forgot {FORGOTTEN:.0%} of D_f{remark}"
        )
    undominated = front_rows(forgetful)
    forgetful = forgetful if undominated.empty else undominated
    chosen = _first(forgetful.assign(_rank=0.0))
    return Recommendation(
        chosen["trial"], f"highest min(RA, TA) among trials with UA >= {FORGOTTEN:.0%}, for want of a Retrain{remark}"
    )


def nearest_without_attack(
    table: pd.DataFrame, retrain: Measured, constraints: Constraints | None = None
) -> str | None:
    """The trial that would be nearest to Retrain on the front of UA, RA and TA alone, as `recommend` goes about it.

    What is left of a choice where the attack has no signal, so that MIA is noise. The distance is that of the means
    over replicates.

    Args:
        table: rows of `trials_table`.
        retrain: Retrain's values on the selection half.
        constraints: those of the study.
    """
    rows = candidates(table)
    kept = satisfying(rows, constraints or {})
    on_front = front_rows(rows if kept.empty else kept, TOW_METRICS)
    references = [retrain.get(name) for name in TOW_METRICS]
    if on_front.empty or any(value is None for value in references):
        return None
    distances = on_front[list(TOW_METRICS)].astype(float).sub(pd.Series(references, TOW_METRICS, dtype=float)).abs()
    return str(_first(on_front.assign(_rank=distances.mean(axis=1)))["trial"])


def _first(rows: pd.DataFrame) -> pd.Series:
    retained = rows[["ra", "ta"]].astype(float).min(axis=1)
    return rows.assign(_retained=-retained).sort_values(["_rank", "_retained", "trial"], kind="stable").iloc[0]


def _why_empty(table: pd.DataFrame) -> str:
    rows = table[table["method"] != "retrain"]
    if rows.empty:
        return "nothing was tried yet"
    if (rows["status"] != "ok").all():
        return "every trial diverged or failed"
    return "no trial was measured in full"


def _in_words(constraints: Constraints) -> str:
    signs = {"min": ">=", "max": "<="}
    return " and ".join(
        f"{name} {signs[side]} {bound:g}" for name, bounds in constraints.items() for side, bound in bounds.items()
    )


def reproduce_command(record: Record, study: Mapping[str, Any], replicate: int = 0) -> str:
    """The `neglora unlearn` command that reproduces a trial's numbers on one of its replicates.

    Args:
        record: a trial that has replicates.
        study: the study's resolved space, as `study.yaml` holds it.
        replicate: index into the record's replicates.

    Returns:
        One line, quoted for a POSIX shell.

    Raises:
        ValueError: the record has no such replicate.
    """
    if not 0 <= replicate < len(record.replicates):
        raise ValueError(f"{record.trial} has {len(record.replicates)} replicates, asked for number {replicate}")
    tried = record.replicates[replicate]
    dataset, model = str(record.cell["dataset"]), str(record.cell["model"])
    selection = study.get("selection") or {}
    words = ["neglora", "unlearn", "--dataset", dataset, "--model", model]
    words += ["--method", str(record.cell["method"]), "--forget", _forget(tried["forget"], dataset)]
    words += ["--seed", str(tried["seed"]), "--holdout", _value(selection.get("holdout", 0))]
    threads = max(1, int((study.get("resources") or {}).get("cpus", 1)))
    if threads != 1:
        words += ["--threads", str(threads)]
    weights = study.get("weights")
    weights = weights.get(model) if isinstance(weights, Mapping) else weights
    if weights:
        words += ["--weights", weights if weights == "pretrained" else str(Path(weights).expanduser().absolute())]
    data = study.get("data") or {}
    if data.get("root"):
        words += ["--data-root", str(Path(data["root"]).expanduser().absolute())]
    if not data.get("verify", True):
        words.append("--no-verify")
    for name in study.get("audits") or ():
        words += ["--audit", str(name)]
    for name, value in {**stated(record), **_sections(study)}.items():
        words += ["--set", f"{name}={_value(value)}"]
    return shlex.join(words)


def stated(record: Record) -> dict[str, Any]:
    """A configuration with what a command has to say of it: a version that did not know `retract` went without, and
    the command would begin with it."""
    unknown_then = {"retract": None} if "retract" in WORKING.get(str(record.cell["method"]), {}) else {}
    return {**unknown_then, **record.params}


def _sections(study: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a space's sections that numbers depend on, where they are not `neglora unlearn`'s own."""
    settings = {}
    for section, defaults in SECTIONS.items():
        given = study.get(section)
        for name, value in (UNSAID.get(section, {}) | given if given else {}).items():
            known = defaults is None or name in defaults
            if known and value is not None and (defaults is None or value != defaults[name]):
                settings[f"{section}.{name}"] = value
    return settings


def _forget(given: Any, dataset: str) -> str:
    """A forget set as `--forget` reads it back."""
    if isinstance(given, str) and not given.lstrip().startswith(("[", "{")):
        return given
    if isinstance(given, int) and ":" not in dataset:
        return str(given)
    # In a list an index stays a number: folders may have numbers for names.
    plain = given if isinstance(given, list | tuple | Mapping) else [given]
    plain = dict(plain) if isinstance(plain, Mapping) else list(plain)
    return yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=1_000_000).strip()


def _value(value: Any) -> str:
    """A setting as text that `--set` reads back as the same value: YAML, and JSON where YAML needs quotes."""
    if isinstance(value, str) and _reads_as(value, value):
        return value
    text = json.dumps(value, allow_nan=False)
    # YAML 1.1 takes 1e-05 for a text: it wants a decimal point.
    if isinstance(value, float) and "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return text


def _reads_as(text: str, value: Any) -> bool:
    try:
        return bool(yaml.safe_load(text) == value)
    except yaml.YAMLError:
        return False
