"""What a method's trials were varied in: which parameters, over which values, and on which scale each was searched."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

Scale = Literal["log", "linear", "levels"]

#: A range is shown, and weighed, by so many of its values.
RANGE_POINTS = 12
#: Where study.yaml does not say how a number was searched: so many values or fewer, tried twice on average, are a list.
_LISTED = 8


@dataclass(frozen=True)
class Varied:
    """One parameter that a method's trials differ in.

    Attributes:
        name: as in search spaces.
        scale: `log` or `linear` for a range, `levels` for a list.
        levels: of a list: the values that were tried, numbers ascending, other values in the list's order.
        low, high: the ends of a range; 0 and the last place of a list.
        absent: the share of trials that do not have the parameter; not having it is a level of its own.
    """

    name: str
    scale: Scale
    levels: tuple[Any, ...]
    low: float
    high: float
    absent: float = 0.0

    @property
    def ordered(self) -> bool:
        """Whether its values are numbers, so that between two of them there is something."""
        return self.scale != "levels" or all(_is_number(level) for level in self.levels)

    def place(self, value: Any) -> float | None:
        """Where a value stands between the least (0) and the greatest (1); None for none, or one that is no level."""
        if is_absent(value):
            return None
        if self.scale == "levels":
            places = {_key(level): index for index, level in enumerate(self.levels)}
            index = places.get(_key(value))
            return None if index is None else index / max(len(self.levels) - 1, 1)
        low, high, own = (math.log(x) if self.scale == "log" else x for x in (self.low, self.high, float(value)))
        return (own - low) / (high - low)

    def value(self, place: float) -> Any:
        """The value at a place in [0, 1]; of a list, the nearest."""
        if self.scale == "levels":
            return self.levels[round(place * (len(self.levels) - 1))]
        if self.scale == "log":
            return math.exp(math.log(self.low) + place * (math.log(self.high) - math.log(self.low)))
        return self.low + place * (self.high - self.low)

    @property
    def points(self) -> tuple[float, ...]:
        """Places that stand for all of it, each for the same share: every level, or the middles of equal parts."""
        if self.scale == "levels":
            return tuple(index / max(len(self.levels) - 1, 1) for index in range(len(self.levels)))
        return tuple((index + 0.5) / RANGE_POINTS for index in range(RANGE_POINTS))


def varied(rows: pd.DataFrame, space: Mapping[str, Any]) -> list[Varied]:
    """The parameters in which these rows differ, in the table's order.

    Args:
        rows: those of `trials_table` of one dataset, model and method.
        space: study.yaml. What it says of a parameter in `axes`, `methods` or a matching override decides the scale;
            where it says nothing, the values do: few that come again are a list; a wide range whose middle value is far
            below the middle is one of logarithms.
    """
    if rows.empty:
        return []
    first = rows.iloc[0]
    settings = settings_of(space, str(first["dataset"]), str(first["model"]), str(first["method"]))
    found = []
    for column in rows.columns:
        if not str(column).startswith("param_"):
            continue
        values = [value for value in rows[column].tolist() if not is_absent(value)]
        absent = 1 - len(values) / len(rows)
        distinct = {_key(value): value for value in values}
        if len(distinct) + (absent > 0) > 1 and values:
            name = str(column).removeprefix("param_")
            found.append(_varied(name, values, list(distinct.values()), absent, settings.get(name)))
    return found


def settings_of(space: Mapping[str, Any], dataset: str, model: str, method: str) -> dict[str, Any]:
    """What study.yaml lets a method's parameters be in one cell: axes, then the method's own, then matching overrides.

    `study.space` reads the same from spaces that it checks; it needs torch, which reports do without.
    """
    settings = dict(space.get("axes") or {}) | dict((space.get("methods") or {}).get(method) or {})
    cell = {"dataset": dataset, "model": model, "method": method}
    for override in space.get("overrides") or ():
        when = override.get("when") or {}
        if all(cell.get(key) in (names if isinstance(names, list) else [names]) for key, names in when.items()):
            settings |= (override.get("methods") or {}).get(method) or {}
    return settings


def is_absent(value: Any) -> bool:
    """Whether a table's cell holds no value."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _varied(name: str, values: list[Any], distinct: list[Any], absent: float, setting: Any) -> Varied:
    numbers = all(_is_number(value) for value in distinct)
    if isinstance(setting, Mapping) and numbers and len(distinct) > 1:
        kind, ends = next(iter(setting.items()))
        low, high = (float(end) for end in ends)
        if kind == "int" and len(distinct) <= _LISTED:
            return _listed(name, distinct, absent)
        if low < high:
            return Varied(name, "log" if kind == "log" else "linear", (), low, high, absent)
    if isinstance(setting, list | tuple):
        order = [json.dumps(item) if isinstance(item, list | tuple | dict) else item for item in setting]
        return _listed(name, distinct, absent, order)
    if not numbers or len(distinct) == 1 or (len(distinct) <= _LISTED and 2 * len(distinct) <= len(values)):
        return _listed(name, distinct, absent)
    low, high = float(min(distinct)), float(max(distinct))
    wide = low > 0 and high / low >= 10 and float(np.median(values)) < (low + high) / 4
    return Varied(name, "log" if wide else "linear", (), low, high, absent)


def _listed(name: str, distinct: list[Any], absent: float, order: Sequence[Any] = ()) -> Varied:
    if all(_is_number(value) for value in distinct):
        levels = sorted(distinct)
    else:
        places = {_key(value): index for index, value in enumerate(order)}
        levels = sorted(distinct, key=lambda value: (places.get(_key(value), len(places)), str(value)))
    return Varied(name, "levels", tuple(levels), 0.0, float(len(levels) - 1), absent)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _key(value: Any) -> Any:
    """The same for 16 and 16.0; a flag is no number."""
    return float(value) if _is_number(value) else f"{type(value).__name__} {value}"
