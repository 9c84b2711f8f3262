"""A study's cells as Optuna studies in a database, for Optuna Dashboard and whatever else reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from neglora.objectives import METRICS
from neglora.record import Record
from study.dimensions import Choice, Dimension, Range
from study.samplers import OF_STUDY, quiet
from study.space.cells import Cell
from study.told import searched_records, told_trial

#: Whole numbers up to here are floats too, which Optuna computes with.
_LARGEST = 2**53


class OptunaExportError(ValueError):
    """A database that cannot be written, or that has such a study already; the message says how to mend it."""


@dataclass(frozen=True)
class Exported:
    """What was written of a cell: the Optuna study's name, and how many trials it has."""

    name: str
    trials: int


def export(
    study: Mapping[str, Any], cells: Sequence[Cell], records: Sequence[Record], url: str, *, replace: bool = False
) -> list[Exported]:
    """Write every cell, Retrain's too, as an Optuna study that is named after it.

    Trials stand in the order of their numbers; Optuna numbers them anew, without gaps, and the user attribute `trial`
    is the ledger's id. Of a trial's several lines it is the one that its sampler was told: that of subsets, where it
    was searched on them (user attribute `fidelity`). `ok` is COMPLETE; `diverged` and `failed`, and trials of which an
    objective was not measured, are FAIL, and the user attribute `reason` says why. Every metric of the selection half
    is a user attribute of its own; `report`, `cost` and the whole configuration, `params`, are one each. Explicit
    configurations that lie outside of a range widen it. Times are local, as Optuna writes them.

    Args:
        study: a resolved space, as `study.yaml` holds it.
        cells: of that space.
        records: of its ledger.
        url: of a database, as SQLAlchemy takes it: `sqlite:///study.db`.
        replace: delete studies of these names first.

    Raises:
        OptunaExportError: the address is none, the database cannot be written, or has a study of such a name.
    """
    with quiet():
        # Before anything is deleted or written: a record may be none that Optuna takes.
        trials = {cell.id: _trials(cell, study, searched_records(cell.id, records)) for cell in cells}
        storage = _storage(url)
        try:
            present = {summary.study_name for summary in optuna.get_all_study_summaries(storage)}
            taken = [cell.id for cell in cells if cell.id in present]
            if taken and not replace:
                raise OptunaExportError(
                    f"{shown(url)} has a study {taken[0]!r} already: give another database, or replace what it has "
                    f"with --force ({len(taken)} of {len(cells)} studies)"
                )
            for name in taken:
                optuna.delete_study(study_name=name, storage=storage)
            return [_export(cell, study, trials[cell.id], storage) for cell in cells]
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise _unwritable(url, error) from error
        finally:
            storage.remove_session()
            storage.engine.dispose()


