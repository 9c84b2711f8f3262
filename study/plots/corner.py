"""The corner of a trade-off where what forgets and keeps lies, for a closer look."""

from __future__ import annotations

from dataclasses import dataclass

from study.plots.tradeoff import Tradeoff

#: Where the corner may begin: the first bound above which there is a trial.
BOUNDS = (0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
#: Beyond its ends, as a share of the corner, so that marks there are whole.
_MARGIN = 0.05


@dataclass(frozen=True)
class Corner:
    """Where UA and the other value begin, as fractions, and what the axes then show, in percent with a margin."""

    ua: float
    other: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]


def corner_of(info: Tradeoff) -> Corner | None:
    """The corner of a figure, with Retrain in it; None where there is nothing to see closer."""
    points = [(point.x, point.y) for group in info.methods.values() for point in group]
    marks = points + [(one.x, one.y) for one in info.references]
    ua = next((bound for bound in BOUNDS if any(x >= bound for x, _ in points)), None)
    if ua is None:
        return None
    forgetful = [(x, y) for x, y in points if x >= ua]
    other = next((bound for bound in BOUNDS if any(y >= bound for _, y in forgetful)), None)
    if other is None:
        return None
    inside = [(x, y) for x, y in marks if x >= ua and y >= other]
    if len(inside) == len(marks):
        return None
    if info.retrain is not None:
        inside.append((info.retrain.x, info.retrain.y))
    x_range = _range(min(ua, *(x for x, _ in inside)), 1.0)
    # Where no value comes near 100%, the rest of the scale would be empty.
    top = max(y for _, y in inside)
    return Corner(ua, other, x_range, _range(min(other, *(y for _, y in inside)), 1.0 if top >= BOUNDS[0] else top))


def _range(low: float, high: float) -> tuple[float, float]:
    margin = _MARGIN * max(high - low, 0.01)
    return round(100 * (low - margin), 3), round(100 * (high + margin), 3)
