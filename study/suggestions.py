"""What a search is given and what it answers: cells, suggestions, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from study.dimensions import Dimension


class SearchError(ValueError):
    """A search that cannot be run as it was asked for; the message says why and how to mend it."""


class SearchedCell(Protocol):
    """What a search needs of a cell.

    Attributes:
        id: the name of the cell, which trial ids begin with.
        dimensions: what is searched; may be empty.
        fixed: every other parameter of the method: those of one value, those of the axes, and defaults.
        configurations: points that run first; each gives every dimension, and may differ from `fixed`.
        trials: the budget.
    """

    @property
    def id(self) -> str: ...
    @property
    def dimensions(self) -> Mapping[str, Dimension]: ...
    @property
    def fixed(self) -> Mapping[str, Any]: ...
    @property
    def configurations(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def trials(self) -> int: ...


@dataclass(frozen=True)
class Suggestion:
    """Run this: the trial's number, its whole configuration, and what goes into its record's `sampler`.

    Attributes:
        passing: trials that this one passes through, by ascending epochs: each differs from it in `epochs` alone.
    """

    number: int
    params: dict[str, Any]
    system_attrs: dict[str, Any]
    passing: tuple[Suggestion, ...] = ()


@dataclass(frozen=True)
class Waiting:
    """Trial `number` follows from trials up to `until`, which have not all ended."""

    number: int
    until: int


@dataclass(frozen=True)
class Finished:
    """Nothing more will be suggested; `exhausted` where the space ended before the budget did."""

    reason: str
    exhausted: bool


@dataclass(frozen=True)
class Counts:
    """Trials of a cell by what became of them; `running` ones were handed out and not told."""

    budget: int
    ok: int
    diverged: int
    failed: int
    running: int

    @property
    def ended(self) -> int:
        return self.ok + self.diverged + self.failed
