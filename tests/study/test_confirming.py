"""Which trials are measured in full: against the definition, and the same rounds whatever happens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import handmade
import pytest

from neglora.record import Record
from study.aggregate import summarize, trials_table
from study.confirming import PLANES, next_round
from study.plots.tradeoff import AGAINST, tradeoff_info
from study.recommend import front_rows, recommend
from study.stages import share_confirmed

METHODS = ("neglora", "neggrad")


def pair(number: int, truth: dict[str, Any], bounds: dict[str, Any], **more: Any) -> tuple[Record, Record]:
    """A trial's line in full, and that of the search: the middle of its bounds, exact where there are none."""
    full = handmade.record(number, metrics=handmade.values(**truth), **more)
    ends = {name: bounds.get(name, (truth[name], truth[name])) for name in ("ua", "ra", "ta", "mia")}
    seen = handmade.values(**{name: None if end is None else sum(end) / 2 for name, end in ends.items()})
    told = [name for name in ends if ends[name] is not None]
    item = full.replicates[0] | {"metrics": seen, "report": {}}
    item["details"] = item["details"] | {"intervals": {name: list(ends[name]) for name in told}}
    return full, replace(full, fidelity="search", metrics=seen, report={}, replicates=[item])


def study_of(seed: int, count: int = 60, outside: float = 0.0) -> tuple[list[Record], list[Record]]:
    """Random trials in full and as the search saw them: each truth within its bounds but for a share `outside`."""
    dice, truths, seen = random.Random(seed), [], []
    for number in range(count):
        strength = dice.random()
        truth = {"ua": min(1.0, 1.5 * strength)}
        for name in ("ra", "ta", "mia"):
            truth[name] = min(1.0, max(0.0, 1 - strength**2 + dice.gauss(0, 0.1)))
        if dice.random() < 0.3:  # As shares of few images are: many are equal.
            truth = {name: round(value, 1) for name, value in truth.items()}
        bounds = {}
        for name in ("ra", "ta", "mia"):
            shift = 1.5 if dice.random() < outside else dice.uniform(-1, 1)
            middle = truth[name] + 0.04 * shift
            bounds[name] = (middle - 0.04, middle + 0.04)
        params = {"lr": 1e-3, "epochs": dice.choice([1, 2]), "sparsity": dice.choice([0.0, 0.9])}
        full, search = pair(number, truth, bounds, method=METHODS[number % 2], params=params)
        truths.append(full)
        seen.append(search)
    return truths, seen


def run(truths: Sequence[Record], seen: Sequence[Record], constraints: Any = None, chaos: int | None = None) -> Any:
    """All rounds; with chaos, lines come in random order and the next one is asked for after each."""
    full = {record.trial: record for record in truths}
    records, rounds, dice = list(seen), [], random.Random(chaos)
    while wanted := next_round(records, constraints):
        assert len(set(wanted)) == len(wanted)
        rounds.append(wanted)
        if chaos is None:
            records += [full[trial] for trial in wanted]
            continue
        while wanted:
            trial = wanted[dice.randrange(len(wanted))]
            records.append(full[trial])
            left = [other for other in wanted if other != trial]
            dice.shuffle(records)
            if left:
                assert next_round(records, constraints) == left
            wanted = left
    return rounds, records


def fronts(records: Sequence[Record]) -> dict[Any, set[str]]:
    table = trials_table(records)
    return {
        (method, plane): set(front_rows(rows, plane)["trial"])
        for method, rows in table.groupby("method")
        for plane in PLANES
    }


def test_the_planes_are_those_of_the_report() -> None:
    assert tuple(("ua", name) for name in AGAINST) == PLANES


@pytest.mark.parametrize("seed", range(20))
def test_the_confirmed_fronts_are_the_true_ones(seed: int) -> None:
    truths, seen = study_of(seed)
    rounds, records = run(truths, seen)
    assert fronts(records) == fronts(truths)
    confirmed = [trial for wanted in rounds for trial in wanted]
    assert len(set(confirmed)) == len(confirmed) < len(seen)
    on_front = set().union(*fronts(truths).values())
    assert on_front <= set(confirmed)


@pytest.mark.parametrize("seed", range(4))
def test_rounds_follow_from_the_records_alone(seed: int) -> None:
    truths, seen = study_of(seed, outside=0.2)
    alone, _ = run(truths, seen)
    assert len(alone) > 1
    assert run(truths, seen, chaos=1)[0] == alone


def test_lines_in_full_that_no_round_asked_for_change_nothing() -> None:
    truths, seen = study_of(3)
    alone, _ = run(truths, seen)
    asked = {trial for wanted in alone for trial in wanted}
    beside = [record for record in truths if record.trial not in asked]
    assert beside
    assert run(truths, [*beside, *seen])[0] == alone


