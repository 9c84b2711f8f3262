"""Numbers as YAML files hold them, and the values of one parameter."""

from __future__ import annotations

import re
from typing import Any

from neglora.methods import Parameter
from study.space.problems import shown, unknown_name

#: Beyond it whole numbers and floats no longer agree, and no setting of anything is as large.
LARGEST = 10**15

# YAML 1.1 takes 1e-5, which has no dot, for a text.
_DOTLESS = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def as_number(value: Any) -> Any:
    """The number that a text such as `1e-5` means; everything else as it is."""
    return float(value) if isinstance(value, str) and _DOTLESS.fullmatch(value) else value


def is_number(value: Any) -> bool:
    """A finite number of reasonable size; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def canonical(parameter: Parameter, value: Any) -> Any:
    """A value in the parameter's own type, so that 2 and 2.0, or 0 and 0.0, are written alike in records and names."""
    if parameter.kind not in ("int", "float"):
        return value
    number = as_number(value)
    if not is_number(number):
        return value
    whole = parameter.kind == "int" or isinstance(parameter.default, int)
    return int(number) if whole and number == int(number) else float(number)


def value_problem(parameter: Parameter, given: Any) -> str | None:
    """None for a value whose canonical form the parameter takes; otherwise what was expected and what came."""
    value = canonical(parameter, given)
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"expected {parameter.expected}, got {shown(given)}, which is too large"
    if parameter.problem(value) is None:
        return None
    if parameter.kind == "choice" and isinstance(given, str):
        return unknown_name(given, parameter.choices, parameter.name)
    return f"expected {parameter.expected}, got {shown(given)}"


def value_schema(parameter: Parameter) -> dict[str, Any]:
    """The JSON schema of one value."""
    one = _schema(parameter)
    return {"anyOf": [one, {"type": "null"}]} if parameter.nullable else one


def _schema(parameter: Parameter) -> dict[str, Any]:
    if parameter.kind == "choice":
        return {"enum": list(parameter.choices)}
    if parameter.kind == "targets":
        return {"type": "string", "minLength": 1}
    schema: dict[str, Any] = {"type": "integer" if parameter.kind == "int" else "number"}
    if parameter.low is not None:
        schema["exclusiveMinimum" if parameter.low_open else "minimum"] = parameter.low
    if parameter.high is not None:
        schema["exclusiveMaximum" if parameter.high_open else "maximum"] = parameter.high
    return schema
