"""Axes of a figure: what is on them, from where to where, and their ticks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from study.plots.picture.words import PictureError, is_array, number_text, values, words

Array = np.ndarray[Any, Any]


@dataclass
class Scale:
    """One axis, `x` or `y3`: how values become places on it.

    Attributes:
        name: as traces call it.
        settings: of the layout.
        categories: names of places 0, 1, ...; None for numbers.
        ends: the places of all that is drawn.
        padded: whether marks at the ends need room.
    """

    name: str
    settings: dict[str, Any]
    categories: list[str] | None = None
    ends: list[float] = field(default_factory=list)
    padded: bool = False

    @property
    def is_x(self) -> bool:
        return self.name.startswith("x")

    @property
    def is_log(self) -> bool:
        return self.settings.get("type") == "log"

    def learn(self, given: Iterable[Any]) -> None:
        """See what values there are: texts that are no numbers make an axis of categories."""
        kind = self.settings.get("type") or "-"
        if kind not in ("-", "linear", "log", "category"):
            raise PictureError(f"axis {self.name}: a picture has no axis of type {kind!r}")
        found = [value for value in given if value is not None]
        if kind == "category" or (kind == "-" and any(_is_name(value) for value in found)):
            ordered = [str(value) for value in values(self.settings.get("categoryarray"))]
            named = [str(value) for value in found]
            self.categories = list(dict.fromkeys([*(self.categories or ordered), *named]))

    def places(self, given: Iterable[Any]) -> Array:
        """Values as floats, one each; NaN for none."""
        if self.categories is not None:
            index = {name: float(place) for place, name in enumerate(self.categories)}
            # Categories are placed by their names; notes may also name a place between two of them, as a number.
            found = [index[str(value)] if str(value) in index else _number(value) for value in given]
            return np.array(found, dtype=float)
        return np.array([_number(value) for value in given], dtype=float)

    def place(self, value: Any, *, exponent: bool = False) -> float:
        """Where a shape, or an annotation (which gives the `exponent` of a logarithmic axis), stands."""
        found = float(self.places([value])[0])
        return 10.0**found if exponent and self.is_log else found

    def cover(self, found: Array, *, padded: bool = False) -> None:
        """Make room for these places."""
        finite = found[np.isfinite(found) & ((found > 0) if self.is_log else True)]
        if finite.size:
            self.ends += [float(finite.min()), float(finite.max())]
            self.padded = self.padded or padded

    def fit(self, found: Array) -> None:
        """Reach exactly from the first to the last of these edges, unless the axis says from where to where."""
        self.cover(found)
        if self.categories is None and self.settings.get("range") is None and self.ends:
            ends = [min(self.ends), max(self.ends)]
            turned = self.settings.get("autorange") == "reversed"
            self.settings = {**self.settings, "range": ends[::-1] if turned else ends}

    def limits(self) -> tuple[float, float]:
        """From where to where; the first is left or below, and may be the greater."""
        low, high = self._automatic()
        if self.settings.get("autorange") == "reversed":
            low, high = high, low
        first, last = [*(self.settings.get("range") or ()), None, None][:2]
        if self.is_log:
            first, last = (None if end is None else 10.0 ** float(end) for end in (first, last))
        ends = [end if given is None else self.place(given) for given, end in ((first, low), (last, high))]
        return ends[0], ends[1]

    def _automatic(self) -> tuple[float, float]:
        if self.categories is not None:
            return -0.5, max(len(self.categories), 1) - 0.5
        ends = self.ends + ([0.0] if self.settings.get("rangemode") in ("tozero", "nonnegative") else [])
        if not ends:
            return (1.0, 10.0) if self.is_log else (0.0, 1.0)
        low, high = min(ends), max(ends)
        if self.is_log:
            room = 0.05 * max(math.log10(high / low), 0.5)
            return low / 10**room, high * 10**room
        room = 0.06 * (high - low) if high > low else max(abs(high) * 0.05, 0.5)
        if not self.padded and self.is_x and high > low:
            room = 0.0
        at_zero = 0.0 in (low, high) and self.settings.get("rangemode") in ("tozero", "nonnegative")
        return low - (0.0 if at_zero and low == 0 else room), high + (0.0 if at_zero and high == 0 else room)

    def ticks(self, length: float) -> tuple[list[float], list[str]]:
        """Places and labels that fit into so many pixels."""
        own = self.settings
        low, high = sorted(self.limits())
        if is_array(own.get("tickvals")):
            at = [float(value) for value in self.places(values(own["tickvals"]))]
            texts = [words(text) for text in values(own.get("ticktext"))] or [self._label(value) for value in at]
            return _within(at, texts, low, high)
        if self.categories is not None:
            at = [float(place) for place in range(len(self.categories))]
            return _within(at, [words(name) for name in self.categories], low, high)
        if own.get("dtick") is not None and not self.is_log:
            step, first = float(own["dtick"]), float(own.get("tick0") or 0.0)
            at = [
                first + step * index for index in range(math.ceil((low - first) / step), int((high - first) / step) + 1)
            ]
        elif self.is_log:
            at = _decades(low, high)
        else:
            most = int(own.get("nticks") or max(2, min(9, length / (95 if self.is_x else 48))))
            at = [float(place) for place in MaxNLocator(nbins=most, steps=[1, 2, 5, 10]).tick_values(low, high)]
        at = [0.0 if abs(value) < 1e-9 * max(abs(low), abs(high)) else value for value in at]
        return _within(at, [self._label(value) for value in at], low, high)

    def _label(self, value: float) -> str:
        own = self.settings
        suffix = own.get("ticksuffix") or "" if own.get("showticksuffix") != "none" else ""
        return number_text(value, own.get("tickformat"), own.get("tickprefix") or "", words(suffix))


def scale_named(reference: str, layout: dict[str, Any]) -> Scale:
    """The axis that traces call `x2`: the layout's `xaxis2`."""
    found = re.fullmatch(r"([xy])(\d*)", reference)
    if not found:
        raise PictureError(f"no axis: {reference!r}")
    return Scale(reference, layout.get(f"{found[1]}axis{found[2]}") or {})


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise PictureError(f"expected a number, got {value!r}") from error


def _is_name(value: Any) -> bool:
    if not isinstance(value, str):
        if isinstance(value, list | tuple):
            raise PictureError("categories of several levels have no picture")
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten, and between few of them 2 and 5 times those."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside = [10.0**power for power in powers if low <= 10.0**power <= high]
    return inside if len(inside) > 2 else [own * 10.0**power for power in powers for own in (1, 2, 5)]


def _within(at: list[float], texts: list[str], low: float, high: float) -> tuple[list[float], list[str]]:
    slack = 1e-9 * max(abs(low), abs(high), high - low)
    kept = [(place, text) for place, text in zip(at, texts, strict=False) if low - slack <= place <= high + slack]
    return [place for place, _ in kept], [text for _, text in kept]
