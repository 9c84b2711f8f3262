"""What one searched dimension of a cell may be: a list of choices or a range of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """A finite list of values in their own types: module names (tuples of text), ranks, flags, numbers."""

    values: tuple[Any, ...]

    @property
    def size(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Range:
    """A range of numbers, both ends included; of whole numbers where `integer`, sampled evenly in the log where `log`."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    @property
    def size(self) -> int | None:
        """How many values it holds: None for a range of real numbers."""
        return int(self.high) - int(self.low) + 1 if self.integer else None


Dimension = Choice | Range


def size_of(dimensions: Mapping[str, Dimension]) -> int | None:
    """How many configurations the product holds (1 for no dimension at all); None where one range is continuous."""
    total = 1
    for dimension in dimensions.values():
        if dimension.size is None:
            return None
        total *= dimension.size
    return total
