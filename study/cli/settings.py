"""What the options of `neglora unlearn` say: read as a study of one trial, so that both mean the same by a setting."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from study.cli.common import UserError, data_of, forget_of

if TYPE_CHECKING:
    from neglora.setting import Setting
    from study.space import SpaceError

#: What may stand before the dot in `--set data.image_size=64`: sections of a search space.
SECTIONS = ("training", "data", "architecture", "evaluation", "selection")
#: Places in a space, and the options that fill them.
OPTIONS = {
    r"datasets\b.*": "--dataset",
    r"models\b.*": "--model",
    r"replicates\.forget\b.*": "--forget",
    r"replicates\.seeds\b.*": "--seed",
    r"selection\.holdout": "--holdout",
    r"resources\b.*": "--threads",
    r"weights\b.*": "--weights",
    r"data\.root": "--data-root",
    r"data\.verify": "--no-verify",
    r"data\.download": "--download",
    r"audits\b.*": "--audit",
    r"methods\.\w+\.(\w+)(?:\[0\])?": r"--set \1",
    rf"((?:{'|'.join(SECTIONS)})\b.*)": r"--set \1",
}


def settings_of(arguments: argparse.Namespace) -> tuple[Setting, dict[str, Any], Any]:
    """Setting, resolved parameters and forget set from the command line.

    Raises:
        UserError: the mistakes in them, as many at once as can be told.
    """
    from study.space import SpaceError, parse_space
    from study.surroundings import setting_of

    given, problems = _given(arguments.set)
    problems = [*_unknown_names(arguments), *_out_of_bounds(arguments), *problems]
    if problems:
        raise UserError("\n".join(problems))
    forget = forget_of(arguments.forget)
    params = _params(arguments, given.pop(""), forget)
    plain = {
        "study": "unlearn",
        "datasets": [arguments.dataset],
        "models": [arguments.model],
        "replicates": {"forget": [forget], "seeds": [arguments.seed]},
        "search": {"trials": 1},
        "resources": {"cpus": arguments.threads},
        # A list of one choice, so that a list of module names is one value.
        "methods": {arguments.method: {name: [value] for name, value in params.items()}},
        "weights": _weights(arguments.weights),
        "audits": list(dict.fromkeys(arguments.audit)),
        **given,
    }
    plain["selection"] = {"holdout": arguments.holdout} | given["selection"]
    plain["data"] = given["data"] | data_of(arguments)
    try:
        space = parse_space(yaml.safe_dump(plain), "unlearn")
    except SpaceError as error:
        raise UserError("\n".join(_as_options(error))) from error
    cell = next(cell for cell in space.cells() if cell.method == arguments.method)
    return setting_of(space.resolved(), arguments.dataset, arguments.model), dict(cell.fixed), forget


def _given(words: list[str]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What `--set` gives, by section (parameters of the method under ""), and what is wrong with it."""
    given: dict[str, dict[str, Any]] = {section: {} for section in ("", *SECTIONS)}
    problems = []
    for text in words:
        name, equals, value = text.partition("=")
        section, dot, field = name.partition(".")
        if not equals or not name:
            problems.append(f"--set {text}: expected key=value")
        elif dot and section not in SECTIONS:
            problems.append(f"--set {name}: expected {', '.join(SECTIONS)} before the dot")
        else:
            given[section if dot else ""][field or name] = _value(value)
    return given, problems


def _unknown_names(arguments: argparse.Namespace) -> Iterator[str]:
    from neglora.data import dataset_names, find_dataset
    from neglora.methods import METHODS
    from neglora.models import find_model, model_names
    from study.space import unknown_name

    finders: dict[str, tuple[Any, list[str]]] = {
        "dataset": (find_dataset, dataset_names()),
        "model": (find_model, model_names()),
        "method": (METHODS.get, list(METHODS)),
    }
    for kind, (find, known) in finders.items():
        name = getattr(arguments, kind)
        if find(name) is None:
            yield f"--{kind}: {unknown_name(name, known)}"
    method = METHODS.get(arguments.method)
    if method is not None and method.starts_from == "fresh":
        yield "--method: retrain is the reference of every method: choose a method and give --retrain"


def _out_of_bounds(arguments: argparse.Namespace) -> Iterator[str]:
    if not 0 <= arguments.holdout < 1:
        yield f"--holdout: expected a share in [0, 1), got {arguments.holdout:g}"
    if arguments.threads < 1:
        yield f"--threads: expected at least 1, got {arguments.threads}"


def _params(arguments: argparse.Namespace, given: Mapping[str, Any], forget: Any) -> dict[str, Any]:
    """The method's parameters as given, over the paper's where they are asked for, or else those that work."""
    from neglora.methods import METHODS
    from neglora.recipes import unlearning_settings

    method = METHODS[arguments.method]
    known = {parameter.name for parameter in method.parameters}
    preset: Mapping[str, Any] = {}
    if arguments.paper:
        preset = unlearning_settings("lora_paper")
    elif not isinstance(forget, Mapping) and given.get("retract", 1) is not None:
        preset = _working(arguments.method, arguments.model)
    params = {name: value for name, value in preset.items() if name in known} | dict(given)
    try:
        method.resolve(params)
    except ValueError as error:
        raise UserError(str(error)) from error
    return params


def _working(method: str, model: str) -> dict[str, Any]:
    """Settings that work out of the box, for a model's family."""
    from neglora.methods import METHODS
    from neglora.models import ModelError, family_of, model_shape
    from neglora.parameters import WORKING

    found = dict(WORKING.get(method, {}))
    if any(parameter.by_family for parameter in METHODS[method].parameters):
        try:
            targets = family_of(model_shape(model, num_classes=10, image_size=32, channels=3)).working_targets
        except ModelError:
            targets = None
        if targets:
            found["targets"] = targets
    return found


def _weights(given: str | None) -> str | None:
    if given is None or given == "pretrained":
        return given
    return str(Path(given).expanduser().resolve())


def _as_options(error: SpaceError) -> Iterator[str]:
    """A space's problems as those of the options that it was made of."""
    for problem in error.problems:
        option = next(
            (found.expand(name) for place, name in OPTIONS.items() if (found := re.fullmatch(place, problem.path))),
            problem.path,
        )
        yield f"{option}: {problem.message}"


def _value(text: str) -> Any:
    """A value as in a search space: YAML, with numbers such as 3e-3 that YAML 1.1 takes for text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
