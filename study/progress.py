"""What a study tells while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from neglora.record import FIDELITIES, Fidelity, Record

#: How a trial that has ended is measured once more, in words.
AGAIN = {"full": "in full", "confirm": "on unseen pairs"}


@dataclass(frozen=True)
class CellProgress:
    """One cell's state: counts of trials, and the metrics of the trial nearest to Retrain."""

    name: str
    total: int
    done: int
    running: int
    diverged: int
    failed: int
    best: dict[str, float] | None


@dataclass(frozen=True)
class Again:
    """Trials that are measured once more, as far as it is known which: `confirming 3 of 5 in full`."""

    fidelity: Fidelity
    done: int
    total: int

    def __str__(self) -> str:
        doing = "confirming" if self.done < self.total else "confirmed"
        return f"{doing} {self.done} of {self.total} {AGAIN[self.fidelity]}"


@dataclass(frozen=True)
class StudyProgress:
    """All cells.

    Attributes:
        cells: in the order of the study.
        seconds_left: an estimate; None until there is one.
        pending: trials that were handed out and that no worker has started.
        again: trials that are measured once more.
    """

    cells: tuple[CellProgress, ...]
    seconds_left: float | None
    pending: int = 0
    again: tuple[Again, ...] = ()

    @property
    def left(self) -> int:
        """How often a trial is yet to be measured, as far as it is known."""
        cells = sum(max(0, cell.total - cell.done) for cell in self.cells)
        return cells + sum(again.total - again.done for again in self.again)


class Progress(Protocol):
    """Told by a running study what happens."""

    def say(self, text: str) -> None: ...
    def preparation(self, total: int, missing: int) -> None: ...
    def preparing(self, title: str, epoch: int, epochs: int) -> None: ...
    def prepared(self, title: str) -> None: ...
    def trials(self, state: StudyProgress, record: Record | None = None) -> None: ...
    def close(self) -> None: ...


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def duration(seconds: float) -> str:
    """`47 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def choose_progress(console: Console) -> Progress:
    """A live display on a terminal; plain lines when it is none, or with CI set."""
    return LiveProgress(console) if console.is_terminal and not os.environ.get("CI") else PlainProgress(console)


class PlainProgress:
    """One line an event, epochs at most every ten seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._last: dict[str, float] = {}

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def preparation(self, total: int, missing: int) -> None:
        self.say(_preparation_line(total, missing))

    def preparing(self, title: str, epoch: int, epochs: int) -> None:
        now = time.monotonic()
        if now - self._last.get(title, 0.0) > 10:
            self._last[title] = now
            self.say(f"  {title}: epoch {epoch} of {epochs}")

    def prepared(self, title: str) -> None:
        self.say(f"  {title}: ready")

    def trials(self, state: StudyProgress, record: Record | None = None) -> None:
        if record is None:
            return
        done = sum(cell.done for cell in state.cells)
        total = sum(cell.total for cell in state.cells)
        again = "".join(f", {again}" for again in state.again)
        left = f", {duration(state.seconds_left)} left" if state.seconds_left else ""
        self.say(f"  [{done}/{total}{again}{left}] {record.trial}: {outcome(record)}")

    def close(self) -> None:
        """Nothing is held."""


