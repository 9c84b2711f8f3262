"""What a search had found by then, and what that had cost."""

import random

import handmade
import pytest

from study.aggregate import trials_table
from study.budget import (
    bought,
    cell_curves,
    clock_unit,
    clocks,
    method_curves,
    second_budgets,
    shown_gap,
    trial_budgets,
    trial_seconds,
    volume_of,
)
from study.pareto import hypervolume
from study.recommend import recommend

V = handmade.values
OBJECTIVES = ["ua", "ra"]


def timed(number, unlearn, evaluate, device="cpu", threads=1, **more):
    record = handmade.record(number, **more)
    record.cost.update(unlearn_seconds=unlearn, evaluate_seconds=evaluate, device=device, threads=threads)
    return record


def test_seconds_add_up_in_the_order_of_trials_not_of_lines():
    records = [timed(2, 4.0, 1.0), timed(0, 1.0, 0.5), timed(1, 2.0, 0.25)]
    (curve,) = cell_curves(trials_table(records), OBJECTIVES)
    assert [trial[-4:] for trial in curve.ids] == ["0000", "0001", "0002"]
    assert curve.seconds == [1.5, 3.75, 8.75]
    assert [curve.within(seconds) for seconds in (0, 1.49, 1.5, 8.75, 100)] == [0, 0, 1, 3, 3]


def test_a_trial_costs_its_search_and_its_full_measurement_but_no_confirmation():
    own = timed(0, 1.0, 0.5)
    confirmed = handmade.confirmed_line(own, [(5, 0, V())])
    table = trials_table([handmade.searched_line(own), own, confirmed])
    assert trial_seconds(table) == {own.trial: 3.0}


def test_a_lost_trial_counts_as_one_without_a_time():
    records = [timed(0, 1.0, 1.0), handmade.record(1, status="failed", reason="lost"), timed(2, 1.0, 1.0)]
    (curve,) = cell_curves(trials_table(records), OBJECTIVES)
    assert (curve.seconds, curve.untimed) == ([2.0, 2.0, 4.0], 1)
    assert len(curve.hypervolumes) == 3


def test_volumes_are_those_of_each_prefix():
    generator = random.Random(0)
    points = [(generator.random(), generator.random(), generator.random()) for _ in range(40)]
    records = [handmade.record(index, metrics=V(*point)) for index, point in enumerate(points)]
    (curve,) = cell_curves(trials_table(records), ["ua", "ra", "ta"])
    expected = [hypervolume(points[: index + 1], [0, 0, 0], ["maximize"] * 3) for index in range(40)]
    assert curve.hypervolumes == pytest.approx(expected)
    assert curve.hypervolumes == sorted(curve.hypervolumes)


def test_volumes_are_exact_with_ties_gaps_and_objectives_to_minimize():
    """What each point adds is counted alone; the whole front at once is the independent way."""
    generator = random.Random(2)
    objectives, directions = ["ua", "ra", "gap", "runner_up"], ["maximize", "maximize", "minimize", "minimize"]
    # Coarse, so that points repeat and lie on the reference; some are not measured.
    points = [[generator.randint(0, 5) / 5 for _ in range(4)] for _ in range(60)]
    records = [
        handmade.record(index, metrics=V(ua, ra, gap=None if index % 7 == 3 else gap, runner_up=second))
        for index, (ua, ra, gap, second) in enumerate(points)
    ]
    (curve,) = cell_curves(trials_table(records), objectives)
    measured = [point for index, point in enumerate(points) if index % 7 != 3]
    expected, seen = [], 0
    for index in range(60):
        seen += index % 7 != 3
        expected.append(hypervolume(measured[:seen], [0, 0, 1, 1], directions))
    assert curve.hypervolumes == pytest.approx(expected, abs=1e-12)
    assert 0 < curve.hypervolumes[5] < curve.hypervolumes[-1]


def test_a_methods_cells_take_turns():
    """Otherwise a method with two cells would have spent twice as much by its n-th trial as one with a single cell."""
    records = [
        handmade.record(number, axes={"sparsity": level}, metrics=V(0.5, 0.1 * (number + 1) + level / 10))
        for level in (0.9, 0.0)
        for number in range(2)
    ]
    table = trials_table(records)
    (curve,) = method_curves(table, OBJECTIVES)
    assert [trial.split("sparsity=")[1] for trial in curve.ids] == ["0.0-0000", "0.9-0000", "0.0-0001", "0.9-0001"]
    assert (curve.name, curve.trials[-1]) == ("neglora", 4)
    assert [cell.name for cell in cell_curves(table, OBJECTIVES)] == ["neglora, sparsity 0.9", "neglora, sparsity 0.0"]


