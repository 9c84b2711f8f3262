import json
from dataclasses import replace

import pytest

from neglora.record import (
    LONGEST_NAME,
    SCHEMA,
    Record,
    RecordError,
    cell_id,
    configuration_key,
    mean_measured,
    trial_id,
    trial_number,
)

CELL = {"dataset": "digits", "model": "tinyvit_nano", "method": "neglora"}


def record(**changes):
    whole = Record(
        trial="digits-tinyvit_nano-neglora-0007",
        cell=CELL,
        params={"lr": 1e-3, "targets": ["head.fc"], "rank": 4},
        status="ok",
        metrics={"ua": 1.0, "mia": None, "mia_has_signal": True},
        report={"ua": 0.5},
        replicates=[{"forget": 3, "seed": 0, "metrics": {"ua": 1.0}, "report": {}, "details": {"counts": {"test": 9}}}],
        cost={"unlearn_seconds": 0.25, "peak_memory_bytes": None},
        sampler={"tpe": [1, 2]},
        provenance={"host": "h"},
    )
    return replace(whole, **changes)


def line_with(**changes):
    return json.dumps(json.loads(record().to_line()) | changes)


def test_round_trip():
    for status, reason in (("ok", None), ("diverged", "the loss became nan at step 3"), ("failed", "a \n line break")):
        whole = record(status=status, reason=reason)
        line = whole.to_line()
        assert "\n" not in line
        assert Record.from_line(line) == whole
    assert json.loads(record().to_line())["schema"] == SCHEMA
    assert record().number == 7


def test_unknown_keys_of_a_later_program_are_passed_over():
    assert Record.from_line(line_with(colour="green")) == record()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_invented_numbers_go_out(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        record(metrics={"ua": value}).to_line()


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_no_invented_numbers_come_in(constant):
    with pytest.raises(RecordError, match=constant):
        Record.from_line(record().to_line().replace("0.25", constant))


def test_newer_schema_says_upgrade():
    with pytest.raises(RecordError, match=r"newer.*upgrade"):
        Record.from_line(line_with(schema=SCHEMA + 1))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "not a JSON object"),
        ('{"schema": 1, "tri', "not a JSON object"),
        ("[1]", "a list"),
        ("[" * 100_000, "not a JSON object"),
        ("{}", "schema"),
        (line_with(schema=True), "schema"),
        (line_with(schema="1"), "schema"),
        (line_with(cell=None), "'cell' should be a dict"),
        (line_with(trial=3), "'trial' should be a str"),
        (line_with(trial="no-number"), "4 to 18 digits"),
        (line_with(trial=f"endless-{'1' * 5000}"), "4 to 18 digits"),
        (line_with(trial="../../escape-0001"), "4 to 18 digits"),
        (line_with(status="fine"), "ok, diverged, failed"),
        (line_with(fidelity="half"), "search, full, confirm"),
        (line_with(reason=4), "reason"),
        (line_with(metrics={"ua": "1.0"}), r"'metrics\.ua'"),
        (line_with(report={"ua": [1]}), r"'report\.ua'"),
        (line_with(replicates=[1]), "replicates"),
        (line_with(replicates=[{"metrics": {"ua": "x"}}]), r"replicates\.metrics"),
        (line_with(replicates=[{"report": "x"}]), r"replicates\.report"),
    ],
)
def test_bad_lines_say_what_is_wrong(line, message):
    with pytest.raises(RecordError, match=message):
        Record.from_line(line)


def test_cell_ids():
    assert cell_id(CELL) == "digits-tinyvit_nano-neglora"
    assert cell_id(CELL | {"sparsity": 0.9, "epochs": 2}) == "digits-tinyvit_nano-neglora-sparsity=0.9-epochs=2"
    assert trial_id(CELL, 7) == "digits-tinyvit_nano-neglora-0007"
    assert trial_number(trial_id(CELL, 12345)) == 12345


def test_unsafe_cells_keep_apart():
    first = cell_id(CELL | {"dataset": "imagefolder:/a/b"})
    second = cell_id(CELL | {"dataset": "imagefolder:_a_b"})
    assert first != second
    for name in (first, second):
        assert name.startswith("imagefolder__a_b-tinyvit_nano-neglora-")
        assert Record.from_line(line_with(trial=f"{name}-0000")).number == 0


def test_a_long_cell_has_a_short_name_that_keeps_it_apart():
    folder = "/home/somebody/" + "pictures-of-birds/" * 20
    cells = [
        CELL | {"dataset": f"imagefolder:{folder}{place}", "sparsity": sparsity}
        for place in ("a", "b")
        for sparsity in (0.0, 0.9)
    ]
    names = [cell_id(cell) for cell in cells]
    assert len(set(names)) == len(cells)
    for name, cell in zip(names, cells, strict=True):
        assert len(name) == LONGEST_NAME
        assert name.startswith("imagefolder__home_somebody_pictures")
        assert f"-tinyvit_nano-neglora-sparsity={cell['sparsity']}-" in name
        assert Record.from_line(line_with(trial=f"{name}-0000")).number == 0
    safe = cell_id(CELL | {"dataset": "x" * 200})
    assert len(safe) == LONGEST_NAME
    assert safe != cell_id(CELL | {"dataset": "x" * 201})


def test_configuration_key_sees_values_not_their_writing():
    key = configuration_key({"rank": 4, "lr": 1e-3, "targets": ["a", "b"]})
    assert key == configuration_key({"lr": 0.001, "targets": ("a", "b"), "rank": 4.0})
    assert key != configuration_key({"lr": 0.001, "targets": ["b", "a"], "rank": 4})
    assert key != configuration_key({"lr": 0.0011, "targets": ["a", "b"], "rank": 4})
    assert configuration_key({"x": True}) != configuration_key({"x": 1})


def test_mean_over_replicates():
    means = mean_measured(
        [
            {"ua": 1.0, "ra": 0.5, "mia": 0.25, "mia_has_signal": True, "flag": True, "ua_test": 1.0},
            {"ua": 0.5, "ra": None, "mia": 0.75, "mia_has_signal": False, "flag": True},
        ]
    )
    assert means == {"ua": 0.75, "ra": None, "mia": 0.5, "mia_has_signal": False, "flag": True, "ua_test": None}
    assert mean_measured([]) == {}
