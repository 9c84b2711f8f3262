"""Optuna's samplers as pure functions: the same told trials and the same seed give the same suggestion.

Optuna keeps the state of a search in a study and in sampler objects. Here both are made for one question and thrown
away: a scratch study in memory gets the told trials, a fresh seeded sampler is asked, and what it noted (NSGA's
generations and parents) goes into the trial's record, from where the next scratch study has it again. Nothing has to be
saved beside the ledger, and no Optuna trial is ever left running.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler

from neglora.objectives import METRICS
from neglora.record import Record
from study.dimensions import Dimension
from study.suggestions import SearchedCell
from study.told import Constraints, KnownTrial, decode, distribution, searched_records, told_trial


@dataclass(frozen=True)
class Sampler:
    """A way to choose the next configuration.

    Attributes:
        about: one sentence for `neglora list`.
        make: the Optuna sampler for (seed, budget of the cell); None where configurations are enumerated.
        learns: suggestions depend on told trials, so that trial n has to wait for trials 0..n-batch.
    """

    about: str
    make: Callable[[int, int], BaseSampler] | None
    learns: bool = True


def start_up(budget: int) -> int:
    """Random trials before a model is trusted: a quarter of the budget, 2 at least, Optuna's own 10 at most."""
    return min(10, max(2, budget // 4))


def population(budget: int) -> int:
    """Trials in a generation: a quarter of the budget, 4 at least, Optuna's own 50 at most."""
    return min(50, max(4, budget // 4))


SAMPLERS: dict[str, Sampler] = {
    "tpe": Sampler(
        "tree-structured Parzen estimators: learns from few trials, any objectives; the default",
        lambda seed, budget: TPESampler(seed=seed, n_startup_trials=start_up(budget)),
    ),
    "nsga2": Sampler(
        "genetic search by non-domination and crowding, for two or three objectives and larger budgets",
        lambda seed, budget: NSGAIISampler(seed=seed, population_size=population(budget)),
    ),
    "nsga3": Sampler(
        "genetic search by reference points, for four and more objectives and larger budgets",
        lambda seed, budget: NSGAIIISampler(seed=seed, population_size=population(budget)),
    ),
    "gp": Sampler(
        "Gaussian processes: most from each trial, seconds per suggestion",
        lambda seed, budget: GPSampler(seed=seed, n_startup_trials=start_up(budget), warn_independent_sampling=False),
    ),
    "random": Sampler(
        "independent draws: the honest baseline, waits for nothing",
        lambda seed, budget: RandomSampler(seed=seed),
        learns=False,
    ),
    "grid": Sampler("every combination of lists, in a seeded order, waits for nothing", None, learns=False),
}

#: Marks what a sampler noted about the study rather than about the trial that was asked for.
OF_STUDY = "study:"
#: What samplers share with other processes while a trial runs; it says nothing once the parameters are known.
_WHILE_RUNNING = ":relative_params:"


def ask(
    sampler: Sampler,
    dimensions: Mapping[str, Dimension],
    objectives: Sequence[str],
    trials: Sequence[KnownTrial],
    *,
    seed: int,
    budget: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask a fresh sampler for one configuration.

    Args:
        sampler: one that `make`s an Optuna sampler.
        dimensions: what is searched.
        objectives: names of metrics; directions are theirs.
        trials: trials 0..m of the cell in order: the told ones, then those that count as running.
        seed: the only source of randomness.
        budget: trials of the cell, which populations and start-up trials are fitted to.

    Returns:
        The configuration, values in the space's own types, and what the sampler noted, JSON-able.
    """
    if sampler.make is None:
        raise ValueError(f"this sampler enumerates and cannot be asked: {sampler.about}")
    with quiet():
        study = _study(objectives, trials, sampler.make(seed, budget))
        storage = study._storage
        before = dict(storage.get_study_system_attrs(study._study_id))
        trial = study.ask({name: distribution(dimension) for name, dimension in dimensions.items()})
        asked = study.get_trials(deepcopy=False)[-1]
        after = storage.get_study_system_attrs(study._study_id)
    noted = {key: value for key, value in asked.system_attrs.items() if _WHILE_RUNNING not in key}
    noted |= {OF_STUDY + key: value for key, value in after.items() if key not in before}
    return {name: decode(dimension, trial.params[name]) for name, dimension in dimensions.items()}, noted


def optuna_study(
    cell: SearchedCell, records: Iterable[Record], *, objectives: Sequence[str], constraints: Constraints
) -> optuna.Study:
    """The whole Optuna study of a cell, in the order of its trials' numbers; COMPLETE and FAIL are its only states.

    The user attribute `trial` of each of its trials is the record's id: Optuna's own numbers leave no gap.
    """
    own = searched_records(cell.id, records)
    with quiet():
        return _study(objectives, [told_trial(record, cell, objectives, constraints) for record in own])


def _study(objectives: Sequence[str], trials: Sequence[KnownTrial], sampler: BaseSampler | None = None) -> optuna.Study:
    # A storage of its own numbers trials from 0, so that trial ids, which NSGA notes as parents, are trial numbers.
    storage = optuna.storages.InMemoryStorage()
    directions = [METRICS[name].direction for name in objectives]
    study = optuna.create_study(storage=storage, sampler=sampler, directions=directions)
    for trial in trials:
        storage.create_new_trial(study._study_id, trial)
        for key, value in trial.system_attrs.items():
            if key.startswith(OF_STUDY):
                storage.set_study_system_attr(study._study_id, key.removeprefix(OF_STUDY), value)
    return study


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its log lines and its warnings about experimental classes, in this block only."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
