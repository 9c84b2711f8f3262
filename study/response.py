"""How a method's metrics answer to its settings: a forest that is fitted to its trials and asked about others.

The forest has `BAGS` bags of `TREES` extremely randomized trees (Geurts, Ernst and Wehenkel 2006). Every bag sees its
own resample of the trials, drawn with replacement: what differs between bags is what other trials might have told, and
the trials that a bag did not see say how far to believe it. Settings enter on the scale on which they were searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import qmc
from sklearn.tree import ExtraTreeRegressor

from neglora.seeds import derive_seed
from study.thinning import thinned
from study.varied import Varied, varied

BAGS = 16
TREES = 8
#: Of more trials than this, so many are used, evenly spaced.
MOST_TRIALS = 400
#: For every parameter, this many other settings are gone through.
BACKGROUND = 128
#: With fewer trials nothing is fitted.
LEAST_TRIALS = 20
#: Share of the differences that the forest must explain on trials that it did not see.
LEAST_R2 = 0.3

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Response:
    """A fitted forest of one method.

    Attributes:
        parameters: what varied.
        metrics: what it predicts.
        trials: to how many trials it was fitted.
        r2: per metric, the share of its variance that is explained on trials that the forest did not see, at most 1 and
            negative for a forest worse than the mean; None where the metric does not vary.
        answers: per parameter, predictions of shape (bags, background, points, metrics): `background` settings of the
            other parameters, even over what was searched, each with the parameter at each of its points. The last
            point stands for "not used" where some trials lack the parameter.
    """

    parameters: tuple[Varied, ...]
    metrics: tuple[str, ...]
    trials: int
    r2: dict[str, float | None]
    answers: dict[str, Array]

    def weights(self, parameter: Varied) -> Array:
        """How much each point of a parameter stands for; the sum is 1."""
        return _weights(parameter)

    @cached_property
    def variance(self) -> Array:
        """Variance of the predictions over what was searched, of shape (bags + 1, metrics); the last is the mean's."""
        drawn = []
        for parameter in self.parameters:
            answers, weights = with_mean(self.answers[parameter.name]), self.weights(parameter)
            mean = np.einsum("bnlm,l->bm", answers, weights) / answers.shape[1]
            drawn.append(np.einsum("bnlm,l->bm", (answers - mean[:, None, None, :]) ** 2, weights) / answers.shape[1])
        return np.mean(drawn, axis=0)


def with_mean(answers: Array) -> Array:
    """Predictions of every bag, and behind them those of all bags together."""
    return np.concatenate([answers, answers.mean(axis=0, keepdims=True)])


def fit(rows: pd.DataFrame, space: Any, metrics: Sequence[str], values: pd.DataFrame) -> Response | str:
    """Fit a forest to the trials of one method in which all of the metrics were measured.

    Args:
        rows: candidates of one dataset, model and method.
        space: study.yaml.
        metrics: what to predict, one or several.
        values: the metrics of these rows, by their index; what was not measured is NaN.

    Returns:
        The forest, or in words why there is none. The same rows give the same forest, in whatever order they are.
    """
    measured = values.loc[rows.index, list(metrics)].notna().all(axis=1)
    rows = rows[measured].sort_values("trial", kind="stable")
    if len(rows) < LEAST_TRIALS:
        return f"{len(rows)} trial{'' if len(rows) == 1 else 's'} measured in full, fewer than {LEAST_TRIALS}"
    parameters = varied(rows, space)
    if not parameters:
        return "all trials have the same settings"
    kept = thinned(list(rows["trial"]), limit=MOST_TRIALS)
    rows = rows[rows["trial"].isin(kept)]
    y = values.loc[rows.index, list(metrics)].to_numpy(dtype=float)
    center, scale = y.mean(axis=0), y.std(axis=0)
    varies = scale > 1e-12
    if not varies.any():
        return "all trials came out alike"
    scaled = (y - center) / np.where(varies, scale, 1.0)
    x = encoded(rows, parameters)
    runs = _runs(rows, parameters)
    asked = _asked(parameters)
    sizes = [len(block) for block in asked.values()]
    together = np.concatenate(list(asked.values())).astype(np.float32)
    members = [np.flatnonzero(runs == run) for run in range(runs.max() + 1)]
    predictions, unseen, votes = [], np.zeros_like(scaled), np.zeros(len(rows))
    for bag in range(BAGS):
        generator = np.random.default_rng(derive_seed(0, "bag", bag))
        drawn = generator.integers(len(members), size=len(members))
        seen = np.concatenate([members[run] for run in drawn])
        left = np.setdiff1d(np.arange(len(rows)), seen)
        forest = [_tree(x[seen], scaled[seen], derive_seed(0, "tree", bag, place)) for place in range(TREES)]
        predictions.append(_predicted(forest, together) * scale + center)
        if len(left):
            unseen[left] += _predicted(forest, x[left])
            votes[left] += 1
    judged = votes > 0
    errors = (scaled[judged] - unseen[judged] / votes[judged, None]) ** 2
    spread = scaled[judged].var(axis=0)
    r2 = {
        metric: float(1 - errors[:, index].mean() / spread[index]) if varies[index] and spread[index] > 0 else None
        for index, metric in enumerate(metrics)
    }
    answers = {}
    parts = np.split(np.stack(predictions), np.cumsum(sizes)[:-1], axis=1)
    for name, part in zip(asked, parts, strict=True):
        answers[name] = part.reshape(BAGS, BACKGROUND, -1, len(metrics))
    return Response(tuple(parameters), tuple(metrics), len(rows), r2, answers)


