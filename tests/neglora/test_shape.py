"""The shapes of records: whatever a study wrote fits, and what it never writes does not."""

from __future__ import annotations

from typing import Any

import pytest

from neglora.shape import RECORD, is_held, misfit


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"cell": {"dataset": "digits", "targets": ["ffn"]}}, None),
        ({"cell": {"dataset": 3}}, "cell.dataset"),
        ({"replicates": [{"seed": 0}, {"cost": {"threads": "many"}}]}, "replicates[1].cost.threads"),
        (
            {"replicates": [{"details": {"attack": {"report": {"auc": [1]}}}}]},
            "replicates[0].details.attack.report.auc",
        ),
        ({"replicates": [{"details": {"attack": {"report": {"auc": None}}, "of a later version": {}}}]}, None),
        ({"replicates": [{"details": "x"}]}, "replicates[0].details"),
        ({"replicates": [{"bases": None, "details": None}]}, None),
        ({"cost": {"unlearn_seconds": 10**400}}, "cost.unlearn_seconds"),
        ({"provenance": {"torch": ["2.10"]}}, "provenance.torch"),
    ],
)
def test_the_first_place_that_does_not_fit(given: dict[str, Any], place: str | None) -> None:
    assert misfit(given, RECORD) == place


@pytest.mark.parametrize(
    ("value", "held"), [(1, True), (10**308, True), (10**309, False), (float("inf"), False), (float("nan"), False)]
)
def test_numbers_are_such_as_floats_hold(value: float, held: bool) -> None:
    assert is_held(value) == held
    assert is_held("1e999")
