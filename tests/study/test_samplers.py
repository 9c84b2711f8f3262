"""Samplers as pure functions: the same told trials and the same seed, the same suggestion."""

from __future__ import annotations

import json
import logging
import warnings
from typing import Any

import numpy as np
import optuna
import pytest
from searched import IDENTITY, MIXED, Cell

from neglora.record import Record, trial_id
from study.samplers import SAMPLERS, ask, population, start_up
from study.told import KnownTrial, known_trial, told_trial

CELL = Cell(MIXED, trials=20)
LEARNING = [name for name, sampler in SAMPLERS.items() if sampler.learns and name != "gp"]


def record(number: int, metrics: dict[str, Any], params: dict[str, Any], noted: dict[str, Any]) -> Record:
    return Record(trial_id(IDENTITY, number), IDENTITY, params, "ok", metrics=metrics, sampler=noted)


def history(count: int, sampler: str = "random") -> list[KnownTrial]:
    dice, trials = np.random.RandomState(0), []
    for number in range(count):
        params, noted = ask(SAMPLERS[sampler], MIXED, ["ua", "ra"], trials, seed=number, budget=20)
        item = record(number, {"ua": dice.rand(), "ra": dice.rand()}, params, noted)
        trials.append(told_trial(Record.from_line(item.to_line()), CELL, ["ua", "ra"], {}))
    return trials


def test_every_sampler_says_what_it_is() -> None:
    assert list(SAMPLERS) == ["tpe", "nsga2", "nsga3", "gp", "random", "grid"]
    assert all(sampler.about and "\n" not in sampler.about for sampler in SAMPLERS.values())


@pytest.mark.parametrize(("budget", "random", "generation"), [(1, 2, 4), (16, 4, 4), (30, 7, 7), (1000, 10, 50)])
def test_populations_and_start_up_fit_the_budget(budget: int, random: int, generation: int) -> None:
    assert (start_up(budget), population(budget)) == (random, generation)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3"])
def test_constraints_reach_the_sampler(sampler: str) -> None:
    def favourite(constraints: Any) -> float:
        """Mean rank that is suggested where ua grows with the rank, and a rank above 4 is forbidden by ra."""
        trials: list[KnownTrial] = []
        for number in range(40):
            params, noted = ask(SAMPLERS[sampler], MIXED, ["ua"], trials, seed=number, budget=20)
            metrics = {"ua": params["rank"] / 16, "ra": 0.9 if params["rank"] <= 4 else 0.1}
            item = record(number, metrics, params, noted)
            trials.append(told_trial(item, CELL, ["ua"], constraints))
        return float(np.mean([trial.params["rank"] for trial in trials[20:]]))

    assert favourite({}) > 8 > favourite({"ra": {"min": 0.5}})


def test_directions_are_the_metrics_own() -> None:
    def favourite(objective: str) -> float:
        trials: list[KnownTrial] = []
        for number in range(40):
            params, _ = ask(SAMPLERS["tpe"], MIXED, [objective], trials, seed=number, budget=20)
            item = record(number, {objective: params["rank"] / 16}, params, {})
            trials.append(told_trial(item, CELL, [objective], {}))
        return float(np.mean([trial.params["rank"] for trial in trials[20:]]))

    assert favourite("ua") > 10
    assert favourite("gap") < 4


@pytest.mark.parametrize("sampler", [*LEARNING, "random"])
def test_the_same_question_has_the_same_answer(sampler: str) -> None:
    trials = history(14, sampler)
    state = np.random.get_state()[1].tolist()
    first = ask(SAMPLERS[sampler], MIXED, ["ua", "ra"], trials, seed=5, budget=20)
    again = ask(SAMPLERS[sampler], MIXED, ["ua", "ra"], history(14, sampler), seed=5, budget=20)
    assert first == again == ask(SAMPLERS[sampler], MIXED, ["ua", "ra"], trials, seed=5, budget=20)
    assert first != ask(SAMPLERS[sampler], MIXED, ["ua", "ra"], trials, seed=6, budget=20)
    assert np.random.get_state()[1].tolist() == state


@pytest.mark.parametrize("sampler", [*LEARNING, "random"])
def test_what_is_noted_survives_json(sampler: str) -> None:
    for trial in history(12, sampler):
        noted = dict(trial.system_attrs)
        assert json.loads(json.dumps(noted, allow_nan=False)) == noted
        assert not any("relative_params" in key for key in noted)


@pytest.mark.parametrize(("sampler", "name"), [("nsga2", "NSGAIISampler"), ("nsga3", "NSGAIIISampler")])
def test_generations_go_on_across_scratch_studies(sampler: str, name: str) -> None:
    generations = [trial.system_attrs[f"{name}:generation"] for trial in history(15, sampler)]
    assert generations == [number // 5 for number in range(15)]
    without = [known_trial(t.params, {}, t.state, {}) for t in history(10, sampler)]
    _, noted = ask(SAMPLERS[sampler], MIXED, ["ua", "ra"], without, seed=0, budget=20)
    assert noted[f"{name}:generation"] == 0


def test_a_running_trial_is_kept_away_from() -> None:
    """What runs is counted as bad until it is known: the same question has another answer."""
    trials = history(14)
    alone, _ = ask(SAMPLERS["tpe"], MIXED, ["ua", "ra"], trials, seed=1, budget=20)
    running = [known_trial(alone, MIXED, optuna.trial.TrialState.RUNNING, {})] * 3
    assert ask(SAMPLERS["tpe"], MIXED, ["ua", "ra"], trials + running, seed=1, budget=20)[0] != alone


def test_a_grid_cannot_be_asked() -> None:
    with pytest.raises(ValueError, match="enumerates"):
        ask(SAMPLERS["grid"], MIXED, ["ua"], [], seed=0, budget=4)


def test_optuna_is_quiet_only_while_asked(capfd: pytest.CaptureFixture[str]) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask(SAMPLERS["nsga3"], MIXED, ["ua"], [], seed=0, budget=4)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == logging.INFO
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        optuna.samplers.NSGAIIISampler()
