"""The kinds of fields that sections are made of: bounded numbers, known names, lists without repetition."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    Strict,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from neglora.methods import Parameter
from neglora.record import configuration_key
from neglora.setting import PRETRAINED
from study.space.numbers import canonical, value_problem, value_schema
from study.space.problems import shown, unknown_name

#: What `resources.gpus` may be beside a number.
AUTO = "auto"
#: Folders of the storage that are no studies.
RESERVED = ("artifacts",)


def refusal(message: str) -> PydanticCustomError:
    """An error whose message is already the project's own."""
    return PydanticCustomError("space", "{message}", {"message": message})


@dataclass(frozen=True)
class Bounded:
    """A number within bounds, with the words that methods' parameters have for it."""

    kind: Literal["int", "float"]
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    @property
    def parameter(self) -> Parameter:
        bounds = {name: getattr(self, name) for name in ("low", "high", "low_open", "high_open")}
        # The default only says that whole numbers are written as such: `cpus: 1`.
        return Parameter("", self.kind, 0, "", **bounds)

    def read(self, given: Any) -> int | float:
        problem = value_problem(self.parameter, given)
        if problem:
            raise refusal(problem)
        value: int | float = canonical(self.parameter, given)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return value_schema(self.parameter)


@dataclass(frozen=True)
class Devices:
    """Whole GPUs, a share of one, or `auto`: as many trials on one as the first ones leave room for."""

    _number = Bounded("float", low=0)

    def read(self, given: Any) -> float | str:
        if given == AUTO:
            return AUTO
        if value_problem(self._number.parameter, given):
            raise refusal(f"expected a number >= 0 or {AUTO}, got {shown(given)}")
        share = self._number.read(given)
        if share > 1 and share != int(share):
            raise refusal(f"expected a whole number, or a share of one GPU below 1, got {share:g}")
        return share

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [value_schema(self._number.parameter), {"const": AUTO}]}


@dataclass(frozen=True)
class Known:
    """A text that is one of known names; the registry is looked at when a value is read.

    Attributes:
        kind: what it names, for messages.
        names: all names; one such as `imagefolder:PATH` stands for all that begin so.
        find: None for a name that is not known; by default whether it is among the names.
        nearest: the name that a misspelt one was meant to be, where names alone do not tell.
    """

    kind: str
    names: Callable[[], Iterable[str]]
    find: Callable[[str], Any] | None = None
    nearest: Callable[[str], str | None] | None = None

    def read(self, given: Any) -> str:
        names = list(self.names())
        if not isinstance(given, str):
            raise refusal(f"expected the name of a {self.kind}, one of {', '.join(names)}, got {shown(given)}")
        if not (self.find(given) if self.find else given in names):
            raise refusal(unknown_name(given, names, self.kind, self.nearest(given) if self.nearest else None))
        return given

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        names = list(self.names())
        plain = {"type": "string", "enum": [name for name in names if ":" not in name]}
        patterns = [f"^{name.partition(':')[0]}:." for name in names if ":" in name]
        if not patterns:
            return plain
        return {"anyOf": [plain, *({"type": "string", "pattern": pattern} for pattern in patterns)]}


_WEIGHTS_SCHEMA = {
    "anyOf": [
        {"type": "null"},
        {"type": "string", "minLength": 1},
        {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}, "minProperties": 1},
    ]
}

#: What a random forget set holds.
_RANDOM = {
    "random": Bounded("float", low=0, high=1, low_open=True, high_open=True),
    "seed": Bounded("int", low=0),
}
_CLASS_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "minLength": 1}]}
_FORGET_SCHEMA = {
    "anyOf": [
        *_CLASS_SCHEMA["anyOf"],
        {"description": "several classes at once", "type": "array", "items": _CLASS_SCHEMA, "minItems": 1},
        {
            "description": "a random share of the training images",
            "type": "object",
            "properties": {name: value_schema(number.parameter) for name, number in _RANDOM.items()},
            "required": ["random"],
            "additionalProperties": False,
        },
    ]
}


def _distinct(values: Sequence[Any]) -> Sequence[Any]:
    if not values:
        raise refusal("expected at least one, got an empty list")
    return _different(values)


def _different(values: Sequence[Any]) -> Sequence[Any]:
    keys = [configuration_key({"": value}) for value in values]
    twice = next((value for place, value in enumerate(values) if keys.index(keys[place]) != place), None)
    if twice is not None:
        raise refusal(f"{shown(twice)} is listed twice")
    return values


def _study_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", name):
        raise refusal(
            "expected up to 100 letters, digits, '_', '.' or '-', not beginning with '.', since a folder is named "
            f"after it, got {shown(name)}"
        )
    if name.lower() in RESERVED:
        raise refusal(f"{shown(name)} is a folder of the storage that is no study: choose another name")
    return name


