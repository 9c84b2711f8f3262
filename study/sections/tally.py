"""How many trials each cell had, how they ended, how they were measured, and how long one took."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from neglora.record import FIDELITIES, STATUSES
from study.sections.html import Html, head_row, row, table, tag
from study.sections.source import Source
from study.sections.values import missing, seconds
from study.stages import by_fidelity, by_status

_MEASURED = {"search": "On subsets", "full": "In full", "confirm": "On unseen pairs"}
_TIMED = (("unlearn_seconds", "Unlearning one"), ("evaluate_seconds", "Measuring one"))


@dataclass(frozen=True)
class Times:
    """Seconds over the lines of a cell; None where no line has them."""

    median: float | None
    longest: float | None


@dataclass(frozen=True)
class Tally:
    """One cell.

    Attributes:
        name: of the cell, with its dataset and model.
        statuses: trials by how they ended; one of several lines counts once.
        fidelities: trials that were measured well in each way.
        times: by cost, over all lines that have it.
    """

    name: str
    statuses: dict[str, int]
    fidelities: dict[str, int]
    times: dict[str, Times]


def tallies(source: Source) -> list[Tally]:
    """Every searched cell, in the order of the ledger."""
    return [
        Tally(
            str(name),
            by_status(rows),
            by_fidelity(rows),
            {cost: _times(rows[cost]) for cost, _ in _TIMED},
        )
        for name, rows in source.searched.groupby("cell", sort=False)
    ]


def _times(taken: pd.Series) -> Times:
    known = taken.dropna().astype(float)
    return Times(float(known.median()), float(known.max())) if len(known) else Times(None, None)


def tally_html(source: Source) -> Html | None:
    """A table with a row for each cell; None before there is one."""
    found = tallies(source)
    if not found:
        return None
    kinds = [kind for kind in FIDELITIES if any(one.fidelities[kind] for one in found)]
    head = head_row(
        "Cell",
        *STATUSES,
        *(_MEASURED[kind] for kind in kinds),
        *(f"{label}, median (longest)" for _, label in _TIMED),
    )
    rows = [
        row(
            one.name,
            [tag("td", f"{one.statuses[status]:,}") for status in STATUSES],
            [tag("td", f"{one.fidelities[kind]:,}") for kind in kinds],
            list(_taken(one)),
        )
        for one in found
    ]
    return table(
        head, rows, caption="Trials by how they ended, how they were measured, and what they took", class_="numbers"
    )


def _taken(one: Tally) -> Iterator[Html]:
    for cost, _ in _TIMED:
        times = one.times[cost]
        if times.median is None:
            yield tag("td", missing("not recorded"))
        else:
            yield tag("td", seconds(times.median), " (", seconds(times.longest), ")")