def shown(url: str) -> str:
    """An address of a database without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        # What is no address may still hold a password.
        return re.sub(r"[^/@]*@", "***@", url)


def _storage(url: str) -> RDBStorage:
    try:
        make_url(url)
    except SQLAlchemyError as error:
        raise OptunaExportError(
            f"{shown(url)} is no address of a database: expected one such as sqlite:///study.db, with three slashes "
            "before a relative path"
        ) from error
    try:
        return RDBStorage(url)
    except ImportError as error:
        raise OptunaExportError(f"{shown(url)} needs a driver that is not installed: {error}") from error
    # Optuna says RuntimeError where the database is of another version of it.
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError, ValueError) as error:
        raise _unwritable(url, error) from error


def _unwritable(url: str, error: Exception) -> OptunaExportError:
    cause = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error
    # The database's own words; SQLAlchemy adds the statement and a link.
    words = str(getattr(cause, "orig", None) or cause).splitlines()[0]
    return OptunaExportError(f"{shown(url)} cannot be written: {words}")


def _trials(cell: Cell, study: Mapping[str, Any], records: Sequence[Record]) -> list[FrozenTrial]:
    dimensions, constraints = widened(cell, records), study.get("constraints") or {}
    return [exported_trial(record, dimensions, study["objectives"], constraints) for record in records]


def _export(cell: Cell, study: Mapping[str, Any], trials: Sequence[FrozenTrial], storage: RDBStorage) -> Exported:
    objectives = list(study["objectives"])
    made = optuna.create_study(
        study_name=cell.id, storage=storage, directions=[METRICS[name].direction for name in objectives]
    )
    made.set_metric_names(objectives)
    made.set_user_attr("study", study["study"])
    made.set_user_attr("cell", cell.identity)
    made.set_user_attr("fixed", cell.fixed)
    made.add_trials(trials)
    return Exported(cell.id, len(trials))


@dataclass(frozen=True)
class _Own:
    """A cell as `told_trial` looks at it, with only those dimensions that one record lies in."""

    id: str
    dimensions: Mapping[str, Dimension]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    configurations: tuple[Mapping[str, Any], ...] = ()
    trials: int = 1


def widened(cell: Cell, records: Sequence[Record]) -> dict[str, Dimension]:
    """The dimensions of a cell, with room for what explicit configurations have beyond them.

    Optuna allows one list of choices for a parameter, so that they are gathered over all records first. A parameter
    that the cell fixes and that a configuration has otherwise becomes a choice.
    """
    wide: dict[str, Dimension] = {}
    for name, dimension in cell.dimensions.items():
        wide[name] = dimension
        for value in _values(name, records):
            wide[name] = _with_room(wide[name], value)
    for name, value in cell.fixed.items():
        choice = Choice((value,))
        for other in _values(name, records):
            choice = _with_choice(choice, other)
        if choice.size > 1:
            wide[name] = choice
    return wide


def _values(name: str, records: Sequence[Record]) -> list[Any]:
    return [record.params[name] for record in records if name in record.params]


def _with_room(dimension: Dimension, value: Any) -> Dimension:
    """The dimension with `value` in it where its kind can hold it, else as it is."""
    if isinstance(dimension, Choice):
        return _with_choice(dimension, value)
    if not isinstance(value, int | float) or isinstance(value, bool) or (dimension.log and value <= 0):
        return dimension
    if dimension.integer and abs(value) > _LARGEST:
        return dimension
    wide = Range(min(dimension.low, value), max(dimension.high, value), dimension.log, dimension.integer)
    return wide if wide.contains(value) else dimension


def _with_choice(choice: Choice, value: Any) -> Choice:
    return choice if choice.contains(value) else Choice((*choice.values, value))


def exported_trial(
    record: Record,
    dimensions: Mapping[str, Dimension],
    objectives: Sequence[str],
    constraints: Mapping[str, Mapping[str, float]],
) -> FrozenTrial:
    """One record as a finished Optuna trial; see `export`.

    Raises:
        OptunaExportError: the record does not say when it was made, or says what no calendar holds.
    """
    inside = {name: one for name, one in dimensions.items() if one.contains(record.params.get(name))}
    cell = record.trial.rsplit("-", 1)[0]
    trial = told_trial(record, _Own(cell, inside), objectives, constraints)
    reason = record.reason
    if record.status == "ok" and trial.state == TrialState.FAIL:
        missing = [name for name in (*objectives, *constraints) if record.metrics.get(name) is None]
        reason = f"Optuna takes no trial of which {', '.join(missing)} was not measured"
    trial.datetime_start, trial.datetime_complete = _times(record)
    # Optuna takes a millisecond for each attribute, so that what nobody plots stays together.
    trial.user_attrs = {
        "trial": record.trial,
        "status": record.status,
        "fidelity": record.fidelity,
        **({"reason": reason} if reason else {}),
        **{name: value for name, value in record.metrics.items() if value is not None},
        "report": record.report,
        "cost": record.cost,
        "params": record.params,
        "time": record.provenance["time"],
    }
    # What a sampler noted about the whole study is none of this trial's.
    trial.system_attrs = {key: value for key, value in trial.system_attrs.items() if not key.startswith(OF_STUDY)}
    return trial


def _times(record: Record) -> tuple[datetime, datetime]:
    """When a trial's work began and ended, in local time without a zone: that is what Optuna and its dashboard mean."""
    took = sum(record.cost.get(name) or 0.0 for name in ("unlearn_seconds", "evaluate_seconds"))
    try:
        ended = datetime.fromisoformat(record.provenance["time"]).astimezone().replace(tzinfo=None)
        return ended - timedelta(seconds=took), ended
    except (KeyError, TypeError, ValueError) as error:
        raise OptunaExportError(
            f"{record.trial} does not say when it was made (provenance.time), and Optuna takes no trial without a time"
        ) from error
    except OverflowError as error:
        raise OptunaExportError(
            f"{record.trial} says a time (provenance.time) or seconds (cost) that no calendar holds"
        ) from error
