"""How many trials a resolved space asks for, by cell. Without torch, so that status and reports are quick."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from neglora.parameters import PARAMETERS
from neglora.record import cell_id


def asked_trials(space: Mapping[str, Any], *, references: bool = True) -> dict[str, int]:
    """The budget of every cell by its name, Retrain's first. An axis that a method does not have does not split it.

    Args:
        space: what `study.yaml` holds.
        references: whether Retrain's cells are among them.

    Raises:
        KeyError, TypeError: it is not a resolved space.
    """
    return {name: budget for name, (_, budget) in _asked(space, references).items()}


def asked_cells(space: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every cell by its name, as `asked_trials` orders them: dataset, model, method and the level of every axis."""
    return {name: cell for name, (cell, _) in _asked(space, True).items()}


def _asked(space: Mapping[str, Any], references: bool) -> dict[str, tuple[dict[str, Any], int]]:
    pairs = list(itertools.product(space["datasets"], space["models"]))
    found: list[tuple[dict[str, Any], int]] = []
    if references:
        found += [({"dataset": dataset, "model": model, "method": "retrain"}, 1) for dataset, model in pairs]
    for (dataset, model), method in itertools.product(pairs, space["methods"]):
        levels = {
            parameter.name: space["axes"][parameter.name]
            for parameter in PARAMETERS.get(method, ())
            if parameter.name in (space.get("axes") or {})
        }
        for point in itertools.product(*levels.values()):
            axes = dict(zip(levels, point, strict=True))
            budget = _budget(space["methods"][method], axes, int(space["search"]["trials"]))
            found.append(({"dataset": dataset, "model": model, "method": method} | axes, budget))
    return {cell_id(cell): (cell, budget) for cell, budget in found}


def _budget(settings: Mapping[str, Any], axes: Mapping[str, Any], trials: int) -> int:
    """With explicit configurations and nothing to search, the configurations of the cell are all there is."""
    points = settings.get("configurations") or []
    searched = [name for name, value in settings.items() if name != "configurations" and _is_open(value)]
    own = [point for point in points if all(point.get(name, level) == level for name, level in axes.items())]
    return min(trials, len(own)) if own and not searched else trials


def _is_open(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and len(value) > 1)