class LiveProgress:
    """A table that is redrawn in place."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._preparing: dict[str, tuple[int, int]] = {}
        self._state: StudyProgress | None = None
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._render, transient=False)
        self._live.start()

    def say(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def preparation(self, total: int, missing: int) -> None:
        self.say(_preparation_line(total, missing))

    def preparing(self, title: str, epoch: int, epochs: int) -> None:
        self._preparing[title] = (epoch, epochs)

    def prepared(self, title: str) -> None:
        self._preparing.pop(title, None)
        self.say(f"  {title}: ready")

    def trials(self, state: StudyProgress, record: Record | None = None) -> None:
        self._preparing.clear()
        self._state = state

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> Group:
        parts: list[Table | Text] = []
        if self._preparing:
            parts.append(_preparation_table(self._preparing))
        if self._state:
            room = self.console.height - len(self._preparing) - 4
            parts.append(cells_table(self._state, self.console.width, most=max(room, 3)))
        return Group(*parts)


def outcome(record: Record) -> str:
    """One trial in a few words: its metrics in percent, or why it has none."""
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    shown = [f"{name.upper()} {percent(_number(record, name))}" for name in ("ua", "ra", "ta", "mia")]
    return "  ".join(shown)


def _number(record: Record, name: str) -> float | None:
    value = record.metrics.get(name)
    return None if value is None else float(value)


def _preparation_line(total: int, missing: int) -> str:
    if not missing:
        return f"Base models and Retrain: all {total} there"
    return f"Base models and Retrain: {total - missing} there, {missing} to make"


def _preparation_table(preparing: dict[str, tuple[int, int]]) -> Table:
    table = Table.grid(padding=(0, 1))
    for title, (epoch, epochs) in preparing.items():
        table.add_row(f"  {title}", ProgressBar(total=epochs, completed=epoch, width=20), f"epoch {epoch}/{epochs}")
    return table


def cells_table(state: StudyProgress, width: int, most: int | None = None) -> Table:
    """Cells with their counts, fit for a terminal of `width` columns.

    Args:
        state: of all cells.
        width: columns of the terminal. Names that do not fit are continued on the next line: cells differ in their end.
        most: lines that cells may take; those that run come first then, those that are finished last. None for all.
    """
    narrow = width < 100
    name_width = 34 if narrow else 60
    cells = list(state.cells)
    if most is not None and sum(_lines(cell, name_width) for cell in cells) > most:
        cells = _foremost(cells, name_width, most - 1)
    done, total = sum(cell.done for cell in state.cells), sum(cell.total for cell in state.cells)
    again = "".join(f", {again}" for again in state.again)
    left = f", about {duration(state.seconds_left)} left" if state.seconds_left is not None and state.left else ""
    table = Table(
        caption=f"{done} of {total} trials{again}{left}", caption_justify="left", box=None, padding=(0, 1), expand=False
    )
    table.add_column("cell", overflow="fold", max_width=name_width)
    for title in ("done", "run", "div.", "fail"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("best UA/RA/TA %" if narrow else "nearest to Retrain: UA / RA / TA %", no_wrap=True)
    for cell in cells:
        best = "/".join(percent(cell.best.get(name)) for name in ("ua", "ra", "ta")) if cell.best else "-"
        table.add_row(
            Text(cell.name),
            f"{cell.done}/{cell.total}",
            str(cell.running),
            str(cell.diverged),
            str(cell.failed),
            Text(best),
        )
    if len(cells) < len(state.cells):
        table.add_row(f"and {len(state.cells) - len(cells)} more cells", style="dim")
    return table


def _lines(cell: CellProgress, width: int) -> int:
    return max(1, -(-len(cell.name) // width))


def _foremost(cells: Sequence[CellProgress], width: int, most: int) -> list[CellProgress]:
    """As many cells as fit into so many lines: those with running trials, then unfinished ones, in their order."""
    ranked = sorted(cells, key=lambda cell: (cell.running == 0, cell.done >= cell.total))
    chosen, taken = [], 0
    for cell in ranked:
        taken += _lines(cell, width)
        if taken > most:
            break
        chosen.append(cell)
    return [cell for cell in cells if cell in chosen]


class CellCount:
    """The trials of one cell, each of which may have several lines: searched on samples, in full, on unseen pairs.

    Args:
        name: the cell's id.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._status: dict[str, str] = {}
        self._trials: dict[str, set[str]] = {fidelity: set() for fidelity in FIDELITIES}
        # Of each fidelity the finished trial nearest to Retrain: its gap, its id, its metrics.
        self._nearest: dict[str, tuple[float, str, dict[str, float]]] = {}

    def add(self, record: Record) -> None:
        """Take up a line. What a trial's line in full says of it goes before what that of the search does."""
        self._trials[record.fidelity].add(record.trial)
        if record.fidelity == "confirm":
            return
        if record.fidelity == "full" or record.trial not in self._status:
            self._status[record.trial] = record.status
        gap = record.metrics.get("gap")
        if record.status == "ok" and gap is not None:
            measured = {name: float(value) for name, value in record.metrics.items() if value is not None}
            entry = (float(gap), record.trial, measured)
            self._nearest[record.fidelity] = min(
                self._nearest.get(record.fidelity, entry), entry, key=lambda one: one[:2]
            )

    def again(self, fidelity: Fidelity) -> int:
        """How many trials were measured once more: in full after the search, or on unseen pairs."""
        found = self._trials[fidelity]
        return len(found & self._trials["search"] if fidelity == "full" else found)

    def progress(self, total: int | None, running: int = 0) -> CellProgress:
        """The cell's state; without a total it is as many as there are."""
        statuses = list(self._status.values())
        best = self._nearest.get("full") or self._nearest.get("search")
        return CellProgress(
            name=self.name,
            total=len(statuses) if total is None else total,
            done=len(statuses),
            running=running,
            diverged=statuses.count("diverged"),
            failed=statuses.count("failed"),
            best=best[2] if best else None,
        )


def summarize(records: Sequence[Record], totals: Mapping[str, int], again: Sequence[Again] = ()) -> StudyProgress:
    """The state of a study that is not running here: its ledger's records against the asked number by cell.

    Args:
        records: of the ledger.
        totals: of the cells, in their order.
        again: what is measured once more.
    """
    counts = {name: CellCount(name) for name in totals}
    for record in records:
        name = record.trial.rsplit("-", 1)[0]
        counts.setdefault(name, CellCount(name)).add(record)
    cells = tuple(count.progress(totals.get(name)) for name, count in counts.items())
    return StudyProgress(cells, None, again=tuple(again))
