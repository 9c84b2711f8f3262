"""Turn the dial: measure a replicate's models along its update, most closely where their metrics change."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, TypeVar

from neglora.data import parse_forget
from neglora.dial import Dial, Point
from neglora.evaluation import evaluate_outputs, with_reference
from neglora.hardware import device_name
from neglora.line import Line, recorded_scale
from neglora.objectives import GAP_METRICS
from neglora.provenance import provenance
from neglora.record import Measured
from neglora.replicate import reference
from neglora.session import Session

#: How many models are measured, if nobody says otherwise; and the fewest: both ends and the recorded one.
POINTS, FEWEST = 33, 3
#: Scales that are looked at first are the multiples of 1/16, if the points suffice; none are nearer than 1/256.
GRID, FINEST = 16, 256
#: An interval is divided where UA, RA, TA or MIA changes by more within it.
CHANGE = 0.02

P = TypeVar("P")


def sweep(
    session: Session,
    line: Line,
    replicate: Mapping[str, Any],
    *,
    trial: str,
    points: int = POINTS,
    on_point: Callable[[Point], None] | None = None,
) -> Dial:
    """The dial of a replicate: UA, RA, TA, MIA and all else at scales from 0 (the base) to 1 (the full ascent).

    The same replicate gives the same numbers.

    Args:
        session: has Retrain, if that was made.
        line: of the replicate.
        replicate: as the record has it.
        trial: its id.
        points: how many models to measure at most, of which one is the recorded one; at least `FEWEST`.
        on_point: told of each as it is measured.

    Raises:
        ScaleError: the record says a scale that there is not.
        ValueError: fewer points than `FEWEST`.
    """
    started = time.perf_counter()
    forget = parse_forget(session.dataset(line.setting).info, replicate["forget"])
    retrained = reference(session, line.setting, forget, line.seed)
    retrain = {"metrics": retrained[0].metrics, "report": retrained[0].report} if retrained else None
    recorded = recorded_scale(replicate)

    def measured(scale: float) -> Point:
        point = measure_at(line, scale, retrain)
        if on_point is not None:
            on_point(point)
        return point

    found, unsettled = along(measured, change, points=points, always=recorded)
    surroundings = {
        "data": session.dataset(line.setting).fingerprint,
        "device": device_name(session.device),
        "threads": line.setting.threads,
    }
    return Dial(
        trial=trial,
        method=line.method,
        forget=replicate["forget"],
        seed=line.seed,
        recorded=recorded,
        points=tuple(found.values()),
        retrain=retrain,
        counts=dict(line.splits.counts),
        unsettled=unsettled,
        from_kept=line.from_kept,
        seconds=time.perf_counter() - started,
        provenance=provenance() | surroundings,
    )


def measure_at(line: Line, scale: float, retrain: Mapping[str, Measured] | None) -> Point:
    """The model at a scale, measured in full on both halves, beside Retrain.

    Raises:
        ScaleError: the scale is not in [0, 1].
    """
    outputs = line.outputs(scale)
    if not outputs.finite:
        return Point(scale, {}, {}, "the model's logits are not finite")
    found = evaluate_outputs(outputs, line.splits, seed=line.seed, attacks=line.setting.attacks)
    beside = retrain or {}
    return Point(
        scale,
        with_reference(found.metrics, beside.get("metrics")),
        with_reference(found.report, beside.get("report")),
    )


def along(
    measured: Callable[[float], P], change: Callable[[P, P], float], *, points: int, always: float
) -> tuple[dict[float, P], int]:
    """Measure scales from 0 to 1, more of them where there is more change.

    First a grid of both ends and what is evenly between, at most half of the points, and the scale that is `always` to
    be there. Then the interval with the greatest change is halved, down to steps of 1/256, until none changes by more
    than `CHANGE` or the points are used up.

    Returns:
        What was measured, by ascending scale, and how many intervals would have been halved further.

    Raises:
        ValueError: fewer points than `FEWEST`.
    """
    if points < FEWEST:
        raise ValueError(f"a dial has at least {FEWEST} points, asked for {points}")
    steps = min(GRID, 2 ** int(math.log2(max(1, (points - 1) // 2))))
    found = {scale: measured(scale) for scale in sorted({*(step / steps for step in range(steps + 1)), always})}
    while True:
        scales = sorted(found)
        dividing = [
            (-change(found[low], found[high]), middle)
            for low, high in pairwise(scales)
            if (middle := _middle(low, high)) is not None and change(found[low], found[high]) > CHANGE
        ]
        if not dividing or len(found) >= points:
            return {scale: found[scale] for scale in scales}, len(dividing)
        # Of equal changes that at the smaller scale, so that the points are the same every time.
        middle = min(dividing)[1]
        found[middle] = measured(middle)


def _middle(low: float, high: float) -> float | None:
    """The multiple of 1/256 in the middle; None where there is none between."""
    middle = math.floor((low + high) / 2 * FINEST) / FINEST
    return middle if low < middle < high else None


def change(one: Point, other: Point) -> float:
    """The greatest difference of UA, RA, TA and MIA between two models, on either half; infinite where one lacks it."""
    found = [0.0]
    for mine, its in ((one.metrics, other.metrics), (one.report, other.report)):
        for name in GAP_METRICS:
            values = mine.get(name), its.get(name)
            if values[0] is not None and values[1] is not None:
                found.append(abs(float(values[0]) - float(values[1])))
            elif values != (None, None):
                found.append(math.inf)
    return max(found)
