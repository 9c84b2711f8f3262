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
    alpha, slack, miss = limits / 2, numpy.ones_like(limits), numpy.full_like(limits, 2.0)
    for _ in range(MOST_STEPS):
        # Conditions: solution = alpha' rows, slack - miss = solution rows' - 1, alpha slack = room miss = 0. The second
        # holds from the start.
        room = limits - alpha
        gap = (alpha * slack).sum(1) + (room * miss).sum(1)
        residual = alpha @ rows - penalty * solution
        done = (gap <= GAP * total) & (abs(residual).max(1) <= GAP * total)
        if done.all():
            return solution[:, :-1], _intercepts(features @ solution[:, :-1].T, signs, limits)
        inverse = 1.0 / (miss / room + slack / alpha)
        matrix = numpy.matmul(rows.T, inverse[:, :, None] * rows) + numpy.diag(penalty)

        def step(on_slack: Floats, on_miss: Floats) -> tuple[Floats, Floats, Floats, Floats]:
            pull = inverse * (on_slack / alpha - on_miss / room)  # noqa: B023
            change = numpy.linalg.solve(matrix, (residual + pull @ rows)[:, :, None])[:, :, 0]  # noqa: B023
            d_alpha = pull - inverse * (change @ rows.T)  # noqa: B023
            d_slack = (on_slack - slack * d_alpha) / alpha  # noqa: B023
            return change, d_alpha, d_slack, (on_miss + miss * d_alpha) / room  # noqa: B023

        def reach(d_alpha: Floats, d_slack: Floats, d_miss: Floats) -> Floats:
            shares = (-d_alpha / alpha, d_alpha / room, -d_slack / slack, -d_miss / miss)  # noqa: B023
            return 1.0 / numpy.maximum(1.0, numpy.max([share.max(1) for share in shares], axis=0))[:, None]

        _, d_alpha, d_slack, d_miss = step(-alpha * slack, -room * miss)
        far = reach(d_alpha, d_slack, d_miss)
        after = ((alpha + far * d_alpha) * (slack + far * d_slack)).sum(1)
        after += ((room - far * d_alpha) * (miss + far * d_miss)).sum(1)
        # Each point gets its weight's share, as if it were so many points of weight 1.
        aim = ((after / gap) ** 3 * gap / (2 * total))[:, None] * limits
        # Corrected for as far as the predictor can go: in full it may send the steps round in circles.
        change, d_alpha, d_slack, d_miss = step(
            aim - alpha * slack - far**2 * d_alpha * d_slack, aim - room * miss + far**2 * d_alpha * d_miss
        )
        # Machines that are done stand still until the others are, rather than run out of digits.
        far = numpy.where(done[:, None], 0.0, 0.995 * reach(d_alpha, d_slack, d_miss))
        solution, alpha = solution + far * change, alpha + far * d_alpha
        slack, miss = slack + far * d_slack, miss + far * d_miss
    return None


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
