"""The dial of a replicate, as plain data: its metrics along the ascent's update, from the base to all of it. No torch.

`neglora.sweep` makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from neglora.record import Measured
from neglora.shape import Shape, misfit

#: Of what a file holds; a program refuses a newer one.
SCHEMA = 1

_NUMBER = (int, float)
_MEASURED: Shape = {"*": (*_NUMBER, type(None))}
_HALVES: dict[str, Shape] = {"metrics": _MEASURED, "report": _MEASURED}
_SHAPE: Shape = {
    "schema": int,
    "trial": str,
    "method": str,
    "seed": int,
    "recorded": _NUMBER,
    "points": [{"scale": _NUMBER, **_HALVES, "reason": (str, type(None))}],
    "retrain": _HALVES,
    "counts": {"*": int},
    "unsettled": int,
    "from_kept": bool,
    "seconds": _NUMBER,
    "provenance": {"*": (*_NUMBER, str, type(None))},
}


class DialError(ValueError):
    """What is read is no dial of this project, or one of a newer schema."""


@dataclass(frozen=True)
class Point:
    """The model at one scale of the ascent's update.

    Attributes:
        scale: s in [0, 1] of W + s U.
        metrics, report: on the selection half and the report half, with `gap` and `tow` where there is a Retrain.
            Empty where nothing could be measured.
        reason: why that is.
    """

    scale: float
    metrics: Measured
    report: Measured
    reason: str | None = None


@dataclass(frozen=True)
class Dial:
    """The metrics of a replicate along its update, from one ascent.

    Attributes:
        trial, method, forget, seed: of the record; the forget set as it has it.
        recorded: the scale of the model that the record is of: 1 where nothing was retracted.
        points: by ascending scale. The first is the base (0), the last the full ascent (1); the recorded one is there.
        retrain: its `metrics` and `report`; None where there is no Retrain.
        counts: of images, by part of the splits.
        unsettled: how many intervals between points still change much and would have been divided further.
        from_kept: whether the adapter was kept; otherwise the ascent ran again.
        seconds: what all of it took.
        provenance: versions, host, device, threads, time, and the SHA-256 of the dataset (`data`).
    """

    trial: str
    method: str
    forget: Any
    seed: int
    recorded: float
    points: tuple[Point, ...]
    retrain: dict[str, Measured] | None
    counts: dict[str, int]
    unsettled: int
    from_kept: bool
    seconds: float
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def evaluations(self) -> int:
        """How many models were measured."""
        return len(self.points)

    @property
    def nearest(self) -> Point | None:
        """The point nearest to Retrain on the selection half, the smaller scale of equals; None without Retrain."""
        measured = [point for point in self.points if point.metrics.get("gap") is not None]
        return min(measured, key=lambda point: float(point.metrics["gap"] or 0.0), default=None)

    def at(self, scale: float) -> Point:
        """The point of a scale that was measured.

        Raises:
            KeyError: it was not.
        """
        return {point.scale: point for point in self.points}[scale]

    def as_plain(self) -> dict[str, Any]:
        """Strict JSON data, which `of` reads."""
        return {"schema": SCHEMA, **asdict(self), "points": [asdict(point) for point in self.points]}

    @classmethod
    def of(cls, plain: Any) -> Dial:
        """From plain data, which may be anybody's.

        Raises:
            DialError: it is no dial.
        """
        if not isinstance(plain, Mapping):
            raise DialError(f"not a JSON object but a {type(plain).__name__}")
        schema = plain.get("schema")
        if not isinstance(schema, int) or isinstance(schema, bool):
            raise DialError("no integer 'schema'")
        if schema > SCHEMA:
            raise DialError(f"schema {schema} is newer than this program's {SCHEMA}: upgrade neglora to read it")
        known = {name: plain[name] for name in cls.__dataclass_fields__ if name in plain}
        missing = [name for name in cls.__dataclass_fields__ if known.get(name) is None and name != "retrain"]
        if missing:
            raise DialError(f"'{missing[0]}' is missing")
        wrong = misfit(known, _SHAPE)
        if wrong:
            raise DialError(f"'{wrong[:100]}' is nothing that a dial holds")
        retrain = known.get("retrain")
        if retrain is not None and any(not isinstance(retrain.get(half), Mapping) for half in _HALVES):
            raise DialError("'retrain' should hold metrics and report")
        points = tuple(_point(one) for one in known["points"])
        scales = [point.scale for point in points]
        if len(points) < 2 or (scales[0], scales[-1]) != (0, 1) or scales != sorted(set(scales)):
            raise DialError("'points' should go from scale 0 up to 1")
        if known["recorded"] not in scales:
            raise DialError("'recorded' is the scale of no point")
        return cls(**{"retrain": None, **known, "points": points})


def _point(plain: Mapping[str, Any]) -> Point:
    if any(plain.get(name) is None for name in ("scale", *_HALVES)):
        raise DialError("a point should have scale, metrics and report")
    return Point(float(plain["scale"]), dict(plain["metrics"]), dict(plain["report"]), plain.get("reason"))
