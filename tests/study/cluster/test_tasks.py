"""The tasks of a study, without a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from neglora.prerequisites import Prerequisite
from neglora.record import Record, trial_id
from study.cluster.execution import searches_of
from study.cluster.rounds import key_of
from study.cluster.tasks import Tasks
from study.ledger import Ledger
from study.space import Space, parse_space
from study.suggestions import Suggestion


def space_of(**changes: Any) -> Space:
    plain = {
        "study": "tasks",
        "datasets": ["digits"],
        "models": ["tinyvit_nano", "resnet_nano"],
        "replicates": {"forget": [3, {"random": 0.1}], "seeds": [0, 1]},
        "evaluation": {"retain_samples": 50},
        "confirm": {"forget": [5, 6], "seeds": [0, 2]},
        "search": {"trials": 4},
        "methods": {"neglora": {"epochs": [1, 2], "sparsity": [0.0, 0.5, 0.9]}},
    }
    return parse_space(yaml.safe_dump(plain | changes), "a.yaml")


def line(number: int, gap: float, method: str = "neglora", model: str = "tinyvit_nano", **changes: Any) -> Record:
    cell = {"dataset": "digits", "model": model, "method": method}
    metrics = {"ua": 1.0 - gap, "ra": 1.0 - gap, "ta": 1.0 - gap, "mia": 1.0, "gap": gap}
    given: Mapping[str, Any] = {"params": {"epochs": 1, "sparsity": 0.5}, "status": "ok", "metrics": metrics} | changes
    return Record(trial_id(cell, number), cell, **given)


RETRAIN = line(0, 0.0, "retrain", params={})


def test_a_search_gets_tasks_on_its_own_pairs_with_what_they_pass_through(tmp_path):
    space = space_of()
    tasks = Tasks(space, tmp_path)
    with Ledger.open(tmp_path) as ledger:
        search = searches_of(space, ledger)[-1]
    short = Suggestion(1, {"epochs": 1}, {"noted": 1})
    task = tasks.searched(search, Suggestion(0, {"epochs": 2}, {}, (short,)))
    assert key_of(task) == ("digits-resnet_nano-neglora-0000", "search")
    share = {"random": 0.1, "seed": 0}
    assert task.replicates == ((3, 0), (3, 1), (share, 0), (share, 1))
    assert task.sparsities == (0.0, 0.5, 0.9)
    assert (task.keep, task.setting.model, task.setting.retain_samples) == (str(tmp_path), "resnet_nano", 50)
    [stop] = task.stops
    assert (stop.trial, stop.epochs, stop.sampler) == ("digits-resnet_nano-neglora-0001", 1, {"noted": 1})


def test_each_dataset_and_model_is_tried_elsewhere_by_itself(tmp_path):
    tasks = Tasks(space_of(), tmp_path)
    records = [RETRAIN, line(0, 0.1), line(1, 0.2), line(0, 0.3, model="resnet_nano", fidelity="search")]
    first, second = tasks.rounds_elsewhere()
    assert first.cells == {"digits-tinyvit_nano-retrain", "digits-tinyvit_nano-neglora"}
    for rounds in (first, second):
        rounds.advance(records)
    assert second.ended
    retrain, best = first.next(), first.next()
    assert first.next() is None
    assert [key_of(task) for task in (retrain, best)] == [(RETRAIN.trial, "confirm"), (records[1].trial, "confirm")]
    assert retrain.replicates == best.replicates == ((5, 0), (5, 2), (6, 0), (6, 2))
    assert retrain.sparsities == (0.0, 0.5), "the bases that are there"
    assert best.params == records[1].params


def test_what_is_made_for_pairs_elsewhere_is_what_is_tried_there(tmp_path):
    tasks = Tasks(space_of(), tmp_path)
    made = tasks.prerequisites_elsewhere([RETRAIN, line(0, 0.1)])
    assert {one.setting.model for one in made} == {"tinyvit_nano"}
    assert [(one.kind, one.seed, one.sparsity) for one in made if one.kind != "retrain"] == [
        ("base", 0, 0.0),
        ("sparse", 0, 0.5),
        ("base", 2, 0.0),
        ("sparse", 2, 0.5),
    ]
    retrained = [one for one in made if one.kind == "retrain"]
    assert [(one.seed, forgotten(one)) for one in retrained] == [(0, (5,)), (0, (6,)), (2, (5,)), (2, (6,))]


def forgotten(one: Prerequisite) -> tuple[int, ...]:
    assert one.forget is not None
    return one.forget.classes


def test_nothing_is_tried_elsewhere_without_pairs(tmp_path):
    tasks = Tasks(space_of(confirm=None), tmp_path)
    assert tasks.rounds_elsewhere() == []
    assert tasks.left_elsewhere([RETRAIN, line(0, 0.1)]) == {}
    assert tasks.prerequisites_elsewhere([RETRAIN, line(0, 0.1)]) == []


@pytest.mark.parametrize(
    ("records", "left"),
    [
        ([], set()),
        ([RETRAIN, line(0, 0.1, fidelity="search")], set()),
        ([RETRAIN, line(0, 0.1)], {("digits", "tinyvit_nano")}),
        ([RETRAIN, line(0, 0.1), line(0, 0.1, fidelity="confirm")], {("digits", "tinyvit_nano")}),
        (
            [RETRAIN, line(0, 0.1), line(0, 0.1, fidelity="confirm"), line(0, 0.0, "retrain", fidelity="confirm")],
            set(),
        ),
    ],
)
def test_what_is_left_elsewhere(records, left, tmp_path):
    assert Tasks(space_of(), tmp_path).left_elsewhere(records).keys() == left


def test_what_is_measured_in_full_is_the_search_s_own_trial(tmp_path):
    tasks = Tasks(space_of(), tmp_path)
    first, _ = tasks.rounds_in_full()
    intervals = {name: [0.5, 1.0] for name in ("ua", "ra", "ta", "mia")}
    searched = line(0, 0.1, fidelity="search", sampler={"noted": 1}, replicates=[{"details": {"intervals": intervals}}])
    first.advance([RETRAIN, searched])
    task = first.next()
    assert key_of(task) == (searched.trial, "full")
    assert (task.params, task.sampler, task.stops) == (searched.params, {"noted": 1}, ())
    assert len(task.replicates) == 4
