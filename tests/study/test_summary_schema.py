"""docs/summary.schema.json: every summary keeps it, it knows every key, and it refuses what is not one."""

import copy
import json
import re
from pathlib import Path

import handmade
import pytest
from jsonschema import Draft202012Validator

from neglora.objectives import METRICS
from study.aggregate import ATTACK_FACTS, ATTACK_FEATURES, summarize

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "summary.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
LOST = [handmade.record(i, status="diverged", reason="nan") for i in range(2)]
RANDOM = handmade.confirmed_line(handmade.record(0), [({"random": 0.1, "seed": 0}, 0, handmade.values(ua_test=None))])
STUDIES = {
    "searched": (handmade.searched(6), {}),
    "several seeds": (handmade.searched(3, (0, 1)), {"selection": None}),
    "staged": (handmade.staged(8), handmade.STAGED),
    "grid": (handmade.grid(2), handmade.GRID),
    "axes": ([handmade.retrain(), handmade.record(0, axes={"sparsity": 0.9})], {"axes": {"sparsity": [0.0, 0.9]}}),
    "constraints": (handmade.searched(2), {"constraints": {"ra": {"min": 0.9}, "gap": {"max": 0.1}}}),
    "empty": ([], {}),
    "without Retrain": ([handmade.record(0)], {"objectives": ["gap"]}),
    "all diverged": (LOST, {}),
    "all diverged, with Retrain": ([handmade.retrain(), *LOST], {}),
    "no attack": ([handmade.record(0, metrics=handmade.values(mia=None, mia_has_signal=None))], {}),
    "a random forget set": ([handmade.retrain(), handmade.record(0), RANDOM], {}),
}


def summary_of(name):
    records, own = STUDIES[name]
    return json.loads(json.dumps(summarize(records, handmade.study(**own), "ab" * 32 if records else None)))


def problems(summary):
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in VALIDATOR.iter_errors(summary)]


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", STUDIES)
def test_every_summary_keeps_it(name):
    assert problems(summary_of(name)) == []


def objects(schema, path="summary"):
    """Every object with named keys, by where it stands."""
    if isinstance(schema, dict):
        if "properties" in schema and isinstance(schema["properties"], dict):
            yield path, schema
        for key, value in schema.items():
            yield from objects(value, f"{path}/{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from objects(value, f"{path}/{index}")


def test_every_key_is_described_and_no_other_is_let_through():
    found = dict(objects(SCHEMA))
    assert len(found) > 10
    for path, own in found.items():
        assert own["additionalProperties"] is False, path
        for key, value in own["properties"].items():
            described = value if "$ref" not in value else SCHEMA["$defs"][value["$ref"].rsplit("/", 1)[1]]
            assert len(described.get("description", "")) > 8, f"{path}: {key}"
            kinds = value.get("type", ())
            if "null" in kinds and kinds != "null" and key != "selection":
                assert "Null" in value["description"], f"{path}: {key} says when it is null"
            if set(kinds if isinstance(kinds, list) else [kinds]) & {"number"} and key not in ("min", "max", "value"):
                assert re.search(r"[Ss]hare|ratio|Seconds|Volume|From 0 to 1", value["description"]), f"{path}: {key}"


def test_it_knows_every_metric():
    metrics, report = (set(SCHEMA["$defs"][name]["properties"]) for name in ("metrics", "report"))
    assert metrics == {*METRICS, *ATTACK_FACTS}
    assert report == metrics | set(ATTACK_FEATURES)
    for name, metric in METRICS.items():
        assert metric.about in SCHEMA["$defs"]["report"]["properties"][name]["description"]


def paths(value, path=()):
    """Where objects stand that the schema names the keys of: what a study names itself is free."""
    if isinstance(value, dict):
        if path[-1:] not in {("params",), ("axes",), ("forget",), ("best",), ("constraints",)}:
            yield path, list(value)
        for key, inner in value.items():
            if key not in ("params", "axes", "forget"):
                yield from paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths(inner, (*path, index))


def at(summary, path):
    for key in path:
        summary = summary[key]
    return summary


def free(path):
    """Values that a replicate may lack, as the ledger lets it."""
    return path[-1:] in {("metrics",), ("report",), ("selection",)} or path[-2:-1] == ("constraints",)


@pytest.mark.parametrize("name", ["staged", "constraints", "all diverged, with Retrain"])
def test_a_key_more_or_less_is_refused(name):
    whole = summary_of(name)
    places = list(paths(whole))
    assert len(places) > 8
    for path, keys in places:
        more = copy.deepcopy(whole)
        at(more, path)["surprise"] = 1
        assert problems(more), f"{path}: a key more"
        for key in () if free(path) else keys:
            less = copy.deepcopy(whole)
            del at(less, path)[key]
            assert problems(less), f"{path}: without {key}"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 2),
        (("ledger_sha256",), "abc"),
        (("objectives",), ["accuracy"]),
        (("trials", "ok"), -1),
        (("share_confirmed",), 1.5),
        (("cells", 0, "hypervolume"), "large"),
        (("cells", 0, "best", "ua", "value"), None),
        (("groups", 0, "recommended", "report", "ta"), 97.0),
        (("groups", 0, "retrain"), {}),
    ],
)
def test_a_value_of_another_kind_is_refused(path, value):
    summary = summary_of("staged")
    at(summary, path[:-1])[path[-1]] = value
    assert problems(summary)
