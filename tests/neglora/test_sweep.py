"""Which scales are looked at, and the dial of a trial: the same every time, its ends and its record on it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest

from neglora.dial import Dial, Point
from neglora.kept import adapter_file, kept_adapter
from neglora.line import line_of
from neglora.prerequisites import base_of, retrain_of
from neglora.sweep import CHANGE, along, change, sweep
from neglora.trial import run_trial
from tests.neglora.conftest import FORGET, FORGET_SET
from tests.neglora.tasks import task

CLOCKS = ("seconds", "provenance")


def looked(measured, points=33, always=1.0):
    return along(measured, lambda one, other: abs(one - other), points=points, always=always)


@pytest.mark.parametrize(
    ("points", "steps"), [(3, 1), (4, 1), (5, 2), (9, 4), (16, 4), (17, 8), (32, 8), (33, 16), (1000, 16)]
)
def test_it_begins_with_an_even_grid_and_what_is_always_there(points, steps):
    found, unsettled = looked(lambda scale: 0.0, points, always=0.3)
    assert list(found) == sorted({*(step / steps for step in range(steps + 1)), 0.3})
    assert len(found) <= points
    assert unsettled == 0


def test_it_looks_closely_where_something_changes():
    def jump(scale):
        return float(scale >= 0.3)

    found, unsettled = looked(jump)
    scales = list(found)
    assert unsettled == 0
    assert len(found) == 17 + 4
    above = next(scale for scale in scales if jump(scale))
    assert above == math.ceil(0.3 * 256) / 256
    assert scales[scales.index(above) - 1] == above - 1 / 256


def test_it_stops_when_nothing_changes_much_or_the_points_are_used_up():
    found, unsettled = looked(lambda scale: min(1.0, 8 * scale), 1000)
    values = list(found.values())
    assert unsettled == 0
    assert max(high - low for low, high in pairwise(values)) <= max(CHANGE, 8 / 256)
    for points in (20, 33):
        found, unsettled = looked(lambda scale: min(1.0, 8 * scale), points)
        assert len(found) == points
        assert unsettled > 0


def test_scales_that_are_not_on_the_grid_are_no_endless_loop():
    found, unsettled = looked(lambda scale: float(scale > 0.30001), 1000, always=0.30001)
    assert unsettled == 0
    assert 0.30001 in found


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="at least 3 points, asked for 2"):
        looked(lambda scale: 0.0, 2)


def test_a_change_is_the_greatest_on_either_half():
    values = {"ua": 0.5, "ra": 0.5, "ta": 0.5, "mia": 0.5, "runner_up": 0.0}
    point = Point(0.0, values, values)
    assert change(point, Point(0.1, values | {"runner_up": 1.0}, values)) == 0
    assert change(point, Point(0.1, values, values | {"ta": 0.4})) == pytest.approx(0.1)
    assert change(point, Point(0.1, values | {"mia": 0.7}, values | {"ta": 0.4})) == pytest.approx(0.2)
    assert change(point, Point(0.1, {}, {})) == math.inf
    assert change(Point(0.0, {}, {}), Point(0.1, {}, {})) == 0


@pytest.mark.parametrize("method", ["neglora", "partial_neggrad"])
def test_the_dial_of_a_trial(session, setting, tmp_path, method):
    own = {"lr": 1e-2, "rank": 4, "targets": "last.conv+head"} if method == "neglora" else {"lr": 1e-3}
    plan = replace(task(setting, method, retract=0.9, **own), keep=str(tmp_path))
    record = run_trial(session, plan)
    [replicate] = record.replicates
    adapter = kept_adapter(adapter_file(tmp_path, record.trial, FORGET, 0))
    told, dials = [], []
    for _ in range(2):
        line = line_of(session, setting, method, record.params, replicate, adapter)
        dials.append(sweep(session, line, replicate, trial=record.trial, points=7, on_point=told.append))
    dial = dials[0]
    assert [point.scale for point in told[:7]] != sorted(point.scale for point in told[:7]), "coarse, then fine"
    assert sorted(told[:7], key=lambda point: point.scale) == list(dial.points)
    plain, again = ({name: value for name, value in one.as_plain().items() if name not in CLOCKS} for one in dials)
    assert plain == again
    assert Dial.of(json.loads(json.dumps(dial.as_plain(), allow_nan=False))) == dial
    assert (dial.trial, dial.method, dial.forget, dial.seed) == (record.trial, method, FORGET, 0)
    assert (dial.points[0].scale, dial.points[-1].scale, dial.evaluations) == (0, 1, 7)
    assert dial.recorded == replicate["details"]["retraction"]["scale"]
    assert dial.from_kept == (method == "neglora")
    at = dial.at(dial.recorded)
    for half, values in (("metrics", at.metrics), ("report", at.report)):
        assert values["gap"] is not None
        assert {name: replicate[half][name] for name in values} == values
    retrained = session.evaluation(session.get(retrain_of(setting, 0, FORGET_SET)), setting, FORGET_SET, 0)
    assert dial.retrain == {"metrics": retrained.metrics, "report": retrained.report}
    base = session.evaluation(session.get(base_of(setting, 0, 0.0)), setting, FORGET_SET, 0)
    assert {name: dial.points[0].report[name] for name in base.report} == base.report
    assert dial.counts == base.details["counts"]
    assert dial.provenance["device"] == "cpu"


def test_without_retrain_there_is_no_gap(session, setting):
    line_params = task(setting, lr=1e-2, rank=4, targets="last.conv+head").params
    replicate = {"forget": 5, "seed": 0, "details": {}}
    line = line_of(session, setting, "neglora", line_params, replicate, None)
    dial = sweep(session, line, replicate, trial="x-0000", points=3)
    assert dial.retrain is None
    assert dial.nearest is None
    assert [point.metrics["gap"] for point in dial.points] == [None, None, None]
    assert dial.recorded == 1
