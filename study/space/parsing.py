"""From a file to a space: read, check everything, and report all mistakes together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from study.space.checks import Draft, check
from study.space.defaults import with_defaults
from study.space.document import read_mapping, read_text
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


def load_space(path: Path) -> Space:
    """Read a search space from a YAML file.

    Raises:
        SpaceError: the file cannot be read, or has mistakes: all of them, each with its place.
    """
    return parse_space(read_text(path, Findings(str(path))), str(path))


def parse_space(text: str, source: str) -> Space:
    """Read a search space from YAML.

    Args:
        text: the YAML.
        source: what messages call it, such as the file's name.

    Raises:
        SpaceError: all mistakes, each with its place.
    """
    findings = Findings(source)
    plain = read_mapping(text, findings)
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
    return Space.model_validate(canonical | {"methods": methods, "overrides": overrides})


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
            findings.add(place, unknown_name(place[-1], fields, "key"))
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
