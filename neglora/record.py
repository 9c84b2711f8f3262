"""What a trial record is: one configuration of one cell, tried on every replicate. One JSON object a line."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from neglora.shape import RECORD, is_held, misfit

SCHEMA = 1

Status = Literal["ok", "diverged", "failed"]
Fidelity = Literal["search", "full", "confirm"]
#: Characters of a cell's name, which folders are named after, and of the hash in it.
LONGEST_NAME, HASH_DIGITS = 100, 8
#: Between a trial and what else is in the name of a replicate's file.
FORGET_MARK = ".forget-"

STATUSES: tuple[Status, ...] = ("ok", "diverged", "failed")
FIDELITIES: tuple[Fidelity, ...] = ("search", "full", "confirm")

#: Measured values by metric name; None where a value was not measured or means nothing.
Measured = dict[str, float | bool | None]


class RecordError(ValueError):
    """A line that is no record of this project, or one of a newer schema."""


@dataclass(frozen=True)
class Record:
    """One trial of one cell, as a ledger line holds it.

    Attributes:
        trial: id, numbered per cell: `digits-tinyvit_nano-neglora-0007`.
        cell: dataset, model, method and the value of every axis.
        params: the configuration, every parameter of the method resolved.
        status: `ok`, `diverged` (a non-finite loss or weight) or `failed` (an exception or a lost worker).
        reason: why it is not `ok`, or a remark; None otherwise.
        fidelity: `search` (on subsets), `full`, or `confirm` (on forget classes and seeds that the search never saw).
        metrics: means over replicates on the selection half: what the sampler was told.
        report: the same names on the report half; empty where it was not evaluated.
        replicates: one mapping each with forget, seed, status, reason, metrics, report, cost and details.
        cost: unlearn_seconds (of which prefix_seconds), evaluate_seconds (of which attack_seconds and audit_seconds),
            peak_memory_bytes, trainable_parameters, device, threads.
        sampler: Optuna's system attributes of the trial.
        provenance: versions, source revision, host, time in UTC, and the SHA-256 of the dataset (`data`).
    """

    trial: str
    cell: dict[str, Any]
    params: dict[str, Any]
    status: Status
    reason: str | None = None
    fidelity: Fidelity = "full"
    metrics: Measured = field(default_factory=dict)
    report: Measured = field(default_factory=dict)
    replicates: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    sampler: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def number(self) -> int:
        """The trial's number within its cell."""
        return trial_number(self.trial)

    def to_line(self) -> str:
        """One line of strict JSON (no NaN), without the newline."""
        return json.dumps(asdict(self), allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> Record:
        """Read a ledger line.

        Raises:
            RecordError: not JSON, a key is missing or of the wrong type, or the schema is newer than this program.
        """
        try:
            value = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"not a JSON object: {error}") from error
        if not isinstance(value, dict):
            raise RecordError(f"not a JSON object but a {type(value).__name__}")
        schema = value.get("schema")
        if not isinstance(schema, int) or isinstance(schema, bool):
            raise RecordError("no integer 'schema'")
        if schema > SCHEMA:
            raise RecordError(
                f"schema {schema} is newer than this program's {SCHEMA}: upgrade neglora to read this study"
            )
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        for name, kind in _KINDS.items():
            if not isinstance(known.get(name), kind):
                raise RecordError(f"'{name}' should be a {kind.__name__}, got {_short(known.get(name))}")
        for name in ("metrics", "report"):
            _check_measured(name, known[name])
        if known["status"] not in STATUSES:
            raise RecordError(f"'status' should be one of {', '.join(STATUSES)}, got {_short(known['status'])}")
        if known["fidelity"] not in FIDELITIES:
            raise RecordError(f"'fidelity' should be one of {', '.join(FIDELITIES)}, got {_short(known['fidelity'])}")
        if not isinstance(known.get("reason"), str | None):
            raise RecordError("'reason' should be a text or null")
        if not re.fullmatch(r"[A-Za-z0-9_.+=-]+-[0-9]{4,18}", known["trial"]):
            raise RecordError(f"'trial' should end in a number of 4 to 18 digits, got {_short(known['trial'])}")
        for replicate in known["replicates"]:
            if not isinstance(replicate, dict):
                raise RecordError("'replicates' should hold objects")
            for name in ("metrics", "report"):
                _check_measured(f"replicates.{name}", replicate.get(name) or {})
        wrong = misfit(known, RECORD)
        if wrong:
            raise RecordError(f"'{wrong[:100]}' is nothing that a record of this project holds")
        return cls(**known)


