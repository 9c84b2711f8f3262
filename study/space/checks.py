"""What the sections of a space say of each other and of the real world: classes, layers, budgets, bounds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from neglora.data import find_dataset
from neglora.models import ModelError, TargetError, find_model, match_targets
from neglora.objectives import METRICS
from neglora.recipe import Recipe
from neglora.recipes import RECIPES, load_recipe
from neglora.retract import RANDOM_SHARE
from study.space.auditing import check_audits
from study.space.draft import Draft
from study.space.forgetting import check_forget_sets, check_unseen
from study.space.materials import check_architecture, check_data, check_weights
from study.space.methods import CONFIGURATIONS, parameters_of
from study.space.numbers import as_number, is_number
from study.space.overriding import settings_in
from study.space.problems import Findings, Place, shown
from study.space.settings import dimension_of


def check(draft: Draft, findings: Findings) -> None:
    """Note every contradiction; what is malformed has been noted before and is passed over."""
    check_data(draft, findings)
    check_forget_sets(draft, findings)
    check_unseen(draft, findings)
    _unmeasured(draft, findings)
    _bounds(draft, findings)
    check_audits(draft, findings)
    _training(draft, findings)
    check_architecture(draft, findings)
    check_weights(draft, findings)
    _conditions(draft, findings)
    # By place and message, since several models may have the same to say.
    mismatches: dict[tuple[Place, str], dict[str, None]] = {}
    for dataset, model in itertools.product(draft.datasets, draft.models):
        try:
            shape = draft.shape(dataset, model)
        except ModelError as error:
            findings.add(("models", draft.listed("models").index(model)), f"for {dataset}: {error}")
            continue
        for method in draft.methods:
            settings = settings_in(draft.methods, draft.overrides, dataset=dataset, model=model, method=method)
            for targets, place in _tried_targets(draft, method, settings):
                try:
                    match_targets(shape, targets)
                except TargetError as error:
                    mismatches.setdefault((place, str(error)), {})[model] = None
            _budget(draft, method, settings, findings)
            _retracted(draft, settings, findings)
    for (place, message), models in mismatches.items():
        findings.add(place, f"on {' and '.join(models)}: {message}")


def _unmeasured(draft: Draft, findings: Findings) -> None:
    """A search on what a random share does not have: test images of its own."""
    if not any(isinstance(forget, Mapping) for forget in draft.listed("forget", "replicates")):
        return
    places: list[Place] = [("objectives", i) for i, name in enumerate(draft.listed("objectives")) if name == "ua_test"]
    places += [("constraints", name) for name in draft.section("constraints") if name == "ua_test"]
    for place in places:
        findings.add(place, "ua_test is of the test images of a class, and a random share has no class: leave it out")


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
    """What the keys of `training` say of each other, of the recipe of every model, and of the images."""
    training = draft.section("training")
    numbers = {name: number for name, given in training.items() if is_number(number := as_number(given))}
    warmup, epochs, shift = (numbers.get(name) for name in ("warmup_epochs", "epochs", "shift"))
    if warmup is not None and epochs is not None and warmup > epochs:
        findings.add(("training", "warmup_epochs"), f"expected at most the {epochs:g} epochs, got {warmup:g}")
    elif warmup is not None and epochs is None:
        for name, recipe in _recipes(draft):
            if warmup > recipe.epochs:
                findings.add(
                    ("training", "warmup_epochs"),
                    f"expected at most the {recipe.epochs} epochs of {name}, got {warmup:g}",
                )
    start = numbers.get("warmup_lr")
    for name, recipe in _recipes(draft):
        peak = numbers.get("lr", recipe.lr)
        if start is not None and start > peak:
            findings.add(("training", "warmup_lr"), f"expected at most the peak of {peak:g} of {name}, got {start:g}")
    _workers(draft, numbers, findings)
    for dataset in draft.datasets:
        size = draft.infos[dataset].image_size
        if shift is not None and shift >= size:
            findings.add(("training", "shift"), f"expected less than the {size} pixels of {dataset}, got {shift:g}")
        entry = find_dataset(dataset)
        for name in ("crop_scale", "randaugment"):
            malformed = any(problem.path.startswith(f"training.{name}") for problem in findings.problems)
            if training.get(name) is not None and not malformed and entry is not None and not entry.has_files:
                findings.add(("training", name), f"works on image files, which {dataset} does not have: leave it out")


def _recipes(draft: Draft) -> list[tuple[str, Recipe]]:
    """The recipes that `training` changes, each with its name: the one that it names, or those of the models."""
    chosen = draft.section("training").get("recipe")
    names = (
        [str(chosen)] if chosen is not None else [entry.recipe for name in draft.models if (entry := find_model(name))]
    )
    return [(name, load_recipe(name).recipe) for name in dict.fromkeys(names) if name in RECIPES]


def _workers(draft: Draft, numbers: Mapping[str, float], findings: Findings) -> None:
    workers, gpus = numbers.get("workers"), as_number(draft.section("resources").get("gpus"))
    if workers is None or workers <= 1:
        return
    if is_number(gpus) and 0 < gpus < 1:
        findings.add(
            ("training", "workers"),
            f"{workers:g} workers need a GPU each, and resources.gpus is {gpus:g}: make it 1, or train with one worker",
        )
    batch = min((numbers.get("batch_size", recipe.batch_size) for _, recipe in _recipes(draft)), default=workers)
    if batch < workers:
        findings.add(("training", "workers"), f"a batch of {batch:g} images cannot be shared by {workers:g} workers")


def _conditions(draft: Draft, findings: Findings) -> None:
    """Overrides that would never apply. An included file may have some for what others that include it have."""
    studied = {"dataset": draft.listed("datasets"), "model": draft.listed("models"), "method": list(draft.methods)}
    find: dict[str, Callable[[str], Any]] = {"dataset": find_dataset, "model": find_model, "method": draft.methods.get}
    for index, override in enumerate(draft.overrides):
        when = override.get("when") if isinstance(override, Mapping) else None
        if not isinstance(when, Mapping):
            continue
        for key, names in when.items():
            for name in names if isinstance(names, list) else [names]:
                place: Place = ("overrides", index, "when", key)
                known = key in studied and isinstance(name, str) and find[key](name) is not None
                if known and name not in studied[key] and not findings.is_included(place):
                    findings.add(place, f"this study has no {key} {name!r}")
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


def _retracted(draft: Draft, settings: Mapping[str, tuple[Any, Place]], findings: Findings) -> None:
    """Retraction keeps a UA near 1, which is not the aim where a random share is forgotten."""
    forgets = [*draft.listed("forget", "replicates"), *draft.listed("forget", "confirm")]
    if not any(isinstance(forget, Mapping) for forget in forgets):
        return
    points, where = settings.get(CONFIGURATIONS, ([], ()))
    given: list[tuple[Any, Place]] = [
        (draft.axes.get("retract"), ("axes", "retract")),
        settings.get("retract", (None, ())),
        *((point.get("retract"), (*where, place, "retract")) for place, point in enumerate(points)),
    ]
    for setting, place in given:
        if any(value is not None for value in (setting if isinstance(setting, list) else [setting])):
            findings.add(place, RANDOM_SHARE)


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
