"""A support vector machine with a Gaussian kernel on one dimension, in a dozen features instead of n x n kernel values.

On a short interval exp(-(x - y)^2) is the product of a few polynomials:

    exp(-(x - y)^2) = sum over j of phi_j(x) phi_j(y),   phi_j(x) = exp(-x^2) sqrt(2^j / j!) x^j

On confidences, with x measured from the middle of [0, 1], what is left out after 13 terms is below 1e-12. In these
features the machine is linear, its matrices are 13 x 13, and an interior-point method finds in some 15 steps the
optimum that LIBSVM's pairwise steps approach.

Source: the expansion, Steinwart et al. 2006, "An explicit description of the reproducing kernel Hilbert spaces of
Gaussian RBF kernels"; the method, Ferris and Munson 2002, "Interior-point methods for massive support vector
machines", with Mehrotra's predictor and corrector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

Floats = NDArray[numpy.float64]

#: What the terms left out may add to a kernel value.
LEFT_OUT = 1e-13
#: More terms than these are slower than the kernel itself: intervals longer than about 7.
MOST_TERMS = 64
#: The duality gap that ends the fit, as a share of the objective without any attack, and the most steps to it.
GAP = 1e-9
MOST_STEPS = 100


@dataclass(frozen=True)
class Expansion:
    """The kernel's features on an interval.

    Attributes:
        centre: the middle of the interval.
        terms: how many features.
    """

    centre: float
    terms: int

    def __call__(self, values: Floats) -> Floats:
        """Features `[n, terms]` of values `[n]` of the interval; a dot product of two rows is their kernel value."""
        x = values[:, None] - self.centre
        steps = numpy.sqrt(2.0 / numpy.arange(1, self.terms))
        return numpy.cumprod(numpy.hstack([numpy.exp(-x * x), x * steps]), axis=1)


def expansion(*values: Floats) -> Expansion | None:
    """The expansion for an interval that holds all values; None where it would be longer than the kernel is slow."""
    low, high = min(float(part.min()) for part in values), max(float(part.max()) for part in values)
    half = (high - low) / 2
    terms, left = 1, 1.0
    while left > LEFT_OUT:
        left *= 2 * half * half / terms
        terms += 1
        if terms > MOST_TERMS:
            return None
    return Expansion((low + high) / 2, terms)


def fit(features: Floats, signs: Floats, limits: Floats) -> tuple[Floats, Floats] | None:
    """Fit several machines that differ in the weights of their points.

    Args:
        features: `[n, terms]`.
        signs: `[n]`, 1 or -1; both occur.
        limits: `[machines, n]`, C times a point's weight, above 0.

    Returns:
        Weights `[machines, terms]` and intercepts `[machines]`. Where an interval of intercepts is equally good, its
        middle, as LIBSVM has it. None if the gap does not close within `MOST_STEPS`: seen only with two or three
        points on a side against hundreds.
    """
    rows = numpy.hstack([features, numpy.ones((len(signs), 1))]) * signs[:, None]
    penalty = numpy.ones(rows.shape[1])
    penalty[-1] = 0.0  # the intercept is free
    total = limits.sum(1)
    solution = numpy.zeros((len(limits), rows.shape[1]))
    point = Point(limits / 2, limits / 2, numpy.ones_like(limits), numpy.full_like(limits, 2.0))
    for _ in range(MOST_STEPS):
        # Sought: solution = alpha rows, slack - miss = rows solution - 1, alpha slack = room miss = 0. The second holds
        # from the start, the others at the end.
        alpha, room, slack, miss = point
        gap, residual = _gap(point), alpha @ rows - penalty * solution
        done = (gap <= GAP * total) & (abs(residual).max(1) <= GAP * total)
        if done.all():
            return solution[:, :-1], _intercepts(features @ solution[:, :-1].T, signs, limits)
        inverse = 1.0 / (miss / room + slack / alpha)
        newton = Newton(rows, residual, inverse, numpy.matmul(rows.T, inverse[:, :, None] * rows) + numpy.diag(penalty))
        _, move = _step(newton, point, -alpha * slack, -room * miss)
        far = _reach(point, move)
        # Each point gets its weight's share, as if it were so many points of weight 1.
        aim = ((_gap(_moved(point, far, move)) / gap) ** 3 * gap / (2 * total))[:, None] * limits
        # Corrected for as far as the predictor can go: in full it may send the steps round in circles.
        change, move = _step(
            newton,
            point,
            aim - alpha * slack - far**2 * move.alpha * move.slack,
            aim - room * miss - far**2 * move.room * move.miss,
        )
        # Machines that are done stand still until the others are, rather than run out of digits.
        far = numpy.where(done[:, None], 0.0, 0.995 * _reach(point, move))
        solution, point = solution + far * change, _moved(point, far, move)
    return None


class Point(NamedTuple):
    """Where a fit is, `[machines, n]` each and above 0, or a move from there.

    Attributes:
        alpha, room: a point's multiplier, and what its limit leaves.
        slack, miss: by how much it lies beyond its margin, and short of it.
    """

    alpha: Floats
    room: Floats
    slack: Floats
    miss: Floats


class Newton(NamedTuple):
    """Newton's equations at a point, with all but the solution's change eliminated."""

    rows: Floats
    residual: Floats
    inverse: Floats
    matrix: Floats


def _step(newton: Newton, point: Point, on_slack: Floats, on_miss: Floats) -> tuple[Floats, Point]:
    """The change of the solution, and the move, that add so much to alpha slack and to room miss."""
    rows, residual, inverse, matrix = newton
    alpha, room, slack, miss = point
    pull = inverse * (on_slack / alpha - on_miss / room)
    change = numpy.linalg.solve(matrix, (residual + pull @ rows)[:, :, None])[:, :, 0].astype(numpy.float64)
    more = pull - inverse * (change @ rows.T)
    return change, Point(more, -more, (on_slack - slack * more) / alpha, (on_miss + miss * more) / room)


def _reach(point: Point, move: Point) -> Floats:
    """What share of a move, at most 1, keeps everything above 0: `[machines, 1]`."""
    used = [(-part / value).max(1) for part, value in zip(move, point, strict=True)]
    return 1.0 / numpy.maximum(1.0, numpy.max(used, axis=0))[:, None]


def _moved(point: Point, far: Floats, move: Point) -> Point:
    return Point(*(value + far * part for value, part in zip(point, move, strict=True)))


def _gap(point: Point) -> Floats:
    return (point.alpha * point.slack + point.room * point.miss).sum(1)


def _intercepts(values: Floats, signs: Floats, limits: Floats) -> Floats:
    """The best intercepts for values `[n, machines]` of the rest: the weighted medians of `signs - values`.

    Each point bends the loss at the intercept that puts it on its margin, by its weight.
    """
    bends = signs[:, None] - values
    order = bends.argsort(axis=0, kind="stable")
    bends = numpy.take_along_axis(bends, order, axis=0)
    reached = numpy.take_along_axis(limits.T, order, axis=0).cumsum(axis=0)
    needed = limits[:, signs > 0].sum(1)
    machines = numpy.arange(len(limits))
    first = (reached >= needed).argmax(axis=0)
    following = numpy.minimum(first + 1, len(signs) - 1)
    last = numpy.where(reached[first, machines] == needed, following, first)
    return (bends[first, machines] + bends[last, machines]) / 2