def test_retrain_is_no_curve():
    assert cell_curves(trials_table([handmade.retrain()]), OBJECTIVES) == []


@pytest.mark.parametrize(
    ("devices", "found", "unit"),
    [
        ([("cpu", 1), ("cpu", 1)], ["cpu, 1 thread"], "CPU-seconds"),
        ([("cpu", 4)], ["cpu, 4 threads"], "CPU-seconds"),
        ([("cpu", 1), ("cpu", 4)], ["cpu, 1 thread", "cpu, 4 threads"], None),
        ([("NVIDIA A100", 4), ("NVIDIA A100", 8)], ["NVIDIA A100"], "GPU-seconds"),
        ([("NVIDIA A100", 1), ("cpu", 1)], ["NVIDIA A100", "cpu, 1 thread"], None),
        ([], [], None),
    ],
)
def test_seconds_have_a_unit_where_all_are_of_one_device(devices, found, unit):
    records = [timed(index, 1.0, 1.0, device, threads) for index, (device, threads) in enumerate(devices)]
    table = trials_table([handmade.retrain(), *records])
    assert clocks(table) == found
    assert clock_unit(clocks(table)) == unit


def test_what_a_budget_bought_is_chosen_by_one_half_and_shown_by_the_other():
    records = [
        handmade.record(0, metrics=V(0.5, gap=0.3), report=V(0.5, gap=0.31)),
        handmade.record(1, metrics=V(0.9, gap=0.1), report=V(0.9, gap=0.25)),
        # Better on the report half, which must not choose.
        handmade.record(2, metrics=V(0.8, gap=0.2), report=V(0.8, gap=0.01)),
        handmade.record(3, metrics=V(1.0, gap=0.05), report=V(1.0, gap=0.06)),
    ]
    table = trials_table(records)
    (curve,) = method_curves(table, OBJECTIVES)
    reached = [bought(table, curve, trials) for trials in range(5)]
    assert [one.gap for one in reached] == [None, 0.31, 0.25, 0.25, 0.06]
    assert [one.trial and one.trial[-4:] for one in reached] == [None, "0000", "0001", "0001", "0003"]
    assert reached[0].seconds == reached[0].hypervolume == 0.0
    assert reached[4].hypervolume == pytest.approx(1.0)
    assert reached[4].trial == recommend(table).trial


def test_without_retrain_no_distance_is_bought():
    table = trials_table([handmade.record(0, metrics=V(gap=None), report=V(gap=None))])
    (curve,) = method_curves(table, OBJECTIVES)
    assert bought(table, curve, 1).gap is None
    assert shown_gap(trials_table([handmade.record(0, metrics=V(gap=0.2), report={})]), curve.ids[0]) == 0.2


@pytest.mark.parametrize(
    ("counts", "budgets"),
    [
        ([16, 16], [8, 16]),
        ([12, 40], [8, 12]),
        ([3, 40], [3]),
        ([64], [8, 16, 32, 64]),
        ([2001, 3000], [128, 256, 512, 1024, 2001]),
        ([], []),
    ],
)
def test_budgets_are_those_that_every_method_has(counts, budgets):
    template = cell_curves(trials_table([handmade.record(0)]), OBJECTIVES)[0]
    curves = [type(template)("c", "m", {}, [str(index) for index in range(count)], [], [], []) for count in counts]
    assert trial_budgets(curves) == budgets


def test_seconds_are_compared_as_far_as_the_cheapest_method_went():
    records = [timed(0, 1.0, 1.0), timed(1, 1.0, 1.0), timed(0, 9.0, 1.0, method="neggrad")]
    curves = method_curves(trials_table(records), OBJECTIVES)
    budgets = second_budgets(curves)
    assert budgets == [1.0, 2.0, 4.0]
    assert [curve.within(budgets[-1]) for curve in curves] == [2, 0]
    assert (
        second_budgets(method_curves(trials_table([handmade.record(0, status="failed", reason="x")]), OBJECTIVES)) == []
    )


def test_a_single_models_volume():
    assert volume_of([0.5, 0.4], OBJECTIVES) == pytest.approx(0.2)
    assert volume_of([0.5, None], OBJECTIVES) is None
    assert volume_of([0.25], ["gap"]) == pytest.approx(0.75)
