"""What `neglora status` shows of each cell: the numbers of the report, in 80 columns."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from neglora.record import Record
from study.again import outstanding
from study.aggregate import summarize as summary_of
from study.asked import asked_cells, asked_trials
from study.cli.statustable import Row, status_rows, status_table
from study.progress import summarize
from study.sparkline import BLOCKS
from tests.study import handmade


def rows_of(records: list[Record], **changes: object) -> list[Row]:
    study = handmade.study(**changes)
    return status_rows(summarize(records, asked_trials(study)), records, study)


def told(records: list[Record], width: int = 80, encoding: str = "utf-8", **changes: object) -> list[str]:
    study = handmade.study(**changes)
    state = summarize(records, asked_trials(study), outstanding(records, study))
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(status_table(state, status_rows(state, records, study), width, encoding))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_numbers_are_those_of_the_report():
    records = handmade.searched(8)
    summary = summary_of(records, handmade.study())
    rows = {row.name: row for row in rows_of(records)}
    assert list(rows) == ["Retrain", "neggrad", "partial_neggrad", "neglora"]
    assert len(summary["cells"]) == 3
    for cell in summary["cells"]:
        row = rows[cell["method"]]
        assert row.in_full
        assert row.values == {name: cell["recommended"]["report"][name] for name in ("ua", "ra", "ta", "mia", "gap")}
        assert row.volumes[-1] == pytest.approx(cell["hypervolume"])
        assert len(row.volumes) == 8
    assert rows["Retrain"].values["ta"] == 0.97


def test_every_line_fits_80_columns_and_says_what_it_is():
    lines = told(handmade.grid(4), **handmade.GRID)
    assert max(map(len, lines)) <= 80
    assert lines.count("tinyvit_nano on digits") == 1
    (line,) = [line for line in lines[: lines.index("resnet_nano on digits")] if line.startswith(" neglora")]
    name, done, *values, found, curve = line.split()
    assert (name, done) == ("neglora", "4/16")
    assert len(values) == 5
    assert 0 < float(found) < 1
    assert set(curve) <= set(BLOCKS)
    assert curve[-1] == BLOCKS[-1]
    assert any("of what the report recommends" in line for line in lines)
    assert "diverged" not in "".join(lines)


@pytest.mark.parametrize("width", [80, 60, 40])
def test_names_are_folded_and_numbers_are_whole(width):
    axes = {"sparsity": [0.0, 0.9]}
    records = [handmade.retrain(), *handmade.searched(3, axes={"sparsity": 0.9})[1:]]
    lines = told(records, width, axes=axes)
    assert max(map(len, lines)) <= width
    text = "".join("".join(lines).split())
    assert ("…" in text) == (width < 50)
    assert "neglora" in text


def test_cells_without_a_trial_are_there():
    rows = rows_of([], axes={"sparsity": [0.0, 0.5]})
    assert [row.name for row in rows][:3] == ["Retrain", "neggrad, sparsity 0.0", "neggrad, sparsity 0.5"]
    assert {(row.progress.done, len(row.volumes)) for row in rows} == {(0, 0)}
    assert asked_cells(handmade.study()).keys() == asked_trials(handmade.study()).keys()
    lines = told([])
    assert " neglora         0/16  -  -  -   -   -" in lines
    assert "recommends" not in "".join(lines)


def test_what_was_measured_on_subsets_alone_is_marked():
    records = [one for one in handmade.staged(6, model="resnet_nano") if one.fidelity == "search"]
    lines = told(records, models=["resnet_nano"], **handmade.STAGED)
    assert any(line.startswith(" neglora") and "~" in line for line in lines)
    assert any("on subsets" in line for line in lines)
    assert max(map(len, lines)) <= 80
    assert "~" not in "".join(told(handmade.searched(2)))


def test_a_cell_of_which_every_trial_diverged_has_no_numbers():
    (row,) = [one for one in rows_of([handmade.record(0, status="diverged", reason="nan")]) if one.name == "neglora"]
    assert set(row.values.values()) == {None}
    assert row.progress.diverged == 1


def test_a_terminal_without_blocks_has_ascii():
    assert "\n".join(told(handmade.searched(3), encoding="ascii")).isascii()
    assert not "\n".join(told(handmade.searched(3))).isascii()
