"""What was varied, and on which scale."""

import numpy as np
import pytest
from answering import rows_of

from study.varied import Varied, settings_of, varied

SPACE = {
    "axes": {"sparsity": [0.0, 0.9]},
    "methods": {"neglora": {"lr": {"log": [1e-4, 1e-2]}, "rank": [2, 4, 8], "dropout": {"uniform": [0.0, 0.5]}}},
    "overrides": [
        {"when": {"model": ["other"]}, "methods": {"neglora": {"rank": [1]}}},
        {"when": {"model": "m", "dataset": "digits"}, "methods": {"neglora": {"targets": ["ffn", ["a", "b"], "attn"]}}},
    ],
}


def one(name, values, space=SPACE):
    (found,) = varied(rows_of({name: values}), space)
    return found


def test_the_spaces_word_decides_about_the_scale():
    assert one("lr", [2e-4, 3e-4, 5e-4]) == Varied("lr", "log", (), 1e-4, 1e-2)
    assert one("dropout", [0.1, 0.2, 0.1]) == Varied("dropout", "linear", (), 0.0, 0.5)
    assert one("rank", [8, 2, 8]) == Varied("rank", "levels", (2, 8), 0.0, 1.0)
    # Choices stand as they are listed; a list of modules is JSON in tables.
    assert one("targets", ["attn", '["a", "b"]', "ffn"]).levels == ("ffn", '["a", "b"]', "attn")


def test_settings_are_those_of_axes_methods_and_matching_overrides():
    own = settings_of(SPACE, "digits", "m", "neglora")
    assert own["sparsity"] == [0.0, 0.9]
    assert own["rank"] == [2, 4, 8]
    assert own["targets"][0] == "ffn"
    assert settings_of(SPACE, "digits", "other", "neglora")["rank"] == [1]
    assert "lr" not in settings_of(SPACE, "digits", "m", "neggrad")


def test_without_a_word_the_values_decide():
    generator = np.random.default_rng(0)
    assert one("x", 10 ** generator.uniform(-5, -1, 60), {}).scale == "log"
    assert one("x", generator.uniform(0, 1, 60), {}).scale == "linear"
    assert one("x", generator.choice([1, 2, 4], 60), {}).levels == (1, 2, 4)
    assert one("x", ["b", "a"] * 4, {}).levels == ("a", "b")
    assert one("x", [True, False] * 4, {}).ordered is False


def test_what_all_trials_share_did_not_vary_and_what_some_lack_did():
    assert varied(rows_of({"lr": [1e-3] * 4, "rank": [None] * 4}), SPACE) == []
    found = one("lr", [1e-3, 1e-3, None, None])
    assert (found.scale, found.levels, found.absent) == ("levels", (1e-3,), 0.5)
    assert varied(rows_of({"lr": []}), SPACE) == []


def test_places_and_values_are_inverse():
    for parameter in (one("lr", [1e-4, 3e-4]), one("dropout", [0.1, 0.2]), one("rank", [2, 4, 8])):
        for place in parameter.points:
            assert parameter.place(parameter.value(place)) == pytest.approx(place)
    assert one("lr", [1e-4, 2e-4]).place(1e-3) == pytest.approx(0.5)
    assert one("rank", [2, 8]).place(8.0) == 1.0
    assert one("rank", [2, 8]).place(4) is None
    assert one("rank", [2, 8]).place(float("nan")) is None
