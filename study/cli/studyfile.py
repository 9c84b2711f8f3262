"""A study's `study.yaml`, which anybody may have written: data of the shape that `neglora run` writes, or a mistake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from neglora.shape import Shape, misfit

#: Far above what a resolved space holds, once aliases are written out.
MOST_VALUES = 1_000_000

_TEXTS: Shape = [str]
_SHAPE: Mapping[str, Shape] = {
    "study": str,
    "datasets": _TEXTS,
    "models": _TEXTS,
    "objectives": _TEXTS,
    "methods": {},
    "axes": {},
    "constraints": {"*": {}},
    "selection": {},
    "search": {},
    "replicates": {"forget": [object], "seeds": [object]},
}
_NEEDED = ("study", "datasets", "models", "objectives", "methods", "replicates", "search")


def parse_study(text: str) -> dict[str, Any]:
    """The data of a `study.yaml`.

    Raises:
        ValueError: it is no YAML, no study, or far larger than one.
    """
    try:
        study = yaml.safe_load(text)
        size = _size(study, {})
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if size > MOST_VALUES:
        raise ValueError(f"it holds more than {MOST_VALUES:,} values once aliases are written out")
    if not isinstance(study, dict):
        raise ValueError("it is not a study's space")
    wrong = misfit(study, _SHAPE) or next((name for name in _NEEDED if study.get(name) is None), None)
    if wrong:
        raise ValueError(f"it is not a study's space: look at {wrong[:60]!r}")
    return study


def _size(value: Any, known: dict[int, int]) -> int:
    """How many values there are, each alias counted as what it stands for."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        # One that contains itself is as large as it gets.
        known[id(value)] = MOST_VALUES + 1
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(value)]
