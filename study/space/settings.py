"""What a method's parameter may be set to: a value, a list to choose from, or a range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neglora.methods import Parameter
from neglora.record import configuration_key
from study.dimensions import Choice, Dimension, Range
from study.space.numbers import canonical, value_problem, value_schema
from study.space.problems import Findings, Place, shown, unknown_name

#: How a range is written, and what for.
RANGES: dict[str, str] = {
    "log": "numbers that are even in the logarithm",
    "uniform": "numbers that are even",
    "int": "whole numbers",
}


#: What is read where there is a problem, which is noted: null is a value of some parameters.
WRONG: Any = object()


def read_setting(parameter: Parameter, given: Any, place: Place, findings: Findings) -> Any:
    """A setting in canonical form, as plain data; `WRONG` where there is a problem, which is noted."""
    if isinstance(given, Mapping):
        return _read_range(parameter, given, place, findings)
    if isinstance(given, list):
        return _read_choice(parameter, given, place, findings)
    return read_value(parameter, given, place, findings)


def read_value(parameter: Parameter, given: Any, place: Place, findings: Findings) -> Any:
    """One value in canonical form; `WRONG` where there is a problem, which is noted."""
    problem = value_problem(parameter, given)
    if problem:
        findings.add(place, problem)
        return WRONG
    return canonical(parameter, given)


def read_values(parameter: Parameter, given: list[Any], place: Place, findings: Findings) -> list[Any]:
    """The values of a list in canonical form, without those that are wrong or come twice, which are noted."""
    values: dict[str, Any] = {}
    for index, item in enumerate(given):
        value = read_value(parameter, item, (*place, index), findings)
        if value is WRONG:
            continue
        key = configuration_key({"": value})
        if key in values:
            findings.add((*place, index), f"{shown(value)} is listed twice")
        values.setdefault(key, value)
    return list(values.values())


def dimension_of(parameter: Parameter, setting: Any) -> Dimension | None:
    """The dimension that a setting opens; None for a plain value."""
    if isinstance(setting, Mapping):
        kind, (low, high) = next(iter(setting.items()))
        return Range(low, high, log=kind == "log", integer=kind == "int" or parameter.kind == "int")
    if isinstance(setting, list):
        return Choice(tuple(frozen(value) for value in setting))
    return None


def frozen(value: Any) -> Any:
    """A list of module names as a tuple; everything else as it is."""
    return tuple(value) if isinstance(value, list) else value


def setting_schema(parameter: Parameter) -> dict[str, Any]:
    """The JSON schema of a setting."""
    one = value_schema(parameter)
    names = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    item = {"anyOf": [one, names]} if parameter.kind == "targets" else one
    forms: list[dict[str, Any]] = [one, {"type": "array", "items": item, "minItems": 1}]
    for kind in _ranges_of(parameter):
        ends = {"type": "array", "items": one, "minItems": 2, "maxItems": 2}
        forms.append(
            {
                "type": "object",
                "description": f"{RANGES[kind]} from the first to the second",
                "properties": {kind: ends},
                "required": [kind],
                "additionalProperties": False,
            }
        )
    return {"description": f"{parameter.about} (default: {parameter.default})", "anyOf": forms}


def _ranges_of(parameter: Parameter) -> tuple[str, ...]:
    if parameter.kind not in ("int", "float") or parameter.name == "sparsity":
        return ()
    return ("int", "log") if parameter.kind == "int" else ("log", "uniform", "int")


def _read_choice(parameter: Parameter, given: list[Any], place: Place, findings: Findings) -> Any:
    if not given:
        findings.add(
            place, f"an empty choice: expected at least one value; without the key it is {shown(parameter.default)}"
        )
    return read_values(parameter, given, place, findings) or WRONG


def _read_range(parameter: Parameter, given: Mapping[str, Any], place: Place, findings: Findings) -> Any:
    if parameter.name == "sparsity":
        findings.add(place, "sparsity needs a list of levels, because each level is a base model of its own")
        return WRONG
    takes = _ranges_of(parameter)
    if not takes:
        findings.add(place, f"expected {parameter.expected}, or a list of such, got {shown(dict(given))}")
        return WRONG
    if len(given) != 1:
        findings.add(place, f"expected one of {', '.join(takes)} with two ends, got {shown(dict(given))}")
        return WRONG
    kind, ends = next(iter(given.items()))
    if kind not in RANGES:
        findings.add((*place, kind), unknown_name(kind, takes, "range"))
        return WRONG
    if kind not in takes:
        findings.add(
            (*place, kind), f"{parameter.name} is a whole number: write {{int: [lo, hi]}} or {{log: [lo, hi]}}"
        )
        return WRONG
    return _read_ends(parameter, kind, ends, (*place, kind), findings)


def _read_ends(parameter: Parameter, kind: str, ends: Any, place: Place, findings: Findings) -> Any:
    if not isinstance(ends, list) or len(ends) != 2:
        findings.add(place, f"expected a list of two numbers, the lowest and the highest, got {shown(ends)}")
        return WRONG
    read = [read_value(parameter, end, (*place, index), findings) for index, end in enumerate(ends)]
    if WRONG in read:
        return WRONG
    if None in read:
        findings.add(place, f"expected two numbers, got {shown(ends)}")
        return WRONG
    low, high = read
    if kind == "int" and (low != int(low) or high != int(high)):
        findings.add(place, f"expected whole numbers, got {shown(ends)}")
    elif low == high:
        findings.add(place, f"expected a lowest number below the highest, got {shown(ends)}; write the plain value")
    elif low > high:
        findings.add(place, f"expected the lowest number first, got {shown(ends)}")
    elif kind == "log" and low <= 0:
        findings.add((*place, 0), f"expected a number > 0, since the range is even in the logarithm, got {shown(low)}")
    else:
        return {kind: [int(low), int(high)] if kind == "int" else [low, high]}
    return WRONG
