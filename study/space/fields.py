"""The kinds of fields that sections are made of: bounded numbers, known names, lists without repetition."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from neglora.methods import Parameter
from neglora.record import configuration_key
from study.space.numbers import canonical, value_problem, value_schema
from study.space.problems import shown, unknown_name

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
class Known:
    """A text that is one of known names; the registry is looked at when a value is read."""

    kind: str
    names: Callable[[], Iterable[str]]
    find: Callable[[str], Any] | None = None

    def read(self, given: Any) -> str:
        names = list(self.names())
        if not isinstance(given, str):
            raise refusal(f"expected the name of a {self.kind}, one of {', '.join(names)}, got {shown(given)}")
        if not (self.find(given) if self.find else given in names):
            raise refusal(unknown_name(given, names, self.kind))
        return given

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.names())}


def _distinct(values: Sequence[Any]) -> Sequence[Any]:
    if not values:
        raise refusal("expected at least one, got an empty list")
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


def _forget_set(given: Any) -> Any:
    if isinstance(given, Mapping | list):
        return given
    if isinstance(given, bool) or not isinstance(given, int | str) or given == "":
        hint = ": YAML reads yes, no, on and off so; quote a class of such a name" if isinstance(given, bool) else ""
        raise refusal(
            "expected a class, by index or name, a list of classes, or {random: SHARE, seed: SEED}, "
            f"got {shown(given)}{hint}"
        )
    return given


def _not_available(given: Any) -> Any:
    if given not in (None, []):
        raise refusal(f"is not available in this version: leave it out (got {shown(given)})")
    return given


def _gpus(share: float) -> float:
    if share > 1 and share != int(share):
        raise refusal(f"expected a whole number, or a share of one GPU below 1, got {share:g}")
    return share


def one_or_several(given: Any) -> Any:
    """A list, for which one text may stand."""
    return [given] if isinstance(given, str) else given


StudyName = Annotated[str, Strict(), AfterValidator(_study_name)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Strict()]
ForgetClass = Annotated[int | str | list[int | str] | dict[str, int | float], BeforeValidator(_forget_set)]
Whole = Annotated[int, Bounded("int", low=0)]
Counted = Annotated[int, Bounded("int", low=1)]
Positive = Annotated[float, Bounded("float", low=0, low_open=True)]
NotNegative = Annotated[float, Bounded("float", low=0)]
Gpus = Annotated[NotNegative, AfterValidator(_gpus)]
Share = Annotated[float, Bounded("float", low=0, high=1, high_open=True)]
Number = Annotated[float, Bounded("float")]

#: For lists: at least one item, none twice.
DISTINCT = AfterValidator(_distinct)
#: For sections of a later version: nothing but null or an empty list.
NOT_AVAILABLE = BeforeValidator(_not_available)
