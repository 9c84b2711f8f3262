"""How one method's front stands to another's: what it covers of it, and how surely it encloses more."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neglora.objectives import METRICS, Direction
from neglora.record import Record
from neglora.seeds import derive_seed
from study.pareto import Points, hypervolume, reference_point
from study.recommend import front_rows
from study.shown import shown

#: Up to so many replicates every resample is taken with its weight: 126 of 5. Of more, some are drawn.
EXACT = 5
DRAWS = 200


def coverage(first: Points, second: Points, directions: Sequence[Direction]) -> float | None:
    """C(A, B): the share of B's points that some point of A is at least as good as, in every objective.

    C(A, B) and C(B, A) need not add up to 1: equal fronts cover each other. It describes two fronts; it is no
    probability.

    Args:
        first, second: A and B, (n, d) and (m, d); a point with a value that was not measured covers nothing and is not
            covered.
        directions: "maximize" or "minimize" for every objective.

    Returns:
        A fraction; None where B is empty.

    Source: Zitzler and Thiele 1999, "Multiobjective evolutionary algorithms: a comparative case study and the strength
    Pareto approach", definition of the coverage of two sets.
    """
    if len(second) == 0:
        return None
    if len(first) == 0:
        return 0.0
    signs = np.array([1.0 if direction == "minimize" else -1.0 for direction in directions])
    a, b = (np.array([list(point) for point in points], dtype=float) * signs for points in (first, second))
    return float(np.mean([bool(np.any(np.all(a <= point, axis=1))) for point in b]))


def win_probability(first: Sequence[float], second: Sequence[float]) -> float:
    """How often a value of the first exceeds one of the second, over all pairs; ties count half.

    Args:
        first, second: values of independent repetitions, at least one each.

    Source: Vargha and Delaney 2000, "A critique and improvement of the CL common language effect size statistics": A12.
    """
    pairs = [(a > b) + 0.5 * (a == b) for a in first for b in second]
    return sum(pairs) / len(pairs)


def resamples(count: int, seed: int) -> list[tuple[tuple[int, ...], float]]:
    """How often each of `count` replicates is taken in a resample with replacement, and that resample's probability.

    Up to `EXACT` replicates these are all resamples, so that nothing is random; of more, `DRAWS` equally probable ones.
    """
    if count <= EXACT:
        found = []
        for taken in itertools.combinations_with_replacement(range(count), count):
            counts = tuple(taken.count(index) for index in range(count))
            ways = math.factorial(count) / math.prod(math.factorial(times) for times in counts)
            found.append((counts, ways / count**count))
        return found
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(count, [1 / count] * count, size=DRAWS)
    return [(tuple(int(times) for times in draw), 1 / DRAWS) for draw in draws]


@dataclass(frozen=True)
class Front:
    """One method's front, chosen on the selection half, at the values that are shown (report half).

    Attributes:
        method: its name.
        trials: ids.
        points: (trials, objectives), means over replicates.
        replicates: (replicates, trials, objectives) of the same; as many as all fronts have in common, which may be 0.
    """

    method: str
    trials: tuple[str, ...]
    points: np.ndarray
    replicates: np.ndarray


@dataclass(frozen=True)
class Duel:
    """Two methods' fronts, the one with the larger volume first.

    Attributes:
        first, second: methods.
        volumes: what their fronts enclose (shown values).
        covers: the share of the second's front that the first's covers.
        covered: the share of the first's front that the second's covers.
        ahead: on how many replicates the first encloses more, ties as half; None with fewer than two.
        replicates: how many.
        probability: that the first encloses more when replicates are drawn again; None with fewer than two.
    """

    first: str
    second: str
    volumes: tuple[float, float]
    covers: float
    covered: float
    ahead: float | None
    replicates: int
    probability: float | None


def fronts(table: pd.DataFrame, by_trial: Mapping[str, Record], objectives: Sequence[str]) -> list[Front]:
    """The front over the objectives of every method of one dataset x model; a method without one is left out.

    Args:
        table: rows of `trials_table`.
        by_trial: records in full fidelity.
        objectives: the study's.
    """
    chosen: dict[str, list[Record]] = {}
    for method, rows in table[table["method"] != "retrain"].groupby("method", sort=False):
        records = [by_trial[trial] for trial in front_rows(rows, objectives)["trial"]]
        known = [record for record in records if None not in _point(record.metrics, record.report, objectives)]
        if known:
            chosen[str(method)] = known
    common = _common([record for records in chosen.values() for record in records], objectives)
    return [
        Front(
            method,
            tuple(record.trial for record in records),
            np.array([_point(record.metrics, record.report, objectives) for record in records], dtype=float),
            np.array(
                [[_by_replicate(record, objectives)[key] for record in records] for key in common], dtype=float
            ).reshape(len(common), len(records), len(objectives)),
        )
        for method, records in chosen.items()
    ]


def duels(found: Sequence[Front], objectives: Sequence[str], seed: int) -> list[Duel]:
    """Every pair of fronts, those that enclose most first.

    The probability is a bootstrap: replicates (pairs of a forget set and a seed) are drawn with replacement, the same
    ones for all configurations of both fronts, each configuration takes its mean over them, and the volumes of the two
    fronts are compared; ties count half. What is drawn again are the replicates alone: the configurations on the fronts
    stay, so that what the search might have found otherwise is not in it.

    Args:
        found: of one dataset x model, from `fronts`.
        objectives: the study's.
        seed: of the draws, where there are too many replicates for all resamples.

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife". Differs: replicates that share a seed or a
    forget set are taken as independent, which makes the result somewhat too sure.
    """
    directions: list[Direction] = [METRICS[name].direction for name in objectives]
    reference = reference_point(objectives)

    def volume(points: np.ndarray) -> float:
        return hypervolume(points, reference, directions)

    whole = {front.method: volume(front.points) for front in found}
    count = min((len(front.replicates) for front in found), default=0)
    drawn = resamples(count, seed) if count > 1 else []
    again = {
        front.method: [volume(np.tensordot(np.array(times) / count, front.replicates, 1)) for times, _ in drawn]
        for front in found
    }
    single = {front.method: [volume(points) for points in front.replicates] for front in found}
    made = []
    ordered = sorted(found, key=lambda front: -whole[front.method])
    for a, b in itertools.combinations(ordered, 2):
        probability = ahead = None
        if drawn:
            pairs = zip(again[a.method], again[b.method], drawn, strict=True)
            probability = math.fsum(weight * _beats(one, other) for one, other, (_, weight) in pairs)
            ahead = math.fsum(map(_beats, single[a.method], single[b.method]))
        covers, covered = coverage(a.points, b.points, directions), coverage(b.points, a.points, directions)
        volumes = (whole[a.method], whole[b.method])
        made.append(Duel(a.method, b.method, volumes, covers or 0.0, covered or 0.0, ahead, count, probability))
    return made


def draw_seed(root: int, dataset: str, model: str) -> int:
    """The seed of a group's resamples."""
    return derive_seed(root, "dominance", dataset, model)


def _beats(first: float, second: float) -> float:
    # The same points summed in another order are no difference.
    if math.isclose(first, second, rel_tol=1e-12):
        return 0.5
    return float(first > second)


def _point(metrics: Mapping[str, Any], report: Mapping[str, Any], objectives: Sequence[str]) -> list[float | None]:
    return [shown(metrics, report, name) for name in objectives]


def _by_replicate(record: Record, objectives: Sequence[str]) -> dict[str, list[float | None]]:
    """The values of each replicate by forget set and seed, where all were measured."""
    found = {}
    for item in record.replicates:
        point = _point(item.get("metrics") or {}, item.get("report") or {}, objectives)
        if None not in point:
            found[json.dumps([item.get("forget"), item.get("seed")], sort_keys=True)] = point
    return found


def _common(records: Sequence[Record], objectives: Sequence[str]) -> list[str]:
    """The replicates that every record has, in the order of the first."""
    known = [_by_replicate(record, objectives) for record in records]
    return [key for key in known[0] if all(key in other for other in known)] if known else []
