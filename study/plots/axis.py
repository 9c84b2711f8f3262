"""One setting as an axis from 0 to 1: where its values stand, what is written there, and how it is cut into bins."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from study.plots.style import plain, setting
from study.varied import Varied

#: Where trials stand that do not have the setting.
NOT_USED = -0.16
#: A range is cut into so many bins, equal on its scale.
BINS = 5
_WRAPPED = 11


def ticks(parameter: Varied, most: int = 5) -> list[tuple[float, str]]:
    """Places and texts of at most `most` values, the ends of a list always among them."""
    if parameter.scale == "levels":
        levels = [parameter.levels[index] for index in _spaced(len(parameter.levels), most)]
    elif parameter.scale == "log":
        levels = _logarithmic(parameter.low, parameter.high, most)
    else:
        levels = _even(parameter.low, parameter.high, most)
    found = [(parameter.place(level), short(level)) for level in levels]
    return [(place, text) for place, text in found if place is not None]


def ticked(parameter: Varied, most: int = 5) -> dict[str, Any]:
    """The ticks and range of a Plotly axis."""
    found = [(place, wrapped(text)) for place, text in ticks(parameter, most)]
    if parameter.absent:
        found = [(NOT_USED, "not<br>used"), *found]
    margin = 0.3 / max(len(parameter.levels) - 1, 1) if parameter.scale == "levels" else 0.04
    return {
        "tickvals": [place for place, _ in found],
        "ticktext": [text for _, text in found],
        "tickangle": 0,
        "range": [(NOT_USED if parameter.absent else 0) - margin, 1 + margin],
    }


def short(value: Any) -> str:
    """A value for a narrow place: 3e-4, 0.01, 16."""
    if isinstance(value, float) and 0 < abs(value) < 0.001:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return setting(round(value, 4) if isinstance(value, float) else value)


def wrapped(text: str, width: int = _WRAPPED) -> str:
    """A text, escaped, in lines of about this width, broken behind + . _ , and blanks where possible."""
    lines = [""]
    for part in _parts(text):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "<br>".join(plain(line if len(line) <= 2 * width else f"{line[: 2 * width - 1]}…") for line in lines[:3])


def _parts(text: str) -> list[str]:
    parts = [""]
    for character in text:
        parts[-1] += character
        if character in "+._, ":
            parts.append("")
    return [part for part in parts if part]


def bins(parameter: Varied) -> list[str]:
    """What is written at each bin: a level, or the ends of a part of a range."""
    if parameter.scale == "levels" and len(parameter.levels) <= 2 * BINS:
        return [wrapped(short(level)) for level in parameter.levels]
    edges = [short(parameter.value(index / BINS)) for index in range(BINS + 1)]
    return [f"{plain(low)}–<br>{plain(high)}" for low, high in itertools.pairwise(edges)]


def bin_of(parameter: Varied, value: Any) -> int | None:
    """The bin of a value; None for none."""
    place = parameter.place(value)
    if place is None:
        return None
    count = len(bins(parameter))
    if parameter.scale == "levels" and len(parameter.levels) == count:
        return round(place * (count - 1))
    return min(max(int(place * count), 0), count - 1)


def beside(count: int, width: float) -> list[float]:
    """So many offsets, evenly from -width to width: marks on one level would hide one another."""
    return [width * (2 * index / (count - 1) - 1) if count > 1 else 0.0 for index in range(count)]


def _spaced(count: int, most: int) -> Sequence[int]:
    if count <= max(most, 8):
        return range(count)
    return sorted({round(index * (count - 1) / (most - 1)) for index in range(most)})


def _logarithmic(low: float, high: float, most: int) -> list[float]:
    """Powers of ten in the range; 1 and 3 times them, or the ends, where those are too few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = [float(f"1e{power}") for power in range(first, last + 1)]
    near = 1e-9
    inside = [value for value in powers if low * (1 - near) <= value <= high * (1 + near)]
    if len(inside) >= 3:
        return [inside[index] for index in _spaced_exactly(len(inside), most)]
    both = sorted({value * factor for value in powers for factor in (1, 3)})
    inside = [float(f"{value:.1e}") for value in both if low * (1 - near) <= value <= high * (1 + near)]
    return inside if len(inside) >= 2 else [low, high]


def _spaced_exactly(count: int, most: int) -> Sequence[int]:
    step = math.ceil(count / most)
    return range(0, count, step)


def _even(low: float, high: float, most: int) -> list[float]:
    """Round values, as many as there may be: at least two, or else the ends."""
    power = math.floor(math.log10(high - low)) - 1
    for step in (factor * 10.0 ** (power + more) for more in range(3) for factor in (1, 2, 5)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            found = [round(index * step, 12) for index in range(first, last + 1)]
            return found if len(found) > 1 else [low, high]
    return [low, high]
