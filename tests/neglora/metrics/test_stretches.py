import numpy as np
import pytest

from neglora.metrics.stretches import DECIMALS, stretches

ASKED = [
    (lambda values: values < 0.3, [(0.0, 0.3)]),
    (lambda values: values >= 0.123456, [(0.123456, 1.0)]),
    (lambda values: np.cos(3 * np.pi * values) > 0, [(0.0, 1 / 6), (0.5, 5 / 6)]),
    (lambda values: abs(values - 0.777777) < 0.01, [(0.767777, 0.787777)]),
    (lambda values: values == values, [(0.0, 1.0)]),
    (lambda values: values != values, []),
    (lambda values: values > 1 - 1e-9, [(1.0, 1.0)]),
]


@pytest.mark.parametrize(("holds", "expected"), ASKED)
def test_stretches_are_where_it_holds(holds, expected):
    found = stretches(holds, 0.0, 1.0)
    assert len(found) == len(expected)
    for ends, known in zip(found, expected, strict=True):
        assert ends == pytest.approx(known, abs=10.0**-DECIMALS)


def test_other_ends():
    assert stretches(lambda values: values > 2, -3.0, 5.0) == [(pytest.approx(2, abs=1e-6), 5.0)]
