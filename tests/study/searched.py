"""A cell to search, as the space has it, as far as a search looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from study.dimensions import Choice, Dimension, Range

IDENTITY = {"dataset": "digits", "model": "tinyvit_nano", "method": "neglora"}
#: Every kind of dimension: ordered and unordered choices, one of which is a list of module names; both kinds of range.
MIXED: dict[str, Dimension] = {
    "rank": Choice((2, 4, 8, 16)),
    "targets": Choice(("ffn", ("blocks.0.fc1", "blocks.1.fc1"))),
    "epochs": Range(1, 3, integer=True),
    "lr": Range(3e-4, 1e-2, log=True),
}
LISTS: dict[str, Dimension] = {"rank": Choice((2, 4, 8, 16)), "epochs": Choice((1, 2)), "sparsity": Choice((0.0, 0.9))}


@dataclass(frozen=True)
class Cell:
    dimensions: Mapping[str, Dimension]
    trials: int
    fixed: Mapping[str, Any] = field(default_factory=lambda: {"dropout": 0.1})
    configurations: tuple[Mapping[str, Any], ...] = ()
    id: str = "digits-tinyvit_nano-neglora"