def _tree(x: NDArray[np.float32], y: Array, seed: int) -> Any:
    return ExtraTreeRegressor(max_features=1.0, random_state=seed).fit(x, y, check_input=False).tree_


def _predicted(forest: Sequence[Any], x: NDArray[np.float32]) -> Array:
    """The mean over trees, of shape (rows, metrics)."""
    return np.mean([tree.predict(x).reshape(len(x), -1) for tree in forest], axis=0)


def encoded(rows: pd.DataFrame, parameters: Sequence[Varied]) -> NDArray[np.float32]:
    """Settings as the forest takes them, of shape (rows, columns): a number as its place in what was searched, a
    choice as a column for each level; a number that is not used stands apart, below all others."""
    blocks = []
    for parameter in parameters:
        places = [parameter.place(value) for value in rows[f"param_{parameter.name}"].tolist()]
        blocks.append(_block(parameter, np.array([np.nan if place is None else place for place in places])))
    return np.concatenate(blocks, axis=1).astype(np.float32)


def _block(parameter: Varied, places: Array) -> Array:
    """Columns of one parameter; NaN is "not used"."""
    if parameter.ordered:
        return np.where(np.isnan(places), -1.0, places)[:, None]
    indices = np.round(places * max(len(parameter.levels) - 1, 1))
    return (indices[:, None] == np.arange(len(parameter.levels))[None, :]).astype(float)


def _points(parameter: Varied) -> Array:
    return np.array([*parameter.points, *([np.nan] if parameter.absent else [])])


def _weights(parameter: Varied) -> Array:
    points = len(parameter.points)
    shares = np.full(points, (1 - parameter.absent) / points)
    return np.append(shares, parameter.absent) if parameter.absent else shares


def _asked(parameters: Sequence[Varied]) -> dict[str, Array]:
    """For each parameter, (background x points) settings: the others even over what was searched (Sobol' points)."""
    even = qmc.Sobol(len(parameters), scramble=False).random(BACKGROUND) + 0.5 / BACKGROUND
    background = [_block(one, _spread(one, even[:, index])) for index, one in enumerate(parameters)]
    asked = {}
    for index, parameter in enumerate(parameters):
        points = _points(parameter)
        blocks = [np.repeat(block, len(points), axis=0) for block in background]
        blocks[index] = np.tile(_block(parameter, points), (BACKGROUND, 1))
        asked[parameter.name] = np.concatenate(blocks, axis=1)
    return asked


def _spread(parameter: Varied, even: Array) -> Array:
    """Even numbers in [0, 1) as places of a parameter, each as often as its weight says."""
    places = (even - parameter.absent) / (1 - parameter.absent)
    if parameter.scale == "levels":
        count = len(parameter.levels)
        places = np.floor(places * count).clip(max=count - 1) / max(count - 1, 1)
    return np.where(even < parameter.absent, np.nan, places)


def _runs(rows: pd.DataFrame, parameters: Sequence[Varied]) -> NDArray[np.int_]:
    """A number for each trial, the same for trials that differ in epochs alone.

    They may be one run that was measured twice (`search.snapshots`): a bag sees all of them or none, or else it would
    be asked about what it has seen.
    """
    columns = [rows[f"param_{one.name}"].tolist() for one in parameters if one.name != "epochs"]
    if not columns:
        return np.arange(len(rows))
    numbers: dict[tuple[str, ...], int] = {}
    codes = [numbers.setdefault(tuple(map(str, key)), len(numbers)) for key in zip(*columns, strict=True)]
    return np.array(codes) if len(numbers) >= LEAST_TRIALS else np.arange(len(rows))
