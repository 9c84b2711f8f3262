"""What `neglora status` shows of each cell: how far it is, what is recommended in it, and what its search gained."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from neglora.objectives import GAP_METRICS
from neglora.record import Record
from study.aggregate import latest, trials_table
from study.asked import asked_cells
from study.budget import cell_curves
from study.progress import CellProgress, StudyProgress, percent
from study.recommend import recommend
from study.shown import shown
from study.sparkline import sparkline

_SHOWN = (*GAP_METRICS, "gap")
_NOTES = {
    "half": "UA, RA, TA, MIA in %, gap to Retrain in points: of what the report recommends.",
    "~": "~ is of the trial nearest to Retrain so far, on subsets: none is measured in full.",
    "volume": "found: hypervolume of the front after the last trial, and how it grew.",
}


@dataclass(frozen=True)
class Row:
    """One cell.

    Attributes:
        group: its model and dataset.
        name: its method and axis levels.
        progress: counts of trials.
        values: UA, RA, TA, MIA and gap as the report shows them of what is recommended; None where nothing is, or it
            was not measured.
        in_full: whether those are of images that no search was told; else they are the search's, on subsets.
        volumes: hypervolume after each trial; empty for Retrain.
    """

    group: str
    name: str
    progress: CellProgress
    values: Mapping[str, float | None]
    in_full: bool
    volumes: Sequence[float]


def status_rows(state: StudyProgress, records: Sequence[Record], study: Mapping[str, Any]) -> list[Row]:
    """The cells by dataset and model, Retrain first in each, those without any trial too.

    Args:
        state: of the study.
        records: of the ledger.
        study: the resolved space.

    Raises:
        KeyError, TypeError: it is not a resolved space.
    """
    records = latest(records)
    by_trial = {record.trial: record for record in records if record.fidelity == "full"}
    table = trials_table(records)
    by_cell: dict[str, pd.DataFrame] = {str(cell): rows for cell, rows in table.groupby("cell", sort=False)}
    asked = asked_cells(study)
    known = asked | {record.trial.rsplit("-", 1)[0]: record.cell for record in records}
    volumes: dict[str, list[float]] = {}
    for _, own in table.groupby(["dataset", "model"], sort=False):
        volumes |= {curve.cell: curve.hypervolumes for curve in cell_curves(own, list(study["objectives"]))}
    found = []
    for progress in state.cells:
        cell = known[progress.name]
        rows = by_cell.get(progress.name)
        record = _of(cell, rows, by_trial, study)
        values = {name: None if record is None else shown(record.metrics, record.report, name) for name in _SHOWN}
        if record is None and progress.best is not None:
            values = {name: progress.best.get(name) for name in _SHOWN}
        levels = [f"{name} {level}" for name, level in cell.items() if name not in ("dataset", "model", "method")]
        name = "Retrain" if cell["method"] == "retrain" else ", ".join([str(cell["method"]), *levels])
        group = f"{cell['model']} on {cell['dataset']}"
        found.append(Row(group, name, progress, values, record is not None, volumes.get(progress.name, [])))
    groups = list(dict.fromkeys(row.group for row in found))
    return sorted(found, key=lambda row: groups.index(row.group))


def _of(
    cell: Mapping[str, Any], rows: pd.DataFrame | None, by_trial: Mapping[str, Record], study: Mapping[str, Any]
) -> Record | None:
    """The record that the report shows of a cell."""
    if rows is None:
        return None
    if cell["method"] == "retrain":
        done = [by_trial[trial] for trial in rows["trial"] if trial in by_trial and by_trial[trial].status == "ok"]
        return done[-1] if done else None
    choice = recommend(rows, study.get("constraints") or {}).trial
    return None if choice is None else by_trial[choice]


def status_table(state: StudyProgress, rows: Sequence[Row], width: int, encoding: str = "utf-8") -> Group:
    """A table for each dataset and model, with the same columns, and below them what they show.

    Args:
        state: of the study.
        rows: of `status_rows`.
        width: columns of the terminal. Names that do not fit are continued on the next line.
        encoding: of the terminal.
    """
    lost = any(row.progress.diverged or row.progress.failed for row in rows)
    longest = max((len(row.name) for row in rows), default=0)
    for columns in _Columns(lost, 10), _Columns(lost, 6), _Columns(lost, 0), _Columns(False, None):
        heads, lines = columns.heads, [columns.line(row, encoding) for row in rows]
        widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
        # A space after each column, and one before names.
        names = min(longest, width - sum(widths) - len(widths) - 2)
        if names >= min(longest, 16):
            break
    names = max(names, 8)
    parts: list[Padding | Text] = []
    for title, own in itertools.groupby(zip(rows, lines, strict=True), key=lambda pair: pair[0].group):
        parts.append(Text(title, style="bold", overflow="fold"))
        table = Table(box=None, padding=(0, 1, 0, 0), expand=False, show_header=len(parts) == 1)
        table.add_column("", overflow="fold", width=names)
        for head, wide in zip(heads, widths, strict=True):
            table.add_column(head, justify="left" if head == "found" else "right", no_wrap=True, width=wide)
        for row, line in own:
            table.add_row(Text(row.name), *map(Text, line))
        parts.append(Padding(table, (0, 0, 0, 1)))
    curves = columns.curve is not None and any(row.volumes for row in rows)
    return Group(*parts, *map(Text, _said(state, rows)), *([Text(_NOTES["volume"])] if curves else []))


def _said(state: StudyProgress, rows: Sequence[Row]) -> list[str]:
    """How many trials there are, and what the columns are."""
    done, total = sum(row.progress.done for row in rows), sum(row.progress.total for row in rows)
    said = [f"{done} of {total} trials" + "".join(f", {again}" for again in state.again)]
    if any(value is not None for row in rows for value in row.values.values()):
        said.append(_NOTES["half"])
    return said + ([_NOTES["~"]] if any(map(_approximate, rows)) else [])


@dataclass(frozen=True)
class _Columns:
    """Which columns there is room for: those of lost trials; so many characters of a curve, 0 for its end alone, None
    for neither."""

    lost: bool
    curve: int | None

    @property
    def heads(self) -> list[str]:
        found = [] if self.curve is None else ["found"]
        return ["done", *(("div.", "fail") if self.lost else ()), "UA", "RA", "TA", "MIA", "gap", *found]

    def line(self, row: Row, encoding: str) -> list[str]:
        own = row.progress
        mark = "~" if _approximate(row) else ""
        values = [mark + percent(row.values[name]) if row.values[name] is not None else "-" for name in _SHOWN]
        counts = [f"{own.done}/{own.total}", *((str(own.diverged), str(own.failed)) if self.lost else ())]
        if self.curve is None:
            return [*counts, *values]
        found = f"{row.volumes[-1]:.3f}" if row.volumes else ""
        grown = f" {sparkline(row.volumes, self.curve, encoding=encoding)}" if row.volumes and self.curve else ""
        return [*counts, *values, found + grown]


def _approximate(row: Row) -> bool:
    return not row.in_full and any(value is not None for value in row.values.values())
