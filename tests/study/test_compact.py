"""Records that take less memory, and are the same."""

import sys
import tracemalloc
from dataclasses import replace

import handmade

from neglora.record import Record
from study.compact import compact


def test_a_compact_record_is_equal_and_writes_the_same_line():
    for record in [handmade.retrain(), *handmade.searched(4), handmade.record(7, status="failed", reason="lost" * 40)]:
        made = compact(record)
        assert made == record
        assert made.to_line() == record.to_line()


def test_equal_parts_are_one_object_and_others_are_not():
    values = {"ua": 1.0, "ra": 0.5, "ta": 0.25, "mia": 1.0, "gap": 0.1}
    near = values | {"ra": True}
    replicate = {"metrics": dict(values), "report": near, "cost": {}, "forget": 3, "seed": 0}
    parts = {"metrics": dict(values), "report": dict(values), "replicates": [replicate]}
    made = compact(replace(handmade.record(0), **parts))
    assert made.metrics is made.report
    assert made.metrics is made.replicates[0]["metrics"]
    assert made.replicates[0]["report"] == near
    assert made.replicates[0]["report"]["ra"] is True


def test_what_is_equal_and_not_the_same_stays_apart():
    one, true = dict.fromkeys("abcde", 1), dict.fromkeys("abcde", True)
    made = compact(replace(handmade.record(0), cost=one, sampler=true))
    assert made.to_line() == replace(handmade.record(0), cost=one, sampler=true).to_line()


def test_records_that_are_read_take_less():
    lines = [handmade.record(number, metrics=handmade.values(0.1, 0.2, 0.3, 0.4)).to_line() for number in range(200)]
    assert size([Record.from_line, compact], lines) < 0.75 * size([Record.from_line], lines)


def size(steps, lines):
    tracemalloc.start()
    kept = []
    for line in lines:
        made = line
        for step in steps:
            made = step(made)
        kept.append(made)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == len(lines)
    return taken


def test_names_are_the_programs():
    made = compact(Record.from_line(handmade.retrain().to_line()))
    assert all(name is sys.intern(name) for name in made.metrics)
