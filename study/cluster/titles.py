"""What a trial is called where people watch a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Characters of a title.
LONGEST = 160


def title(trial: str, params: Mapping[str, Any]) -> str:
    """A trial's id, which begins with its cell, and its configuration: `digits-...-neglora-0007 rank=4 lr=0.00316`."""
    return f"{trial} {configuration(params)}".strip()[:LONGEST]


def cell_of(title: str) -> str:
    """The cell of a trial by the trial's title: `digits-...-neglora`."""
    return title.split(" ", 1)[0].rsplit("-", 1)[0]


def configuration(params: Mapping[str, Any]) -> str:
    """`rank=4 lr=0.00316`."""
    return " ".join(f"{name}={_short(value)}" for name, value in params.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
