"""From a file to a space: read, check everything, and report all mistakes together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from study.space.checks import check
from study.space.defaults import data_with_defaults, with_defaults
from study.space.document import read_mapping
from study.space.draft import Draft
from study.space.including import INCLUDE, read_space
from study.space.methods import read_axes, read_methods, read_overrides
from study.space.problems import Findings, Place, shown, unknown_name
from study.space.schema import Space, Training

#: What pydantic's kinds of errors expect, in this project's words.
_EXPECTED = {
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "string_type": "a text",
    "bool_type": "true or false",
}


def load_space(path: Path, *, data: Mapping[str, Any] | None = None) -> Space:
    """Read a search space from a YAML file and what it includes.

    Args:
        path: the file.
        data: keys of the section `data` that the command line says otherwise, such as `root`.

    Raises:
        SpaceError: a file cannot be read, or has mistakes: all of them, each with its file and place.
    """
    findings = Findings(str(path))
    return _space(read_space(path, findings), findings, data or {})


def parse_space(text: str, source: str, *, data: Mapping[str, Any] | None = None) -> Space:
    """Read a search space from YAML. It cannot include files, since a text has no folder that they could lie in.

    Args:
        text: the YAML.
        source: what messages call it, such as the file's name.
        data: see `load_space`.

    Raises:
        SpaceError: all mistakes, each with its place.
    """
    findings = Findings(source)
    plain = read_mapping(text, findings)
    if INCLUDE in plain:
        findings.add((INCLUDE,), "only a file can include others: a text has no folder that they could lie in")
        del plain[INCLUDE]
    return _space(plain, findings, data or {})


def _space(plain: dict[str, Any], findings: Findings, data: Mapping[str, Any]) -> Space:
    """Check plain data as a whole, and make the space of it.

    Raises:
        SpaceError: all mistakes.
    """
    if data and isinstance(plain.get("data", {}), dict):
        plain = plain | {"data": plain.get("data", {}) | dict(data)}
    axes = read_axes(plain["axes"], plain.get("methods"), findings) if "axes" in plain else {}
    methods = read_methods(plain["methods"], axes, ("methods",), findings) if "methods" in plain else {}
    overrides = read_overrides(plain.get("overrides", []), methods, axes, findings)
    sections = {"axes": axes, "methods": methods, "overrides": overrides}
    canonical = plain | {name: section for name, section in sections.items() if name in plain}
    try:
        Space.model_validate(canonical)
    except ValidationError as error:
        _note(error, Space, findings)
    draft = Draft(plain, methods, axes, overrides if isinstance(overrides, list) else [])
    check(draft, findings)
    findings.raise_any()
    methods, overrides = with_defaults(draft)
    sections = {"methods": methods, "overrides": overrides, "data": data_with_defaults(draft)}
    return Space.model_validate(canonical | sections)


def training_problems(training: Mapping[str, Any]) -> list[str]:
    """What is wrong with changes to a training recipe that come from elsewhere than a file: `KEY: problem` each.

    Numbers have to be numbers here: a text such as `1e-3` and, for whole numbers, a value such as 2.0 are refused.
    """
    findings = Findings("")
    try:
        read = Training.model_validate(dict(training))
    except ValidationError as error:
        _note(error, Training, findings)
        return [f"{problem.path}: {problem.message}" for problem in findings.problems]
    return [
        f"{name}: expected {value!r} as a plain number, got {shown(training[name])}"
        for name, value in read.model_dump(exclude_none=True).items()
        if isinstance(training[name], str) != isinstance(value, str)
        or (isinstance(value, int) and not isinstance(training[name], int))
    ]


def _note(error: ValidationError, model: type[BaseModel], findings: Findings) -> None:
    """Pydantic's errors as problems."""
    for one in error.errors():
        place: Place = tuple(part for part in one["loc"] if part != "[key]")
        fields = _section_at(model, place[:-1]).model_fields
        if one["type"] == "missing":
            description = fields[str(place[-1])].description
            findings.add(place, f"is missing: expected {description}")
        elif one["type"] == "extra_forbidden":
            known = [*fields, INCLUDE] if len(place) == 1 and model is Space else fields
            findings.add(place, unknown_name(place[-1], known, "key"))
        elif one["type"] in _EXPECTED:
            findings.add(place, f"expected {_EXPECTED[one['type']]}, got {shown(one['input'])}")
        else:
            findings.add(place, one["msg"])


def _section_at(model: type[BaseModel], place: Place) -> type[BaseModel]:
    """The section that a place leads to; the nearest one around it where it leads to something else."""
    for part in place:
        field = model.model_fields.get(str(part))
        if field is not None:
            model = next((kind for kind in _kinds(field.annotation) if issubclass(kind, BaseModel)), model)
    return model


def _kinds(annotation: Any) -> list[type]:
    if isinstance(annotation, type) and not get_args(annotation):
        return [annotation]
    return [kind for inner in get_args(annotation) for kind in _kinds(inner)]
