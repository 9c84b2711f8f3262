"""What of a study is measured once more, on handmade records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import handmade
import pytest

from neglora.record import Record
from study.again import elsewhere, in_full, outstanding
from study.progress import Again


def trial(number: int, method: str = "neglora", **metrics: Any) -> Record:
    return handmade.record(number, method=method, metrics=handmade.values(**metrics))


def confirmed(record: Record) -> Record:
    return replace(record, fidelity="confirm")


def on_samples(record: Record) -> Record:
    """As a search on samples has it: RA lies within a point of what it measured."""
    intervals = {name: [record.metrics[name]] * 2 for name in ("ua", "ta", "mia")}
    ra = record.metrics["ra"]
    intervals["ra"] = [ra - 0.01, min(1.0, ra + 0.01)]
    [item] = record.replicates
    item = item | {"report": {}, "details": item["details"] | {"intervals": intervals}}
    return replace(record, fidelity="search", report={}, replicates=[item])


NEAR, FAR, OTHER = trial(0, ua=0.98), trial(1, ua=0.2, ra=0.2), trial(0, "neggrad", ua=0.9, ra=0.9)
FULL = [handmade.retrain(), NEAR, FAR, OTHER]


def test_retrain_and_what_is_recommended_for_each_method_is_tried_elsewhere():
    assert [record.trial for record in elsewhere(FULL)] == [
        "digits-tinyvit_nano-retrain-0000",
        "digits-tinyvit_nano-neglora-0000",
        "digits-tinyvit_nano-neggrad-0000",
    ]


def test_what_was_tried_elsewhere_is_left_out_whatever_became_of_it():
    tried = [confirmed(FULL[0]), replace(confirmed(NEAR), status="failed", metrics={}, report={})]
    assert [record.trial for record in elsewhere([*FULL, *tried])] == [OTHER.trial]
    assert elsewhere([*FULL, *tried, confirmed(OTHER)]) == []
    assert [record.trial for record in elsewhere([*FULL, *tried[1:], confirmed(OTHER)])] == [FULL[0].trial]


def test_a_recommendation_that_changes_is_tried_too():
    tried = [confirmed(record) for record in (FULL[0], NEAR, OTHER)]
    nearer = trial(2)
    assert elsewhere([*FULL, nearer, *tried]) == [nearer]


def test_constraints_count():
    constraints = {"ua": {"max": 0.5}}
    assert [record.trial for record in elsewhere(FULL, constraints)] == [FULL[0].trial, FAR.trial, OTHER.trial]


def test_nothing_is_tried_elsewhere_without_a_recommendation():
    failed = handmade.record(0, status="failed", reason="lost")
    assert elsewhere([handmade.retrain(), failed, on_samples(trial(1))]) == []
    assert elsewhere([]) == []


def test_the_lines_of_the_search_are_measured_in_full():
    searched = [on_samples(record) for record in (NEAR, FAR)]
    assert in_full(searched) == [searched[0]]
    assert in_full([NEAR, FAR]) == []


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([FULL[0], on_samples(NEAR)], []),
        ([FULL[0], on_samples(NEAR), on_samples(FAR), OTHER], ["confirming 0 of 1 in full"]),
        (
            [*FULL, on_samples(NEAR), on_samples(FAR)],
            ["confirmed 2 of 2 in full", "confirming 0 of 3 on unseen pairs"],
        ),
        (
            [*FULL, on_samples(NEAR), confirmed(NEAR)],
            ["confirmed 1 of 1 in full", "confirming 1 of 3 on unseen pairs"],
        ),
    ],
)
def test_how_far_a_study_is_with_it(records, told):
    study = handmade.study(
        search={"sampler": "tpe", "trials": 2, "seed": 0, "batch": 4},
        methods={"neglora": {}, "neggrad": {"configurations": [{"lr": 0.1}]}},
        confirm={"forget": [5], "seeds": [0]},
    )
    assert [str(again) for again in outstanding(records, study)] == told


def test_a_study_without_samples_and_pairs_measures_nothing_once_more():
    assert outstanding(FULL, handmade.study()) == ()
    assert outstanding([confirmed(NEAR)], handmade.study()) == (Again("confirm", 1, 1),)
