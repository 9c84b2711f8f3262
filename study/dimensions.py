"""What one searched dimension of a cell may be, and how the points of a finite space are numbered and shuffled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from neglora.record import configuration_key
from neglora.shape import is_held


@dataclass(frozen=True)
class Choice:
    """A finite list of values in their own types: module names (tuples of text), ranks, flags, numbers."""

    values: tuple[Any, ...]

    @property
    def size(self) -> int:
        return len(self.values)

    def index(self, value: Any) -> int | None:
        """The place of `value` in the list, None if it is not there; 16 and 16.0, a list and a tuple are the same."""
        return self._places.get(configuration_key({"": value}))

    @cached_property
    def _places(self) -> dict[str, int]:
        """The first place of every value, by its key: they are looked up by the thousand."""
        return {configuration_key({"": own}): place for place, own in reversed([*enumerate(self.values)])}

    def contains(self, value: Any) -> bool:
        return self.index(value) is not None


@dataclass(frozen=True)
class Range:
    """A range of numbers, both ends included: of whole ones where `integer`, even in the logarithm where `log`."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    @property
    def size(self) -> int | None:
        """How many values it holds: None for a range of real numbers that is wider than one point."""
        if self.integer:
            return int(self.high) - int(self.low) + 1
        return 1 if self.low == self.high else None

    def contains(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not is_held(value):
            return False
        return self.low <= value <= self.high and not (self.integer and value != int(value))


Dimension = Choice | Range


def size_of(dimensions: Mapping[str, Dimension]) -> int | None:
    """How many configurations the product holds (1 for no dimension at all); None where one range is continuous."""
    total = 1
    for dimension in dimensions.values():
        if dimension.size is None:
            return None
        total *= dimension.size
    return total


def point(dimensions: Mapping[str, Dimension], index: int) -> dict[str, Any]:
    """Configuration `index` of a finite space in lexicographic order, the last dimension changing fastest.

    Raises:
        ValueError: the space is continuous, or holds no point of this index.
    """
    size = size_of(dimensions)
    if size is None or not 0 <= index < size:
        raise ValueError(f"expected a finite space of more than {index} configurations, got one of size {size}")
    values: dict[str, Any] = {}
    for name, dimension in reversed(list(dimensions.items())):
        index, place = divmod(index, dimension.size or 1)
        if isinstance(dimension, Choice):
            values[name] = dimension.values[place]
        else:
            values[name] = int(dimension.low) + place if dimension.integer else dimension.low
    return {name: values[name] for name in dimensions}


def shuffled(place: int, size: int, seed: int) -> int:
    """What stands at `place` of a seeded permutation of 0..size-1, without making the permutation.

    A Feistel network over the next power of four, walked until it lands inside: a bijection for any round function
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"). A space of billions costs what one of ten does.
    """
    if not 0 <= place < size:
        raise ValueError(f"place should be in [0, {size}), got {place}")
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = place >> half, place & mask
        for turn in range(4):
            digest = hashlib.sha256(f"{seed}:{turn}:{right}".encode()).digest()
            left, right = right, left ^ (int.from_bytes(digest[:8], "big") & mask)
        place = left << half | right
        if place < size:
            return place
