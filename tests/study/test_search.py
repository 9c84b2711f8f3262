"""The search over one cell: the same trials whoever runs them, in whatever order, killed or not."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from searched import IDENTITY, LISTS, MIXED, Cell

from neglora.record import Record, configuration_key, trial_id
from study.dimensions import Choice, Range, size_of
from study.samplers import SAMPLERS, optuna_study
from study.search import CellSearch
from study.suggestions import Finished, SearchError, Suggestion, Waiting

BUDGETS = {"tpe": 18, "nsga2": 26, "nsga3": 26, "gp": 5, "random": 20, "grid": 12}


def run_trial(suggestion: Suggestion) -> Record:
    """A trial as a worker would run it: an outcome that follows from the configuration alone, divergence included."""
    params = suggestion.params
    step = math.log10(params.get("lr", 2e-3)) + math.log2(params["rank"]) / 4 + 0.3 * params["epochs"] + 2.5
    ua = 1 / (1 + math.exp(-4 * step))
    ra = 1 / (1 + math.exp(5 * (step - 0.8)))
    metrics = {"ua": ua, "ra": ra, "ta": 0.97 * ra, "mia": round(ua, 2), "gap": abs(1 - ua) + abs(1 - ra)}
    status = "diverged" if step > 1.1 else "failed" if params["rank"] == 8 and params["epochs"] == 1 else "ok"
    return Record(
        trial=trial_id(IDENTITY, suggestion.number),
        cell=IDENTITY,
        params=params,
        status=status,
        reason=None if status == "ok" else "the synthetic objective says so",
        metrics=metrics if status == "ok" else {},
        sampler=suggestion.system_attrs,
    )


def make_search(cell: Cell, sampler: str, **options: Any) -> CellSearch:
    objectives = options.pop("objectives", ["gap"] if sampler == "gp" else ["ua", "ra", "ta", "mia"])
    options = {"constraints": {}, "seed": 7, "batch": 3} | options
    return CellSearch(cell, sampler=sampler, objectives=objectives, **options)


def trials_of(suggestion: Suggestion) -> list[Suggestion]:
    """The trials of a run; those that it passes through are what it would be after fewer epochs."""
    epochs = [passed.params["epochs"] for passed in suggestion.passing]
    assert epochs == sorted(set(epochs))
    for passed in suggestion.passing:
        assert not passed.passing
        assert passed.params["epochs"] < suggestion.params["epochs"]
        assert passed.params | {"epochs": suggestion.params["epochs"]} == suggestion.params
    return [*suggestion.passing, suggestion]


def simulate(
    make: Callable[[], CellSearch], *, workers: int, chaos: int = 0, kills: float = 0.0
) -> dict[int, dict[str, Any]]:
    """Run a search to its end with workers that finish in random order; returns the trials that the ledger holds.

    After a kill the searcher and everything in flight are gone, and the lines of the ledger are all there is. A run
    writes the lines of its trials one after the other, in any order, and may be killed between them.
    """
    dice = random.Random(chaos)
    search, ledger, flying = make(), [], []
    while True:
        while len(flying) < workers and isinstance(suggestion := search.suggest(), Suggestion):
            flying.append(suggestion)
        if not flying:
            assert isinstance(search.suggest(), Finished)
            break
        run = trials_of(flying.pop(dice.randrange(len(flying))))
        for trial in dice.sample(run, len(run)):
            ledger.append(run_trial(trial).to_line())
            search.tell(Record.from_line(ledger[-1]))
            if dice.random() < kills:
                search, flying = make(), []
                search.restore(Record.from_line(line) for line in dice.sample(ledger, len(ledger)))
                break
            if dice.random() < kills:
                search = pickle.loads(pickle.dumps(search))
    assert search.done
    assert search.counts.ended == len(ledger)
    trials = {record.number: record.params for record in map(Record.from_line, ledger)}
    assert len(trials) == len(ledger)
    return dict(sorted(trials.items()))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_neither_workers_nor_order_nor_kills_change_a_trial(sampler: str) -> None:
    assert set(BUDGETS) == set(SAMPLERS)
    cell = Cell(LISTS if sampler == "grid" else MIXED, trials=BUDGETS[sampler])

    def make() -> CellSearch:
        return make_search(cell, sampler, batch=2 if sampler == "gp" else 3)

    alone = simulate(make, workers=1)
    assert list(alone) == list(range(cell.trials))
    assert len({configuration_key(params) for params in alone.values()}) == cell.trials
    if SAMPLERS[sampler].learns:  # Its first trials are random; its last ones must not be.
        assert alone != simulate(lambda: make_search(cell, "random"), workers=1)
    chaotic = [simulate(make, workers=5, chaos=1, kills=0.3)]
    if sampler != "gp":  # It takes about a second per suggestion.
        chaotic += [simulate(make, workers=2, chaos=2)]
        chaotic += [simulate(make, workers=5, chaos=chaos, kills=0.2) for chaos in (3, 4)]
    for trials in chaotic:
        # As text: equal values of different types (16 and 16.0) would not do.
        assert repr(trials) == repr(alone)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_another_seed_gives_other_trials(sampler: str) -> None:
    cell = Cell(MIXED, trials=8)
    one, other = (simulate(lambda seed=seed: make_search(cell, sampler, seed=seed), workers=1) for seed in (0, 1))
    assert one != other


def test_learning_samplers_depend_on_what_they_are_told() -> None:
    def told(sampler: str, value: float) -> list[dict[str, Any]]:
        search = make_search(Cell(MIXED, trials=30), sampler, objectives=["ua"], batch=1)
        for _ in range(14):
            suggestion = search.suggest()
            assert isinstance(suggestion, Suggestion)
            ua = value * suggestion.params["lr"]
            search.tell(replace(run_trial(suggestion), status="ok", metrics={"ua": ua}))
        return list(search._params.values())

    for sampler in ("tpe", "nsga2", "nsga3"):
        assert told(sampler, 1.0) != told(sampler, -1.0)
    assert told("random", 1.0) == told("random", -1.0)


def test_values_come_back_in_the_types_of_the_space() -> None:
    trials = simulate(lambda: make_search(Cell(MIXED, trials=16), "tpe"), workers=1)
    for params in trials.values():
        assert type(params["rank"]) is int
        assert type(params["epochs"]) is int
        assert type(params["lr"]) is float
        assert params["targets"] in ("ffn", ["blocks.0.fc1", "blocks.1.fc1"])
        assert params["dropout"] == 0.1
    assert {str(params["targets"]) for params in trials.values()} == {"ffn", "['blocks.0.fc1', 'blocks.1.fc1']"}


def test_a_learning_search_waits_for_trials_up_to_n_minus_batch_and_no_longer() -> None:
    search = make_search(Cell(MIXED, trials=10), "tpe", batch=3)
    first = [search.suggest() for _ in range(3)]
    assert [suggestion.number for suggestion in first] == [0, 1, 2]
    assert search.suggest() == Waiting(3, until=0)
    search.tell(run_trial(first[1]))
    assert isinstance(search.suggest(), Waiting)
    search.tell(run_trial(first[0]))
    assert search.suggest().number == 3
    assert search.suggest().number == 4
    assert search.suggest() == Waiting(5, until=2)
    assert not search.done
    assert (search.counts.running, search.counts.ended, search.counts.budget) == (3, 2, 10)


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_samplers_that_do_not_learn_wait_for_nothing(sampler: str) -> None:
    search = make_search(Cell(LISTS, trials=10), sampler, batch=1)
    assert [search.suggest().number for _ in range(10)] == list(range(10))
    assert search.suggest() == Finished("all 10 trials of the budget were handed out", exhausted=False)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "grid"])
def test_a_finite_space_ends_early_with_every_configuration_once(sampler: str) -> None:
    cell = Cell(LISTS, trials=40)
    trials = simulate(lambda: make_search(cell, sampler), workers=3, chaos=5, kills=0.2)
    assert len(trials) == size_of(LISTS) == 16
    assert len({configuration_key(params) for params in trials.values()}) == 16
    search = make_search(cell, sampler)
    search.restore(run_trial(Suggestion(number, params, {})) for number, params in trials.items())
    assert search.suggest() == Finished("all 16 configurations of the space were handed out", exhausted=True)
    assert search.exhausted
    assert search.done


def test_a_range_without_room_for_the_budget_is_an_error() -> None:
    narrow = {"rank": Choice((4,)), "epochs": Choice((1,)), "lr": Range(0.1, math.nextafter(0.1, 1))}
    with pytest.raises(SearchError, match="were not new: widen its ranges"):
        simulate(lambda: make_search(Cell(narrow, trials=3), "random"), workers=1)


def test_a_cell_without_dimensions_is_one_trial() -> None:
    search = make_search(Cell({}, trials=1, fixed={"rank": 4, "epochs": 1}), "tpe")
    suggestion = search.suggest()
    assert suggestion == Suggestion(0, {"rank": 4, "epochs": 1}, {})
    assert isinstance(search.suggest(), Finished)
    assert not search.done
    search.tell(run_trial(suggestion))
    assert search.done


def test_a_grid_is_a_shuffled_product() -> None:
    cell = Cell(LISTS, trials=16)
    trials = simulate(lambda: make_search(cell, "grid"), workers=1)
    assert len({configuration_key(params) for params in trials.values()}) == 16
    assert [params["rank"] for params in trials.values()] != sorted(params["rank"] for params in trials.values())


EXPLICIT = (
    {"rank": 16, "targets": "ffn", "epochs": 2, "lr": 1e-3},
    {"lr": 1e-3, "epochs": 2, "targets": "ffn", "rank": 16.0},
    {"rank": 4, "targets": ["blocks.0.fc1", "blocks.1.fc1"], "epochs": 1, "lr": 5e-4, "dropout": 0.1},
    {"rank": 64, "targets": "ffn", "epochs": 2, "lr": 1e-3},
    {"rank": 4, "targets": "ffn", "epochs": 2, "lr": 1e-3, "dropout": 0.0},
)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_explicit_configurations_run_first_once_and_within_the_budget(sampler: str) -> None:
    cell = Cell(MIXED, trials=14, configurations=EXPLICIT)
    trials = simulate(lambda: make_search(cell, sampler), workers=1)
    assert len(trials) == 14
    assert [trials[number]["rank"] for number in range(4)] == [16, 4, 64, 4]
    assert trials[3]["dropout"] == 0.0
    assert all(params["rank"] != 64 and params["dropout"] == 0.1 for number, params in trials.items() if number > 3)
    assert trials == simulate(lambda: make_search(cell, sampler), workers=4, chaos=2, kills=0.3)


def runs_of(search: CellSearch) -> list[list[int]]:
    """The numbers of every run, in the order in which they are handed out; one run at a time."""
    runs = []
    while isinstance(suggestion := search.suggest(), Suggestion):
        runs.append([trial.number for trial in trials_of(suggestion)])
        for trial in trials_of(suggestion):
            search.tell(run_trial(trial))
    return runs


LISTED = tuple(
    {"rank": rank, "targets": "ffn", "epochs": epochs, "lr": 1e-3}
    for epochs, rank in [(1, 4), (2, 8), (3, 4), (1, 8), (2, 4), (2, 16)]
)


def test_listed_configurations_that_differ_in_epochs_alone_share_a_run() -> None:
    assert runs_of(make_search(Cell(MIXED, trials=6, configurations=LISTED), "tpe")) == [[0, 4, 2], [3, 1], [5]]
    within = make_search(Cell(MIXED, trials=4, configurations=LISTED), "tpe")
    assert runs_of(within) == [[0, 2], [3, 1]]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_sharing_a_run_changes_no_trial(sampler: str) -> None:
    """Not even what a sampler that learns suggests afterwards: lists are what they were, number by number."""
    cell = Cell(MIXED, trials=14, configurations=LISTED)
    trials = simulate(lambda: make_search(cell, sampler), workers=1)
    told = [{**cell.fixed, **configuration} for configuration in LISTED]
    assert [trials[number] for number in range(6)] == told
    for workers, chaos in ((1, 1), (4, 2), (20, 3)):
        chaotic = simulate(lambda: make_search(cell, sampler), workers=workers, chaos=chaos, kills=0.3)
        assert repr(chaotic) == repr(trials)


def test_listed_configurations_that_are_known_do_not_ride_again() -> None:
    search = make_search(Cell(MIXED, trials=6, configurations=LISTED), "tpe")
    done = {0: LISTED[0], 2: LISTED[2]}
    search.restore(run_trial(Suggestion(number, {**params, "dropout": 0.1}, {})) for number, params in done.items())
    assert runs_of(search) == [[3, 1], [4], [5]]


#: Runs of up to three epochs pass through one and two, lists or not.
EPOCHS: dict[str, Any] = {"epochs": Choice((1, 3, 2)), "lr": Range(3e-4, 1e-2, log=True), "rank": Choice((2, 4, 8, 16))}


def test_a_snapshot_is_the_next_trial_with_fewer_epochs() -> None:
    search = make_search(Cell(EPOCHS, trials=24), "random", snapshots=True)
    trials, number = {}, 0
    while isinstance(suggestion := search.suggest(), Suggestion):
        run = trials_of(suggestion)
        assert suggestion.number == number
        expected = list(range(1, suggestion.params["epochs"]))[: 24 - number - 1]
        assert [(one.number, one.params["epochs"]) for one in suggestion.passing] == [
            (number + place, epochs) for place, epochs in enumerate(expected, 1)
        ]
        trials |= {one.number: one.params for one in run}
        number += len(run)
    assert sorted(trials) == list(range(24))
    assert len({configuration_key(params) for params in trials.values()}) == 24


def test_without_snapshots_nothing_is_passed_through() -> None:
    for cell in (Cell(EPOCHS, trials=12), Cell(LISTS, trials=12)):
        assert runs_of(make_search(cell, "tpe")) == [[number] for number in range(12)]
    # A range lists nothing.
    assert runs_of(make_search(Cell(MIXED, trials=12), "tpe", snapshots=True)) == [[number] for number in range(12)]


def test_only_new_configurations_ride_along() -> None:
    cell = Cell(LISTS, trials=40)
    runs = runs_of(make_search(cell, "grid", snapshots=True))
    assert sorted(number for run in runs for number in run) == list(range(16))
    assert {len(run) for run in runs} == {1, 2}
    trials = simulate(lambda: make_search(cell, "grid", snapshots=True), workers=1)
    assert len({configuration_key(params) for params in trials.values()}) == 16


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3", "random", "grid"])
def test_neither_workers_nor_order_nor_kills_change_a_snapshot(sampler: str) -> None:
    listed = ({"rank": 4, "epochs": 2, "lr": 1e-3}, {"rank": 64, "epochs": 1, "lr": 1e-3})
    cell = Cell(LISTS, trials=18) if sampler == "grid" else Cell(EPOCHS, trials=18, configurations=listed)

    def make() -> CellSearch:
        return make_search(cell, sampler, snapshots=True, batch=4)

    alone = simulate(make, workers=1)
    assert list(alone) == list(range(16 if sampler == "grid" else 18))
    assert alone != simulate(lambda: make_search(cell, sampler, batch=4), workers=1)
    for workers, chaos, kills in ((20, 1, 0.0), (1, 2, 0.3), (3, 3, 0.3), (20, 4, 0.3)):
        assert repr(simulate(make, workers=workers, chaos=chaos, kills=kills)) == repr(alone)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_search_with_snapshots_goes_on_from_every_point_of_its_ledger(backwards: bool) -> None:
    def make() -> CellSearch:
        return make_search(Cell(EPOCHS, trials=16), "tpe", snapshots=True, batch=4)

    def finish(search: CellSearch) -> list[Record]:
        written = []
        while isinstance(suggestion := search.suggest(), Suggestion):
            for trial in trials_of(suggestion)[:: -1 if backwards else 1]:
                written.append(Record.from_line(run_trial(trial).to_line()))
                search.tell(written[-1])
        assert search.done
        return written

    whole = finish(make())
    assert len(whole) == 16
    by_trial = {record.trial: record for record in whole}
    for cut in range(len(whole) + 1):
        search = make()
        search.restore(whole[:cut])
        assert {record.trial: record for record in [*whole[:cut], *finish(search)]} == by_trial
    for gap in whole:  # As where a line was set aside.
        search = make()
        search.restore(record for record in whole if record != gap)
        assert finish(search) == [gap]


def test_a_run_of_several_trials_takes_as_many_places_of_the_batch() -> None:
    search = make_search(Cell(EPOCHS, trials=12), "tpe", snapshots=True, batch=4)
    out = []
    while isinstance(suggestion := search.suggest(), Suggestion):
        out += trials_of(suggestion)
    waiting = search.suggest()
    assert isinstance(waiting, Waiting)
    assert waiting.number == len(out) >= 4
    assert search.counts.running == len(out)
    assert any(trial.params["epochs"] == 1 for trial in out)
    with pytest.raises(SearchError, match="never handed out"):
        search.tell(run_trial(replace(out[0], number=waiting.number)))


def test_snapshots_begin_and_end_where_they_are_switched_on_and_off() -> None:
    cell = Cell(EPOCHS, trials=12)
    before = simulate(lambda: make_search(replace(cell, trials=6), "random"), workers=1)
    search = make_search(cell, "random", snapshots=True)
    search.restore(run_trial(Suggestion(number, params, {})) for number, params in before.items())
    after = runs_of(search)
    assert sorted(number for run in after for number in run) == list(range(6, 12))
    assert max(map(len, after)) > 1
    search = make_search(cell, "random")
    search.restore(run_trial(Suggestion(number, params, {})) for number, params in before.items())
    assert runs_of(search) == [[number] for number in range(6, 12)]


def test_explicit_configurations_are_parents_for_a_genetic_search() -> None:
    search = make_search(Cell(MIXED, trials=14, configurations=EXPLICIT), "nsga2")
    assert search.suggest().system_attrs == {"NSGAIISampler:generation": 0}


def test_explicit_points_of_a_finite_space_count_as_covered() -> None:
    cell = Cell(
        {"rank": Choice((2, 4)), "epochs": Choice((1, 2))}, trials=9, configurations=({"rank": 4, "epochs": 1},)
    )
    for sampler in ("grid", "tpe"):
        trials = simulate(lambda sampler=sampler: make_search(cell, sampler), workers=1)
        assert trials[0] == {"rank": 4, "epochs": 1, "dropout": 0.1}
        assert len(trials) == 4


def test_the_ledger_wins_over_what_would_be_suggested() -> None:
    cell = Cell(LISTS, trials=16)
    lines = simulate(lambda: make_search(cell, "tpe"), workers=1)
    # Trial 3 was run with what would have been trial 9, as by another version of Optuna; trial 9 is not there yet.
    held = {number: params for number, params in lines.items() if number < 9} | {3: lines[9]}
    search = make_search(cell, "tpe")
    search.restore(run_trial(Suggestion(number, params, {})) for number, params in held.items())
    rest = []
    while isinstance(suggestion := search.suggest(), Suggestion):
        rest.append(suggestion.params)
        search.tell(run_trial(suggestion))
    assert search.done
    assert len({configuration_key(params) for params in [*held.values(), *rest]}) == 16


def test_trials_set_aside_run_again_with_the_same_configuration() -> None:
    cell = Cell(MIXED, trials=18)
    trials = simulate(lambda: make_search(cell, "tpe"), workers=1)
    search = make_search(cell, "tpe")
    search.restore(
        run_trial(Suggestion(number, params, {})) for number, params in trials.items() if number not in (4, 9)
    )
    again = [search.suggest(), search.suggest()]
    assert [suggestion.number for suggestion in again[:1]] == [4]
    assert configuration_key(again[0].params) == configuration_key(trials[4])
    # Trial 9 follows from trial 4, among others.
    assert isinstance(again[1], Waiting)
    search.tell(run_trial(again[0]))
    assert configuration_key(search.suggest().params) == configuration_key(trials[9])


def test_a_larger_budget_continues() -> None:
    trials = simulate(lambda: make_search(Cell(MIXED, trials=8), "nsga2"), workers=1)
    search = make_search(Cell(MIXED, trials=8), "nsga2", budget=10)
    search.restore(run_trial(Suggestion(number, params, {})) for number, params in trials.items())
    assert [search.suggest().number, search.suggest().number] == [8, 9]
    assert search.suggest() == Finished("all 10 trials of the budget were handed out", exhausted=False)


def test_records_of_other_cells_and_confirmations_are_left_out() -> None:
    search = make_search(Cell(MIXED, trials=8), "tpe")
    own = run_trial(Suggestion(0, {"rank": 4, "targets": "ffn", "epochs": 1, "lr": 1e-3, "dropout": 0.1}, {}))
    search.restore(
        [
            replace(own, trial="digits-tinyvit_nano-neggrad-0001"),
            replace(own, fidelity="confirm"),
            replace(own, trial="digits-tinyvit_nano-neglora-sparsity=0.9-0002"),
        ]
    )
    assert search.counts.ended == 0
    search.restore([replace(own, fidelity="full", status="failed"), replace(own, fidelity="search")])
    assert (search.counts.ok, search.counts.failed) == (1, 0)


def test_tell_refuses_what_was_not_asked_for() -> None:
    search = make_search(Cell(MIXED, trials=8), "tpe")
    record = run_trial(search.suggest())
    with pytest.raises(SearchError, match="never handed out"):
        search.tell(replace(record, trial=trial_id(IDENTITY, 5)))
    with pytest.raises(SearchError, match="no search trial"):
        search.tell(replace(record, fidelity="confirm"))
    search.tell(record)
    with pytest.raises(SearchError, match="told before"):
        search.tell(record)


def test_the_optuna_study_has_every_trial_and_none_that_runs() -> None:
    cell, records = Cell(MIXED, trials=26), []
    search = make_search(cell, "nsga3", constraints={"ua": {"min": 0.5}})
    while isinstance(suggestion := search.suggest(), Suggestion):
        records.append(Record.from_line(run_trial(suggestion).to_line()))
        search.tell(records[-1])
    study = optuna_study(cell, reversed(records), objectives=["ua", "ra"], constraints={"ua": {"min": 0.5}})
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE" if record.status == "ok" else "FAIL" for record in records]
    assert len(set(states)) == 2
    assert [trial.user_attrs["trial"] for trial in study.trials] == [record.trial for record in records]
    generations = [trial.system_attrs["NSGAIIISampler:generation"] for trial in study.trials]
    assert generations == sorted(generations)
    assert generations[-1] >= 2


def test_a_generation_keeps_the_parents_that_its_first_trial_chose() -> None:
    noted = []
    search = make_search(Cell(MIXED, trials=26), "nsga3")
    while isinstance(suggestion := search.suggest(), Suggestion):
        noted.append(suggestion.system_attrs)
        search.tell(run_trial(suggestion))
    generations = {attributes["NSGAIIISampler:generation"] for attributes in noted}
    chosen = [key for attributes in noted for key in attributes if key.startswith("study:")]
    assert sorted(chosen) == [f"study:NSGAIIISampler:parent:{generation}" for generation in sorted(generations - {0})]


@pytest.mark.parametrize(
    ("cell", "options", "message"),
    [
        (Cell(MIXED, trials=4), {"sampler": "tpee"}, "unknown sampler 'tpee', expected one of tpe"),
        (Cell(MIXED, trials=4), {"sampler": "grid"}, "lr of digits-tinyvit_nano-neglora is a continuous range"),
        (Cell(MIXED, trials=4), {"objectives": []}, "at least one objective"),
        (Cell(MIXED, trials=4), {"objectives": ["uua"]}, "unknown metric 'uua'"),
        (Cell(MIXED, trials=4), {"constraints": {"taa": {"min": 0.5}}}, "unknown metric 'taa'"),
        (Cell(MIXED, trials=4), {"batch": 0}, "1 or more, got 0 and 4"),
        (Cell(MIXED, trials=0), {}, "1 or more, got 3 and 0"),
        (Cell({"rank": Choice((4, 4.0))}, trials=4), {}, "the list of rank .* repeats a value"),
        (Cell(MIXED, trials=4, configurations=({"rank": 4},)), {}, "says nothing about targets, epochs, lr"),
        (Cell(LISTS, trials=4, configurations=({"rank": 4, "epochs": 1, "sparsity": 0, "rang": 1},)), {}, "rang"),
    ],
)
def test_a_search_that_cannot_be_run_is_refused(cell: Cell, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SearchError, match=message):
        make_search(cell, **({"sampler": "tpe"} | options))
