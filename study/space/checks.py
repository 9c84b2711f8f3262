"""What the sections of a space say of each other and of the real world: classes, layers, budgets, bounds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from neglora.data import (
    DATASETS,
    DataError,
    DataOptions,
    DatasetInfo,
    ForgetError,
    ForgetSet,
    find_dataset,
    parse_forget,
)
from neglora.models import MODELS, ModelError, TargetError, find_model, resolve_targets
from neglora.objectives import METRICS
from study.space.methods import CONFIGURATIONS, Axes, Settings, parameters_of
from study.space.numbers import as_number, is_number
from study.space.overriding import settings_in
from study.space.problems import Findings, Place, shown
from study.space.settings import dimension_of


@dataclass(frozen=True)
class Draft:
    """A space that may still have mistakes.

    Attributes:
        plain: the file's data.
        methods, axes: these sections in canonical form, without what is wrong with them.
        overrides: plain data with methods in canonical form.
    """

    plain: Mapping[str, Any]
    methods: Settings
    axes: Axes
    overrides: list[Any]

    @cached_property
    def datasets(self) -> list[str]:
        return [name for name in self.listed("datasets") if isinstance(name, str) and name in self.infos]

    @cached_property
    def infos(self) -> dict[str, DatasetInfo]:
        """What is known of each dataset that can be found."""
        found = {}
        for name in self.listed("datasets"):
            entry = find_dataset(name) if isinstance(name, str) else None
            try:
                if entry is not None:
                    found[name] = entry.info(self.options)
            except DataError:
                continue
        return found

    @cached_property
    def options(self) -> DataOptions:
        """How data is read; the defaults where the section has mistakes of its own."""
        known = {
            name: value for name, value in self.section("data").items() if name in DataOptions.__dataclass_fields__
        }
        return DataOptions.of(known)

    @cached_property
    def models(self) -> list[str]:
        return [name for name in self.listed("models") if isinstance(name, str) and find_model(name)]

    def listed(self, key: str, section: str | None = None) -> list[Any]:
        value = (self.section(section) if section else self.plain).get(key)
        return value if isinstance(value, list) else []

    def section(self, key: str) -> Mapping[str, Any]:
        value = self.plain.get(key)
        return value if isinstance(value, Mapping) else {}


def check(draft: Draft, findings: Findings) -> None:
    """Note every contradiction; what is malformed has been noted before and is passed over."""
    _forget_classes(draft, findings)
    _bounds(draft, findings)
    _training(draft, findings)
    _conditions(draft, findings)
    # By place and message, since several models may have the same to say.
    mismatches: dict[tuple[Place, str], dict[str, None]] = {}
    for dataset, model, method in itertools.product(draft.datasets, draft.models, draft.methods):
        settings = settings_in(draft.methods, draft.overrides, dataset=dataset, model=model, method=method)
        for targets, place in _tried_targets(draft, method, settings):
            try:
                _resolve(draft, dataset, model, targets)
            except (TargetError, ModelError) as error:
                mismatches.setdefault((place, str(error)), {})[model] = None
        _budget(draft, method, settings, findings)
    for (place, message), models in mismatches.items():
        findings.add(place, f"on {' and '.join(models)}: {message}")


def _forget_classes(draft: Draft, findings: Findings) -> None:
    for dataset in draft.datasets:
        info = draft.infos[dataset]
        first: dict[ForgetSet, Any] = {}
        for place, forget in enumerate(draft.listed("forget", "replicates")):
            where = ("replicates", "forget", place)
            try:
                other = first.setdefault(parse_forget(info, forget), forget)
            except ForgetError as error:
                findings.add(where, str(error))
                continue
            if other != forget:
                findings.add(where, f"{shown(forget)} and {shown(other)} are one forget set of {dataset}")


def _bounds(draft: Draft, findings: Findings) -> None:
    for name, given in draft.section("constraints").items():
        if name not in METRICS or not isinstance(given, Mapping):
            continue
        sides = {side: as_number(given.get(side)) for side in ("min", "max")}
        bounds = {side: bound for side, bound in sides.items() if is_number(bound)}
        if not bounds and not any(given.values()):
            findings.add(("constraints", name), "expected {min: BOUND}, {max: BOUND} or both")
        for side, bound in bounds.items():
            if METRICS[name].unit == "fraction" and not 0 <= bound <= 1:
                findings.add(
                    ("constraints", name, side), f"expected a fraction in [0, 1] (0.95 is 95 percent), got {bound:g}"
                )
        if len(bounds) == 2 and bounds["min"] > bounds["max"]:
            findings.add(("constraints", name), f"min {bounds['min']:g} is above max {bounds['max']:g}")


def _training(draft: Draft, findings: Findings) -> None:
    training = draft.section("training")
    warmup, epochs, shift = (as_number(training.get(name)) for name in ("warmup_epochs", "epochs", "shift"))
    if is_number(warmup) and is_number(epochs) and warmup > epochs:
        findings.add(("training", "warmup_epochs"), f"expected at most the {epochs:g} epochs, got {warmup:g}")
    for dataset in draft.datasets:
        size = draft.infos[dataset].image_size
        if is_number(shift) and shift >= size:
            findings.add(("training", "shift"), f"expected less than the {size} pixels of {dataset}, got {shift:g}")


def _conditions(draft: Draft, findings: Findings) -> None:
    """Overrides that would never apply."""
    studied = {"dataset": draft.listed("datasets"), "model": draft.listed("models"), "method": list(draft.methods)}
    known = {"dataset": list(DATASETS), "model": list(MODELS), "method": list(draft.methods)}
    for index, override in enumerate(draft.overrides):
        when = override.get("when") if isinstance(override, Mapping) else None
        if not isinstance(when, Mapping):
            continue
        for key, names in when.items():
            for name in names if isinstance(names, list) else [names]:
                if key in studied and name in known[key] and name not in studied[key]:
                    findings.add(("overrides", index, "when", key), f"this study has no {key} {name!r}")
        only = when.get("method")
        methods = override.get("methods")
        if only is None or not isinstance(methods, Mapping):
            continue
        for name in methods:
            if name not in (only if isinstance(only, list) else [only]):
                findings.add(("overrides", index, "methods", name), f"'when' is for {shown(only)} only")


def _tried_targets(
    draft: Draft, method: str, settings: Mapping[str, tuple[Any, Place]]
) -> Iterator[tuple[str | list[str], Place]]:
    """All targets that a method is tried with, each with its place; defaults, which fit the model, are left out."""
    for name, parameter in parameters_of(method).items():
        if parameter.kind != "targets":
            continue
        setting, where = (draft.axes[name], ("axes", name)) if name in draft.axes else settings.get(name, ([], ()))
        if isinstance(setting, list):
            yield from ((targets, (*where, place)) for place, targets in enumerate(setting))
        else:
            yield setting, where
        points, where = settings.get(CONFIGURATIONS, ([], ()))
        yield from ((point[name], (*where, place, name)) for place, point in enumerate(points) if name in point)


def _resolve(draft: Draft, dataset: str, model: str, targets: str | list[str]) -> list[str]:
    info = draft.infos[dataset]
    options = draft.section("architecture")
    return resolve_targets(
        model, targets, num_classes=info.num_classes, image_size=info.image_size, options={**options}
    )


def _budget(draft: Draft, method: str, settings: Mapping[str, tuple[Any, Place]], findings: Findings) -> None:
    search = draft.section("search")
    trials = as_number(search.get("trials"))
    points, where = settings.get(CONFIGURATIONS, ([], ()))
    if is_number(trials) and len(points) > trials >= 1:
        findings.add(where, f"{len(points)} configurations do not fit into {trials:g} trials: raise search.trials")
    for name, parameter in parameters_of(method).items():
        setting, place = settings.get(name, (None, ()))
        dimension = dimension_of(parameter, setting)
        if search.get("sampler") == "grid" and dimension is not None and dimension.size is None:
            findings.add(place, f"a grid needs lists, got a range: list the values of {name}, or change search.sampler")