def read_forget(given: Any) -> Any:
    """What to forget in canonical form, as plain data. Whether a dataset has such classes is not looked at here.

    Raises:
        PydanticCustomError: it is no class, list of classes, or random share.
    """
    if isinstance(given, Mapping):
        return _random_share(given)
    if not isinstance(given, list):
        return _forget_class(given)
    if not given:
        raise refusal("an empty list of classes: expected at least one")
    return [_forget_class(one) for one in given]


def _forget_class(given: Any) -> int | str:
    if isinstance(given, bool) or not isinstance(given, int | str) or given == "":
        hint = ": YAML reads yes, no, on and off so; quote a class of such a name" if isinstance(given, bool) else ""
        raise refusal(
            "expected a class, by index or name, a list of classes, or {random: SHARE, seed: SEED}, "
            f"got {shown(given)}{hint}"
        )
    return given


def _random_share(given: Mapping[str, Any]) -> dict[str, int | float]:
    for key in given:
        if key not in _RANDOM:
            raise refusal(unknown_name(key, _RANDOM, "key of a random forget set"))
    if "random" not in given:
        raise refusal(f"expected {{random: SHARE, seed: SEED}}, got {shown(dict(given))}")
    read: dict[str, int | float] = {}
    for name, value in ({"seed": 0} | dict(given)).items():
        problem = value_problem(_RANDOM[name].parameter, value)
        if problem:
            raise refusal(f"{name}: {problem}")
        read[name] = canonical(_RANDOM[name].parameter, value)
    return {"random": float(read["random"]), "seed": int(read["seed"])}


def read_weights(given: Any) -> Any:
    """Files of weights as absolute paths, from the current folder; `pretrained` stays.

    Raises:
        PydanticCustomError: neither a text nor a mapping of texts to texts.
    """
    if given is None or (isinstance(given, str) and given.strip()):
        return given and _absolute(given)
    if isinstance(given, Mapping) and given and all(isinstance(file, str) and file.strip() for file in given.values()):
        return {model: _absolute(file) for model, file in given.items()}
    raise refusal(f"expected a file, a mapping of models to files, or {PRETRAINED!r}, got {shown(given)}")


def _absolute(file: str) -> str:
    return file if file == PRETRAINED else absolute(file)


def absolute(path: str) -> str:
    """A path from the current folder as one that means the same everywhere; links are kept."""
    return os.path.abspath(Path(path).expanduser())


def _pair(values: Sequence[float]) -> Sequence[float]:
    if len(values) != 2:
        raise refusal(f"expected two numbers, got {len(values)}")
    return values


def _rising(values: Sequence[float]) -> Sequence[float]:
    if values[0] > values[1]:
        raise refusal(f"expected the smaller number first, got {values[0]:g} and {values[1]:g}")
    return values


def _randaugment(text: str) -> str:
    if not re.fullmatch(r"rand(-[a-z]+[0-9.]+)*", text):
        raise refusal(f"expected a setting such as rand-m9-mstd0.5-inc1, got {shown(text)}")
    return text


def one_or_several(given: Any) -> Any:
    """A list, for which one text may stand."""
    return [given] if isinstance(given, str) else given


def none_or_several(given: Any) -> Any:
    """A list, for which one text may stand, and null for an empty one."""
    return [] if given is None else one_or_several(given)


StudyName = Annotated[str, Strict(), AfterValidator(_study_name)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Strict()]
Folder = Annotated[Text, AfterValidator(absolute)]
#: A class, a list of classes, or a random share.
Forgotten = Annotated[Any, PlainValidator(read_forget), WithJsonSchema(_FORGET_SCHEMA)]
Whole = Annotated[int, Bounded("int", low=0)]
Counted = Annotated[int, Bounded("int", low=1)]
Positive = Annotated[float, Bounded("float", low=0, low_open=True)]
NotNegative = Annotated[float, Bounded("float", low=0)]
Gpus = Annotated[float | Literal["auto"], Devices()]
Share = Annotated[float, Bounded("float", low=0, high=1, high_open=True)]
Probability = Annotated[float, Bounded("float", low=0, high=1)]
Number = Annotated[float, Bounded("float")]
Betas = Annotated[tuple[Share, ...], AfterValidator(_pair)]
CropScale = Annotated[
    tuple[Annotated[float, Bounded("float", low=0, high=1, low_open=True)], ...],
    AfterValidator(_pair),
    AfterValidator(_rising),
]
RandAugment = Annotated[str, Strict(), AfterValidator(_randaugment)]
#: Of pixel values scaled to [0, 1].
PixelMean = Annotated[float, Bounded("float", low=0, high=1)]
PixelDeviation = Annotated[float, Bounded("float", low=0, high=1, low_open=True)]

Weights = Annotated[Any, PlainValidator(read_weights), WithJsonSchema(_WEIGHTS_SCHEMA)]

#: For lists: at least one item, none twice.
DISTINCT = AfterValidator(_distinct)
#: For lists that may be empty: no item twice.
DIFFERENT = AfterValidator(_different)