@pytest.mark.parametrize("seed", range(8))
def test_what_is_recommended_is_in_full_and_the_choice_among_all(seed: int) -> None:
    """Nobody is recommended in full beside one who looks better on subsets."""
    truths, seen = study_of(seed)
    constraints = {"ra": {"min": 0.4}}
    _, records = run(truths, seen, constraints)
    full = {record.trial for record in records if record.fidelity == "full"}
    table = trials_table([record for record in records if record.fidelity == "full" or record.trial not in full])
    as_if = table.assign(fidelity="full")
    for rows in (as_if, *(own for _, own in as_if.groupby("method"))):
        assert recommend(rows, constraints).trial in full
    summary = summarize(records, handmade.study(constraints=constraints))
    assert all(cell["recommended"]["trial"] in full for cell in summary["cells"])


def test_the_best_come_first_and_rule_others_out() -> None:
    wide = (0.4, 0.9)
    best = pair(0, {"ua": 1.0, "ra": 0.9, "ta": 0.9, "mia": 0.9}, {"ra": wide, "ta": wide, "mia": wide})
    less = (0.3, 0.8)
    others = [
        pair(number, {"ua": 1.0, "ra": 0.7, "ta": 0.7, "mia": 0.7}, {"ra": less, "ta": less, "mia": less})
        for number in (1, 2)
    ]
    seen = [best[1], *(search for _, search in others)]
    assert next_round(seen) == [best[0].trial]
    assert next_round([*seen, best[0]]) == []
    disappointing = replace(best[0], metrics=handmade.values(ua=1.0, ra=0.5, ta=0.5, mia=0.5))
    assert next_round([*seen, disappointing]) == [full.trial for full, _ in others]


def test_a_trial_that_fails_in_full_is_out_and_rules_nobody_out() -> None:
    good = pair(0, {"ua": 1.0, "ra": 0.9, "ta": 0.9, "mia": 0.9}, {"ra": (0.8, 0.95)})
    worse = pair(1, {"ua": 0.9, "ra": 0.5, "ta": 0.5, "mia": 0.5}, {"ra": (0.4, 0.6)})
    seen = [good[1], worse[1]]
    assert next_round(seen) == [good[0].trial]
    assert next_round([*seen, good[0]]) == []
    for status in ("failed", "diverged"):
        lost = replace(good[0], status=status, metrics={}, report={}, replicates=[])
        assert next_round([*seen, lost]) == [worse[0].trial]
        assert next_round([*seen, lost, worse[0]]) == []


def test_only_trials_that_ended_well_in_the_search_are_measured_in_full() -> None:
    full, search = pair(0, {"ua": 1.0, "ra": 0.9, "ta": 0.9, "mia": 0.9}, {"ra": (0.8, 0.95)})
    diverged = replace(handmade.record(1, status="diverged"), fidelity="search")
    elsewhere = replace(full, trial=handmade.record(3).trial, fidelity="confirm")
    oracle = handmade.retrain()
    assert next_round([oracle, diverged, elsewhere]) == []
    assert next_round([oracle, diverged, elsewhere, search]) == [search.trial]
    assert next_round([oracle, full]) == next_round([]) == []


def test_values_that_were_not_measured_keep_a_trial_off_a_plane() -> None:
    level = {"ua": 0.9, "ra": 0.9, "ta": 0.9, "mia": 0.9}
    known = pair(0, level, {})[0]
    beaten = dict.fromkeys(("ra", "ta"), (0.1, 0.2))
    low = {"ua": 0.5, "ra": 0.15, "ta": 0.15, "mia": 0.95}
    assert next_round([known, pair(1, low, beaten | {"mia": (0.9, 1.0)})[1]]) == [handmade.record(1).trial]
    unknown = pair(1, low, beaten | {"mia": None})[1]
    assert next_round([known, unknown]) == []
    untold = pair(1, low, beaten | {"mia": (0.9, 1.0)})[1]
    del untold.replicates[0]["details"]["intervals"]
    assert next_round([known, untold]) == []


def test_bounds_are_means_over_replicates() -> None:
    _, search = pair(1, {"ua": 0.5, "ra": 0.5, "ta": 0.1, "mia": 0.1}, {"ra": (0.4, 0.6)})
    first, second = search.replicates[0], search.replicates[0] | {"seed": 1}
    second["details"] = second["details"] | {"intervals": second["details"]["intervals"] | {"ra": [0.6, 0.8]}}
    both = replace(search, replicates=[first, second])
    for ra, expected in ((0.69, [both.trial]), (0.71, [])):
        rival = pair(0, {"ua": 0.6, "ra": ra, "ta": 0.9, "mia": 0.9}, {})[0]
        assert next_round([rival, both]) == expected


def test_methods_have_fronts_of_their_own() -> None:
    level = {"ua": 0.9, "ra": 0.9, "ta": 0.9, "mia": 0.9}
    low = {"ua": 0.5, "ra": 0.5, "ta": 0.5, "mia": 0.5}
    rival, other = pair(0, level, {})[0], pair(0, low, {}, method="neggrad")[1]
    assert next_round([rival, other]) == [other.trial]


def test_the_report_says_how_many_were_measured_in_full() -> None:
    truths, seen = study_of(1)
    rounds, records = run(truths, seen)
    assert share_confirmed(trials_table(records)) == len([trial for wanted in rounds for trial in wanted]) / len(seen)
    info = tradeoff_info(trials_table(records), records, "ra")
    assert sum(map(len, info.methods.values())) == len([trial for wanted in rounds for trial in wanted])
