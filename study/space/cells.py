"""Cells: dataset x model x method x the levels of every axis, each with a search and a budget of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from neglora.methods import METHODS
from neglora.record import cell_id
from study.dimensions import Choice, Dimension, size_of
from study.space.methods import CONFIGURATIONS, parameters_of
from study.space.overriding import settings_in
from study.space.settings import dimension_of, frozen


@dataclass(frozen=True)
class Cell:
    """One search.

    Attributes:
        dataset, model, method: names.
        axes: the level of every axis that the method has.
        dimensions: what is searched, in the order of the method's parameters.
        fixed: every other parameter of the method, axes and defaults included.
        configurations: the points that run first, every parameter of the method in each.
        trials: the budget.
    """

    dataset: str
    model: str
    method: str
    axes: dict[str, Any] = field(default_factory=dict)
    dimensions: dict[str, Dimension] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    configurations: tuple[dict[str, Any], ...] = ()
    trials: int = 1

    @property
    def identity(self) -> dict[str, Any]:
        """The cell as records have it: plain data."""
        return {"dataset": self.dataset, "model": self.model, "method": self.method, **self.axes}

    @property
    def id(self) -> str:
        """The name that its trials' ids begin with."""
        return cell_id(self.identity)

    @property
    def size(self) -> int | None:
        """How many configurations the dimensions span; None where one is continuous."""
        return size_of(self.dimensions)


def cells_of(space: Mapping[str, Any]) -> tuple[Cell, ...]:
    """The cells of a resolved space, references first: one cell of one trial for each dataset and model."""
    pairs = list(itertools.product(space["datasets"], space["models"]))
    references = [
        Cell(dataset, model, method)
        for dataset, model in pairs
        for method, entry in METHODS.items()
        if entry.starts_from == "fresh"
    ]
    searched = [
        cell
        for dataset, model in pairs
        for method in space["methods"]
        for cell in _cells(space, dataset, model, method)
    ]
    return (*references, *searched)


def sparsities_of(cells: Iterable[Cell], dataset: str, model: str) -> list[float]:
    """Every level of sparsity that a trial of this dataset and model may start from, ascending."""
    levels: set[float] = set()
    for cell in cells:
        if (cell.dataset, cell.model) != (dataset, model):
            continue
        dimension = cell.dimensions.get("sparsity")
        if isinstance(dimension, Choice):
            levels.update(dimension.values)
        points = (cell.fixed, *cell.configurations)
        levels.update(point["sparsity"] for point in points if "sparsity" in point)
    return sorted(levels)


def _cells(space: Mapping[str, Any], dataset: str, model: str, method: str) -> Iterator[Cell]:
    known = parameters_of(method)
    placed = settings_in(space["methods"], space["overrides"], dataset=dataset, model=model, method=method)
    settings = {name: parameter.default for name, parameter in known.items()}
    settings |= {name: setting for name, (setting, _) in placed.items()}
    points = settings.pop(CONFIGURATIONS, [])
    # In the order of the method's parameters, so that a cell's name does not depend on the order in the file.
    axes = {name: space["axes"][name] for name in known if name in space["axes"]}
    for levels in itertools.product(*axes.values()):
        axis = dict(zip(axes, levels, strict=True))
        dimensions: dict[str, Dimension] = {}
        # A point that leaves a searched parameter out has the method's default there.
        fixed: dict[str, Any] = {}
        for name, parameter in known.items():
            dimension = None if name in axis else dimension_of(parameter, settings[name])
            if dimension is None:
                fixed[name] = frozen(axis.get(name, settings[name]))
            elif isinstance(dimension, Choice) and dimension.size == 1:
                fixed[name] = dimension.values[0]
            else:
                dimensions[name] = dimension
        defaults = {name: frozen(known[name].default) for name in dimensions}
        configurations = tuple(
            {name: frozen({**defaults, **fixed, **point}[name]) for name in known}
            for point in points
            if all(point.get(name, level) == level for name, level in axis.items())
        )
        trials = space["search"]["trials"]
        if configurations and not dimensions:
            # Nothing to search: the points are all there is.
            trials = min(trials, len(configurations))
        yield Cell(dataset, model, method, axis, dimensions, fixed, configurations, trials)
