"""What a sampler is told: records of a cell as Optuna's trials, values of the space as Optuna takes them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from neglora.record import Record, configuration_key
from study.dimensions import Choice, Dimension
from study.suggestions import SearchedCell

#: A metric's bounds: `{"ua": {"min": 0.95}}`.
Constraints = Mapping[str, Mapping[str, float]]


class KnownTrial(FrozenTrial):
    """A trial that does not change any more, and so need not be copied into every scratch study.

    In-memory storage copies each trial that it is given, field by field: 76 ms for 500 trials, where sharing takes 4.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> KnownTrial:
        return self


def told_trial(record: Record, cell: SearchedCell, objectives: Sequence[str], constraints: Constraints) -> KnownTrial:
    """What a sampler is told of a record: COMPLETE with values and constraints, or FAIL.

    FAIL where the trial did not end `ok`, or an objective or a constraint's metric was not measured or is not finite;
    and where the configuration lies outside of the space, as an explicit one may: a sampler would take it for another.
    The user attribute `outside` names the parameters.
    """
    values = [_number(record.metrics.get(name)) for name in objectives]
    violations = _violations(record, constraints)
    beyond = outside(cell, record.params)
    complete = record.status == "ok" and None not in values and None not in violations.values() and not beyond
    state = TrialState.COMPLETE if complete else TrialState.FAIL
    trial = known_trial(record.params, cell.dimensions, state, record.sampler)
    trial.user_attrs = {"trial": record.trial, "status": record.status} | ({"outside": beyond} if beyond else {})
    if complete:
        trial.values = values
        for name, violation in violations.items():
            trial.set_constraint(name, violation)
    return trial


def outside(cell: SearchedCell, params: Mapping[str, Any]) -> list[str]:
    """Parameters of a configuration that are not in their dimension, or not what the cell fixes them to."""
    beyond = [name for name, dimension in cell.dimensions.items() if not dimension.contains(params.get(name))]
    return beyond + [
        name
        for name, value in cell.fixed.items()
        if name in params and configuration_key({name: params[name]}) != configuration_key({name: value})
    ]


def known_trial(
    params: Mapping[str, Any], dimensions: Mapping[str, Dimension], state: TrialState, noted: Mapping[str, Any]
) -> KnownTrial:
    """A trial of known configuration; RUNNING for one that has been handed out, so that samplers keep away from it."""
    inside = {name: dimension for name, dimension in dimensions.items() if dimension.contains(params.get(name))}
    return KnownTrial(
        number=-1,
        trial_id=-1,
        state=state,
        value=None,
        datetime_start=None,
        datetime_complete=None,
        params={name: encode(dimension, params[name]) for name, dimension in inside.items()},
        distributions={name: distribution(dimension) for name, dimension in inside.items()},
        user_attrs={},
        system_attrs=dict(noted),
        intermediate_values={},
    )


def searched_records(cell_id: str, records: Iterable[Record]) -> list[Record]:
    """The records that a cell's search is told, in the order of their numbers.

    Confirmations say nothing to a search; of two fidelities of one trial, `search` is the one that was searched on.
    """
    own: dict[int, Record] = {}
    for record in records:
        if is_of(cell_id, record) and (record.number not in own or record.fidelity == "search"):
            own[record.number] = record
    return [own[number] for number in sorted(own)]


def is_of(cell_id: str, record: Record) -> bool:
    """Whether a record is a trial of this cell's search."""
    return record.trial.rsplit("-", 1)[0] == cell_id and record.fidelity != "confirm"


def distribution(dimension: Dimension) -> BaseDistribution:
    """Optuna's name for a dimension."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(_categories(dimension))
    if dimension.integer:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(float(dimension.low), float(dimension.high), log=dimension.log)


def encode(dimension: Dimension, value: Any) -> Any:
    """A value of the space as Optuna has it; `value` must lie in the dimension."""
    if isinstance(dimension, Choice):
        place = dimension.index(value)
        if place is None:
            raise ValueError(f"expected one of {list(dimension.values)!r}, got {value!r}")
        return _categories(dimension)[place]
    return int(value) if dimension.integer else float(value)


def decode(dimension: Dimension, value: Any) -> Any:
    """What Optuna suggested, as the space has it: the choice itself, in its own type."""
    if isinstance(dimension, Choice):
        return dimension.values[_categories(dimension).index(value)]
    return int(value) if dimension.integer else float(value)


def _categories(choice: Choice) -> tuple[Any, ...]:
    """Choices as Optuna takes them: as they are, or all as JSON text where one is a list or two are equal (1, True)."""
    if all(value is None or isinstance(value, bool | int | float | str) for value in choice.values) and len(
        set(choice.values)
    ) == len(choice.values):
        return choice.values
    return tuple(json.dumps(value) for value in choice.values)


def _violations(record: Record, constraints: Constraints) -> dict[str, float | None]:
    """How far each bound is missed, feasible where <= 0; None where the metric was not measured."""
    violations: dict[str, float | None] = {}
    for name, bounds in constraints.items():
        value = _number(record.metrics.get(name))
        for side, sign in (("min", -1.0), ("max", 1.0)):
            if bounds.get(side) is not None:
                violations[f"{name}:{side}"] = None if value is None else sign * (value - bounds[side])
    return violations


def _number(value: float | bool | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