_KINDS: dict[str, type] = {
    "trial": str,
    "cell": dict,
    "params": dict,
    "status": str,
    "fidelity": str,
    "metrics": dict,
    "report": dict,
    "replicates": list,
    "cost": dict,
    "sampler": dict,
    "provenance": dict,
}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a value that a record holds")


def _check_measured(name: str, values: object) -> None:
    if not isinstance(values, dict):
        raise RecordError(f"'{name}' should be an object")
    for key, value in values.items():
        if value is not None and not (isinstance(value, bool | int | float) and is_held(value)):
            raise RecordError(f"'{name}.{key}' should be a finite number or null, got {_short(value)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def cell_id(cell: Mapping[str, Any]) -> str:
    """The name of a cell: `dataset-model-method`, then `-axis=value` for every axis in order.

    Characters that are unsafe in file names become `_`, the middle of a long name is left out, and a short hash of the
    unchanged text is then appended, so that two cells never share a name.
    """
    parts = [str(cell[name]) for name in ("dataset", "model", "method")]
    parts += [f"{name}={cell[name]}" for name in cell if name not in ("dataset", "model", "method")]
    text = "-".join(parts)
    safe = re.sub(r"[^A-Za-z0-9_.+=-]", "_", text)
    if safe == text and len(safe) <= LONGEST_NAME:
        return safe
    room = LONGEST_NAME - HASH_DIGITS - 1
    if len(safe) > room:
        # The end says method and axes.
        safe = f"{safe[: room // 2]}_{safe[-(room - room // 2 - 1) :]}"
    return f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]}"


def trial_id(cell: Mapping[str, Any], number: int) -> str:
    """The id of trial `number` of a cell: `digits-tinyvit_nano-neglora-0007`."""
    return f"{cell_id(cell)}-{number:04d}"


def trial_number(trial: str) -> int:
    """The number at the end of a trial's id."""
    return int(trial.rsplit("-", 1)[1])


def replicate_name(trial: str, forget: Any, seed: int) -> str:
    """What files of a replicate are called, without their ending; `forget` as its record has it."""
    text = json.dumps(forget, sort_keys=True, separators=(",", ":"))
    return f"{trial}{FORGET_MARK}{hashlib.sha256(text.encode()).hexdigest()[:12]}.seed-{seed}"


def forget_title(forget: Any) -> str:
    """What people call a forget set: "3", "cat and dog", "a random 10% (seed 0)".

    Args:
        forget: as users and records have it: a class, a list of classes, or `{random: SHARE, seed: SEED}`.
    """
    if isinstance(forget, Mapping):
        return f"a random {100 * float(forget.get('random', 0)):g}% (seed {forget.get('seed', 0)})"
    if isinstance(forget, list | tuple):
        return " and ".join(map(str, forget))
    return str(forget)


def configuration_key(params: Mapping[str, Any]) -> str:
    """A canonical text of a configuration: equal for equal settings, whatever the order of keys and int or float."""
    return json.dumps({name: _canonical(value) for name, value in params.items()}, sort_keys=True)


def _canonical(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value


def mean_measured(measured: Sequence[Mapping[str, float | bool | None]]) -> Measured:
    """Average measured values over replicates, name by name.

    A flag holds if it holds on every replicate. A value that is missing on any replicate is None in the mean: a mean
    over some of the replicates would not be comparable.
    """
    names = dict.fromkeys(name for values in measured for name in values)
    means: Measured = {}
    for name in names:
        values = [item.get(name) for item in measured]
        if any(value is None for value in values):
            means[name] = None
        elif all(isinstance(value, bool) for value in values):
            means[name] = all(values)
        else:
            means[name] = math.fsum(float(value) for value in values if value is not None) / len(values)
    return means
