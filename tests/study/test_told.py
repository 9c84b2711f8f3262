"""What a sampler is told of a record, and how values go to Optuna and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from searched import IDENTITY, MIXED, Cell

from neglora.record import Record, trial_id
from study.dimensions import Choice, Dimension, Range
from study.told import KnownTrial, decode, distribution, encode, searched_records, told_trial


def record(number: int, metrics: dict[str, Any] | None = None, **changes: Any) -> Record:
    params = {"rank": 4, "targets": ["blocks.0.fc1", "blocks.1.fc1"], "epochs": 2, "lr": 1e-3, "dropout": 0.1}
    metrics = {"ua": 0.9, "ra": 0.8, "gap": 0.1} if metrics is None else metrics
    return replace(Record(trial_id(IDENTITY, number), IDENTITY, params, "ok", metrics=metrics), **changes)


def told(item: Record, constraints: Any = None) -> KnownTrial:
    return told_trial(item, Cell(MIXED, trials=20), ["ua", "gap"], constraints or {})


def test_an_ok_record_is_told_with_its_values() -> None:
    trial = told(record(3))
    assert trial.state.name == "COMPLETE"
    assert trial.values == [0.9, 0.1]
    assert trial.params == {"rank": 4, "targets": '["blocks.0.fc1", "blocks.1.fc1"]', "epochs": 2, "lr": 1e-3}
    assert trial.user_attrs == {"trial": "digits-tinyvit_nano-neglora-0003", "status": "ok"}


@pytest.mark.parametrize(
    "item",
    [
        record(0, status="diverged", metrics={}),
        record(0, status="failed", metrics={}),
        record(0, status="diverged"),
        record(0, metrics={"ua": 0.9, "gap": None}),
        record(0, metrics={"ua": 0.9}),
        record(0, metrics={"ua": float("inf"), "gap": 0.1}),
        record(0, metrics={"ua": 0.9, "gap": float("nan")}),
    ],
)
def test_anything_else_is_told_as_failed(item: Record) -> None:
    trial = told(item)
    assert trial.state.name == "FAIL"
    assert trial.values is None
    assert trial.user_attrs["status"] == item.status


def test_a_configuration_outside_of_the_space_is_told_as_failed_and_says_why() -> None:
    trial = told(record(0, params={"rank": 64, "targets": "ffn", "epochs": 2, "lr": 0.5, "dropout": 0.0}))
    assert trial.state.name == "FAIL"
    assert trial.user_attrs["outside"] == ["rank", "lr", "dropout"]
    assert trial.params == {"targets": '"ffn"', "epochs": 2}


def test_constraints_are_violations() -> None:
    trial = told(record(0), {"ua": {"min": 0.95}, "ra": {"min": 0.5, "max": 0.7}})
    assert trial.constraints == pytest.approx({"ua:min": 0.05, "ra:min": -0.3, "ra:max": 0.1})
    assert told(record(0, metrics={"ua": 0.9, "gap": 0.1}), {"ra": {"min": 0.5}}).state.name == "FAIL"


@pytest.mark.parametrize(
    ("dimension", "value"),
    [
        (Choice((2, 4, 8)), 8),
        (Choice((0.0, 0.9)), 0.0),
        (Choice(("ffn", ("a", "b"))), ("a", "b")),
        (Choice((["a"], '["a"]')), '["a"]'),
        (Choice((1, True)), True),
        (Choice((None, "frozen", 3)), None),
        (Range(1, 8, integer=True), 8),
        (Range(1, 8, log=True, integer=True), 2),
        (Range(1, 8), 2.0),
        (Range(1e-5, 1e-3, log=True), 1e-4),
    ],
)
def test_values_go_to_optuna_and_back_in_their_own_type(dimension: Dimension, value: Any) -> None:
    coded = encode(dimension, value)
    as_optuna_keeps_it = distribution(dimension).to_external_repr(distribution(dimension).to_internal_repr(coded))
    back = decode(dimension, as_optuna_keeps_it)
    assert back == value
    assert type(back) is type(value)


def test_what_lies_outside_cannot_be_encoded() -> None:
    with pytest.raises(ValueError, match=r"expected one of \[2, 4\], got 3"):
        encode(Choice((2, 4)), 3)


def test_a_search_is_told_one_record_per_trial_of_its_own_cell_in_order() -> None:
    own = [record(2), record(0, fidelity="search"), record(1)]
    others = [
        record(0, fidelity="full", status="failed"),
        record(3, fidelity="confirm"),
        record(0, trial="digits-tinyvit_nano-neggrad-0000"),
        record(0, trial="digits-tinyvit_nano-neglora-sparsity=0.9-0000"),
    ]
    for records in (own + others, others + own):
        assert searched_records("digits-tinyvit_nano-neglora", records) == [own[1], own[2], own[0]]
