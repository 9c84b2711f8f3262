"""Settings that a file leaves out, written out: so that a study's record of itself does not depend on defaults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neglora.models import family_of
from study.space.draft import Draft
from study.space.methods import Settings, parameters_of


def with_defaults(draft: Draft) -> tuple[Settings, list[Any]]:
    """The methods with every parameter set that is no axis, and the overrides that this takes.

    What `neglora` adapts by default depends on the model's family. Where models differ in it, those that differ from
    the first get an override, before all others.
    """
    methods: Settings = {}
    added: list[Any] = []
    for method, settings in draft.methods.items():
        known = {name: parameter for name, parameter in parameters_of(method).items() if name not in draft.axes}
        complete = {name: settings.get(name, parameter.default) for name, parameter in known.items()} | settings
        for parameter in known.values():
            if not parameter.by_family or parameter.name in settings:
                continue
            own = {model: _default_targets(model, draft) for model in draft.models}
            complete[parameter.name] = own[draft.models[0]]
            added += [
                {"when": {"model": [model]}, "methods": {method: {parameter.name: targets}}}
                for model, targets in own.items()
                if targets != complete[parameter.name]
            ]
        methods[method] = complete
    return methods, [*added, *_fitting(draft)]


def data_with_defaults(draft: Draft) -> dict[str, Any]:
    """The section `data`, with the current folder as root where a dataset's place starts from it.

    Workers may run elsewhere.
    """
    section = dict(draft.section("data"))
    places = [Path(name.partition(":")[2]).expanduser() for name in draft.datasets if ":" in name]
    if section.get("root") is None and not all(place.is_absolute() for place in places):
        section["root"] = str(Path.cwd())
    return section


def _fitting(draft: Draft) -> Iterator[dict[str, Any]]:
    """The overrides, each only for what this study has; an included file may have some for others."""
    studied = {"dataset": draft.datasets, "model": draft.models, "method": [*draft.methods]}
    for override in draft.overrides:
        when = {key: names if isinstance(names, list) else [names] for key, names in override["when"].items() if names}
        own = {key: [name for name in names if name in studied[key]] for key, names in when.items()}
        if all(own.values()):
            yield {**override, "when": own}


def _default_targets(model: str, draft: Draft) -> str:
    return family_of(draft.shape(draft.datasets[0], model)).default_targets
