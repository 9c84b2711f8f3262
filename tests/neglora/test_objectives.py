import math

import pytest

from neglora.objectives import GAP_METRICS, METRICS, TOW_METRICS, gap_to_reference, oriented, tug_of_war

UP = {"ua", "ra", "ta", "mia", "ua_test", "tow", "speedup"}
DOWN = {"runner_up", "gap", "relearn", "probe", "rte", "rte_epoch"}

VALUES = {"ua": 1.0, "ra": 0.9, "ta": 0.8, "mia": 0.5}
REFERENCE = {"ua": 0.9, "ra": 1.0, "ta": 0.95, "mia": 0.7}


def test_every_metric_has_its_direction():
    assert {name for name, metric in METRICS.items() if metric.direction == "maximize"} == UP
    assert {name for name, metric in METRICS.items() if metric.direction == "minimize"} == DOWN


def test_every_metric_says_what_it_is():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.label
        assert metric.about
    assert {name for name, metric in METRICS.items() if metric.timed} == {"rte", "rte_epoch", "speedup"}
    assert {name for name, metric in METRICS.items() if metric.unit == "ratio"} == {"rte", "rte_epoch", "speedup"}


@pytest.mark.parametrize("name", sorted(UP))
def test_oriented_turns_what_is_maximized(name):
    assert oriented(name, 0.25) == -0.25


@pytest.mark.parametrize("name", sorted(DOWN))
def test_oriented_keeps_what_is_minimized(name):
    assert oriented(name, 0.25) == 0.25


def test_gap_by_hand():
    assert gap_to_reference(VALUES, REFERENCE) == pytest.approx((0.1 + 0.1 + 0.15 + 0.2) / 4)


def test_tug_of_war_by_hand():
    assert tug_of_war(VALUES, REFERENCE) == pytest.approx(0.9 * 0.9 * 0.85)


def test_at_the_reference_nothing_is_missing():
    assert gap_to_reference(REFERENCE, REFERENCE) == 0.0
    assert tug_of_war(REFERENCE, REFERENCE) == 1.0


def test_distances_are_symmetric():
    assert gap_to_reference(VALUES, REFERENCE) == gap_to_reference(REFERENCE, VALUES)
    assert math.isclose(tug_of_war(VALUES, REFERENCE), tug_of_war(REFERENCE, VALUES))


@pytest.mark.parametrize("name", GAP_METRICS)
@pytest.mark.parametrize("unmeasured", [lambda v, n: v | {n: None}, lambda v, n: {k: v[k] for k in v if k != n}])
def test_what_was_not_measured_gives_no_distance(name, unmeasured):
    assert gap_to_reference(unmeasured(VALUES, name), REFERENCE) is None
    assert gap_to_reference(VALUES, unmeasured(REFERENCE, name)) is None
    expected_tow = None if name in TOW_METRICS else pytest.approx(0.9 * 0.9 * 0.85)
    assert tug_of_war(unmeasured(VALUES, name), REFERENCE) == expected_tow
