"""The course of a metric over one setting, against the functions that made it."""

import numpy as np
import pytest
from answering import measured, rows_of, uniform

from study.effects import effect
from study.response import fit
from study.varied import varied


def effects_of(settings, values, space=None):
    rows = rows_of(settings)
    metric = measured(rows, gap=values)
    response = fit(rows, space or {}, ("gap",), metric)
    return {
        one.name: effect(one, rows, metric["gap"], None if isinstance(response, str) else response)
        for one in varied(rows, space or {})
    }


def test_the_course_is_the_mean_over_the_other_settings():
    """a * b over the unit square: over a alone it is a / 2."""
    settings = uniform(400, "ab")
    own = effects_of(settings, settings["a"] * settings["b"])["a"]
    assert len(own.values) == len(own.course) == 12
    assert own.course == pytest.approx([value / 2 for value in own.values], abs=0.04)
    assert all(low <= middle <= high for low, middle, high in zip(own.low, own.course, own.high, strict=True))


def test_choices_have_a_value_for_each_level():
    generator = np.random.default_rng(0)
    targets, lr = generator.choice(["ffn", "attn", "head"], 120), generator.random(120)
    own = effects_of({"targets": targets, "lr": lr}, (targets == "attn") * 0.3 + 0.1 * lr)["targets"]
    assert own.values == ("attn", "ffn", "head")
    assert own.course == pytest.approx([0.35, 0.05, 0.05], abs=0.02)


def test_trials_without_the_setting_have_a_value_of_their_own():
    has = np.arange(60) % 3 > 0
    lr = [0.01 + 0.01 * index if own else None for index, own in enumerate(has)]
    other = uniform(60, "x")["x"]
    own = effects_of({"lr": lr, "x": other}, np.where(has, 0.1, 0.4) + 1e-3 * other)["lr"]
    assert own.values[-1] is None
    assert own.course[-1] == pytest.approx(0.4, abs=0.03)
    assert [point.value is None for point in own.points] == [not one for one in has]


def test_without_a_forest_there_are_points_alone():
    own = effects_of({"lr": [1e-3, 2e-3, 3e-3]}, [0.3, np.nan, 0.1])["lr"]
    assert [(point.trial, point.value, point.y) for point in own.points] == [("t0000", 1e-3, 0.3), ("t0002", 3e-3, 0.1)]
    assert own.course == own.values == ()
