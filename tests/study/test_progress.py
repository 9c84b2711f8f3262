from __future__ import annotations

import io

import handmade
import pytest
from rich.console import Console

from neglora.record import Record
from study.progress import (
    Again,
    CellCount,
    CellProgress,
    LiveProgress,
    PlainProgress,
    StudyProgress,
    cells_table,
    choose_progress,
    duration,
    summarize,
)


def console(width: int = 80, *, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)


def cell_progress(name: str, records: list[Record], total: int | None = None, running: int = 0) -> CellProgress:
    counts = CellCount(name)
    for record in records:
        counts.add(record)
    return counts.progress(total, running)


def written(target: Console) -> str:
    return target.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations_in_words(seconds, text):
    assert duration(seconds) == text


def test_the_nearest_trial_has_the_smallest_gap_and_is_finished():
    records = [
        Record("c-0000", {}, {}, "ok", metrics={"gap": 0.2, "ua": 0.5}),
        Record("c-0001", {}, {}, "ok", metrics={"gap": 0.1, "ua": 0.9}),
        Record("c-0002", {}, {}, "diverged", reason="the loss became inf at step 1"),
        Record("c-0003", {}, {}, "ok", metrics={"gap": None, "ua": 1.0}),
    ]
    assert cell_progress("c", records).best == {"gap": 0.1, "ua": 0.9}
    assert cell_progress("c", records[2:]).best is None


def test_a_trial_of_several_lines_counts_once_and_its_line_in_full_goes_before():
    searched = [
        Record("c-0000", {}, {}, "ok", fidelity="search", metrics={"gap": 0.01}),
        Record("c-0001", {}, {}, "ok", fidelity="search", metrics={"gap": 0.03}),
        Record("c-0002", {}, {}, "failed", reason="lost"),
    ]
    assert cell_progress("c", searched).best == {"gap": 0.01}
    counts = CellCount("c")
    again = [
        Record("c-0000", {}, {}, "failed", fidelity="full", reason="lost"),
        Record("c-0001", {}, {}, "ok", fidelity="full", metrics={"gap": 0.04}),
        Record("c-0001", {}, {}, "diverged", fidelity="confirm", reason="the loss became inf at step 1"),
    ]
    for record in searched + again:
        counts.add(record)
    state = counts.progress(4)
    assert (state.done, state.diverged, state.failed, state.best) == (3, 0, 2, {"gap": 0.04})
    assert (counts.again("full"), counts.again("confirm")) == (2, 1)
    assert counts.progress(None).total == 3


def test_cells_without_records_are_listed_with_what_was_asked():
    state = summarize([handmade.record(0, method="neglora")], {"digits-tinyvit_nano-neglora": 4, "other": 2})
    assert [(cell.name, cell.done, cell.total) for cell in state.cells] == [
        ("digits-tinyvit_nano-neglora", 1, 4),
        ("other", 0, 2),
    ]


def test_the_table_fits_80_columns():
    name = "imagenet100-tinyvit_21m-partial_neggrad-epochs=2-sparsity=0.95"
    target = console(80)
    target.print(cells_table(StudyProgress((cell_progress(name, [], 16, running=2),), 125.0), 80))
    lines = written(target).splitlines()
    assert max(map(len, lines)) <= 80
    assert "0/16" in lines[1]
    assert "about 2 min 05 s left" in lines[-1]


def test_what_is_measured_once_more_is_told_below_the_table():
    target = console(80)
    again = (Again("full", 3, 5), Again("confirm", 1, 1))
    target.print(cells_table(StudyProgress((cell_progress("c", [], 0),), 20.0, again=again), 80))
    told = " ".join(written(target).split())
    assert told.endswith("0 of 0 trials, confirming 3 of 5 in full, confirmed 1 of 1 on unseen pairs, about 20 s left")


def test_names_that_differ_in_their_end_are_told_apart():
    names = [f"imagenet100-tinyvit_21m-partial_neggrad-sparsity={level}" for level in ("0.9", "0.95")]
    target = console(80)
    target.print(cells_table(StudyProgress(tuple(cell_progress(name, [], 4) for name in names), None), 80))
    first, first_end, second, second_end = (line.split()[0] for line in written(target).splitlines()[1:5])
    assert [first + first_end, second + second_end] == names


def test_many_cells_leave_room_and_show_what_runs():
    cells = [cell_progress(f"cell-{number}", [], 4, running=int(number == 50)) for number in range(60)]
    target = console(80)
    target.print(cells_table(StudyProgress(tuple(cells), None), 80, most=10))
    lines = written(target).splitlines()
    assert len(lines) <= 12
    assert any(line.split()[:2] == ["cell-50", "0/4"] for line in lines)
    assert "and 51 more cells" in lines[-2]


def test_plain_lines_name_trial_outcome_and_time_left():
    target = console(200)
    progress = PlainProgress(target)
    progress.preparation(3, 2)
    progress.preparing("base", 1, 15)
    progress.preparing("base", 2, 15)
    progress.prepared("base")
    diverged = Record("c-0001", {}, {}, "diverged", reason="the loss became inf at step 1")
    progress.trials(StudyProgress((cell_progress("c", [diverged], 4),), 30.0), diverged)
    ended = Record("c-0000", {}, {}, "ok", metrics={"ua": 1.0})
    progress.trials(StudyProgress((cell_progress("c", [ended], 1),), 5.0, again=(Again("full", 1, 2),)), ended)
    assert written(target).splitlines() == [
        "Base models and Retrain: 1 there, 2 to make",
        "  base: epoch 1 of 15",
        "  base: ready",
        "  [1/4, 30 s left] c-0001: diverged: the loss became inf at step 1",
        "  [1/1, confirming 1 of 2 in full, 5 s left] c-0000: UA 100.0  RA -  TA -  MIA -",
    ]


def test_a_terminal_gets_the_live_display_unless_ci_is_set(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    target = console(100, terminal=True)
    live = choose_progress(target)
    assert isinstance(live, LiveProgress)
    live.preparing("base", 3, 15)
    live.trials(StudyProgress((cell_progress("digits-neglora", [], 16),), None))
    live.close()
    assert "digits-neglora" in written(target)
    monkeypatch.setenv("CI", "true")
    assert isinstance(choose_progress(target), PlainProgress)
    assert isinstance(choose_progress(console()), PlainProgress)
