"""The paper's numbers, from `published.toml`: shown beside measured ones, never a target for them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

#: What a published row has for one and for two epochs, and what it has once.
PER_EPOCHS = ("ua", "mia", "ra", "ta")
ONCE = ("parameters", "rte_epoch")
EPOCHS = (1, 2)


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table.

    Attributes:
        dataset, method: as this project names them.
        name: the method as the table prints it.
        parameters: trained parameters as printed, such as "1.86M".
        metrics: ua, mia, ra and ta by number of epochs; fractions.
        rte_epoch: time of an unlearning epoch over that of a retraining epoch.
    """

    dataset: str
    method: str
    name: str
    parameters: str
    metrics: Mapping[int, Mapping[str, float]]
    rte_epoch: float


@dataclass(frozen=True)
class Doubt:
    """Cells of a published row that contradict the paper itself: fields, at which epochs (none for `ONCE`), and why."""

    dataset: str
    method: str
    fields: tuple[str, ...]
    epochs: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class PublishedTable:
    """One table of the paper.

    Attributes:
        source: its name in the paper, such as "Figure 2".
        model: as the table prints it.
        compares_to: names of this project's models that it may stand beside.
        about: what to know before comparing.
        rows, doubts: in the order of the table.
    """

    source: str
    model: str
    compares_to: tuple[str, ...]
    about: str
    rows: tuple[PublishedRow, ...]
    doubts: tuple[Doubt, ...]

    def row(self, dataset: str, method: str) -> PublishedRow | None:
        """The row of a method on a dataset, or None where the table has none."""
        return next((row for row in self.rows if (row.dataset, row.method) == (dataset, method)), None)

    def doubt(self, row: PublishedRow, field: str, epochs: int) -> str | None:
        """Why a cell cannot be right, or None where nothing contradicts it. `epochs` is ignored for `ONCE`."""
        for doubt in self.doubts:
            named = (doubt.dataset, doubt.method) == (row.dataset, row.method) and field in doubt.fields
            if named and (field in ONCE or epochs in doubt.epochs):
                return doubt.reason
        return None


@cache
def published_tables() -> tuple[PublishedTable, ...]:
    """Every table of the paper that is carried over."""
    text = resources.files("study").joinpath("published.toml").read_text(encoding="utf-8")
    return tuple(_table(table) for table in tomllib.loads(text)["table"])


def published_for(dataset: str, model: str) -> PublishedTable | None:
    """The table that has this dataset and may stand beside this model, or None."""
    for table in published_tables():
        if model in table.compares_to and any(row.dataset == dataset for row in table.rows):
            return table
    return None


def _table(table: Mapping[str, Any]) -> PublishedTable:
    return PublishedTable(
        source=table["source"],
        model=table["model"],
        compares_to=tuple(table["compares_to"]),
        about=table["about"],
        rows=tuple(_row(row) for row in table["row"]),
        doubts=tuple(
            Doubt(
                doubt["dataset"],
                doubt["method"],
                tuple(doubt["fields"]),
                tuple(doubt.get("epochs", ())),
                doubt["reason"],
            )
            for doubt in table["doubtful"]
        ),
    )


def _row(row: Mapping[str, Any]) -> PublishedRow:
    # The file has percent with two decimals: the fraction has four, and none more from the division.
    metrics = {
        epochs: {name: round(row[name][index] / 100, 4) for name in PER_EPOCHS} for index, epochs in enumerate(EPOCHS)
    }
    return PublishedRow(row["dataset"], row["method"], row["name"], row["parameters"], metrics, row["rte_epoch"])
