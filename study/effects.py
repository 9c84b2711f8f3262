"""The course of a metric over one setting, the others averaged out, with the trials behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from study.response import Response, with_mean
from study.varied import Varied, is_absent

#: Of a normal distribution, between -Z and Z: 95%.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Point:
    """One trial: its id, its value of the parameter (None where it has none), and the metric as it is shown."""

    trial: str
    value: Any
    y: float


@dataclass(frozen=True)
class Effect:
    """A metric over one parameter of one method.

    Attributes:
        parameter: what varies.
        points: the trials, by id.
        values, course, low, high: where a forest is believed, the mean of its predictions over everything else that was
            searched at each of these values (partial dependence: Friedman 2001, section 8.2), and the 95% interval from
            what other trials might have told; `values` ends with None where some trials lack the parameter. Empty
            otherwise.
    """

    parameter: Varied
    points: tuple[Point, ...]
    values: tuple[Any, ...] = ()
    course: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def effect(
    parameter: Varied, rows: pd.DataFrame, values: pd.Series, response: Response | None = None, metric: str = "gap"
) -> Effect:
    """Gather the trials, and the course where there is a forest to be believed.

    Args:
        parameter: one that varies in these rows.
        rows: those that are drawn, of one dataset, model and method.
        values: the metric of these rows, on their index; trials without it are left out.
        response: a forest of all of the method's trials.
        metric: one that it predicts.
    """
    points = tuple(
        Point(str(trial), None if is_absent(value) else value, float(y))
        for trial, value, y in sorted(
            zip(rows["trial"], rows[f"param_{parameter.name}"].tolist(), values.loc[rows.index], strict=True),
            key=lambda item: str(item[0]),
        )
        if not np.isnan(y)
    )
    if response is None:
        return Effect(parameter, points)
    (own,) = (one for one in response.parameters if one.name == parameter.name)
    answers = with_mean(response.answers[own.name])[..., response.metrics.index(metric)].mean(axis=1)
    course, spread = answers[-1], _Z * answers[:-1].std(axis=0, ddof=1)
    at = [own.value(place) for place in own.points] + ([None] if own.absent else [])
    return Effect(
        own, points, tuple(at), *(tuple(map(float, one)) for one in (course, course - spread, course + spread))
    )
