"""A dial as plain data: written and read back, and what is not one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from neglora.dial import SCHEMA, Dial, DialError, Point

MEASURED = {"ua": 0.25, "ra": 1.0, "ta": 0.9, "mia": 1 / 3, "gap": 0.1, "mia_has_signal": True, "ua_test": None}
DIAL = Dial(
    trial="digits-tinyvit_nano-neglora-0007",
    method="neglora",
    forget=[1, 2],
    seed=0,
    recorded=0.2734375,
    points=(
        Point(0.0, MEASURED, MEASURED),
        Point(0.2734375, MEASURED | {"gap": 0.01}, MEASURED),
        Point(0.5, MEASURED | {"gap": 0.01}, MEASURED),
        Point(1.0, {}, {}, "the model's logits are not finite"),
    ),
    retrain={"metrics": {"ua": 1.0}, "report": {"ua": 1.0}},
    counts={"forget": 128, "retain": 1000},
    unsettled=2,
    from_kept=True,
    seconds=1.5,
    provenance={"torch": "2.10", "device": "cpu", "threads": 1, "data": None},
)


def spoiled(*path: object, value: object = None, missing: bool = False) -> dict:
    plain = json.loads(json.dumps(DIAL.as_plain()))
    inner = plain
    for name in path[:-1]:
        inner = inner[name]
    if missing:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return plain


@pytest.mark.parametrize("dial", [DIAL, replace(DIAL, retrain=None, forget={"random": 0.1, "seed": 0}, seed=-3)])
def test_what_is_written_is_read_back(dial):
    text = json.dumps(dial.as_plain(), allow_nan=False)
    assert Dial.of(json.loads(text)) == dial
    assert json.loads(text)["schema"] == SCHEMA


def test_the_nearest_is_that_with_the_smallest_gap_and_then_scale():
    assert DIAL.nearest == DIAL.points[1]
    assert replace(DIAL, points=(Point(0.0, {"gap": None}, {}), Point(1.0, {}, {}))).nearest is None
    assert DIAL.at(0.5) is DIAL.points[2]
    assert DIAL.evaluations == 4
    with pytest.raises(KeyError):
        DIAL.at(0.3)


@pytest.mark.parametrize(
    ("plain", "part"),
    [
        ([], "not a JSON object but a list"),
        ({}, "no integer 'schema'"),
        (spoiled("schema", value=SCHEMA + 1), "newer than this program"),
        (spoiled("schema", value=True), "no integer"),
        (spoiled("trial", missing=True), "'trial' is missing"),
        (spoiled("forget", value=None), "'forget' is missing"),
        (spoiled("trial", value=7), "'trial' is nothing that a dial holds"),
        (spoiled("seed", value="0"), "'seed' is nothing"),
        (spoiled("recorded", value="0.5"), "'recorded' is nothing"),
        (spoiled("points", value={}), "'points' is nothing"),
        (spoiled("points", value=[]), "from scale 0 up to 1"),
        (spoiled("points", 1, value=0.5), "points[1]"),
        (spoiled("points", 1, "scale", value=1.5), "from scale 0 up to 1"),
        (spoiled("points", 1, "scale", value=0.75), "from scale 0 up to 1"),
        (spoiled("points", 3, "scale", value=0.75), "from scale 0 up to 1"),
        (spoiled("points", 1, "scale", value=10**400), "points[1].scale"),
        (spoiled("points", 1, "scale", value=0.25), "the scale of no point"),
        (spoiled("points", 1, "metrics", missing=True), "should have scale, metrics and report"),
        (spoiled("points", 1, "metrics", "ua", value=float("nan")), "points[1].metrics.ua"),
        (spoiled("points", 1, "report", "ua", value="1"), "points[1].report.ua"),
        (spoiled("points", 1, "reason", value=3), "points[1].reason"),
        (spoiled("retrain", value={"metrics": {}}), "'retrain' should hold"),
        (spoiled("retrain", "metrics", "ua", value=[1]), "retrain.metrics.ua"),
        (spoiled("counts", "forget", value=0.5), "counts.forget"),
        (spoiled("provenance", "device", value=["cpu"]), "provenance.device"),
    ],
)
def test_what_is_no_dial_is_refused(plain, part):
    with pytest.raises(DialError) as error:
        Dial.of(plain)
    assert part in str(error.value)
