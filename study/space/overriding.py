"""What a method's settings are in one cell: those of `methods`, then those of every override that matches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from study.space.problems import Place


def settings_in(
    methods: Mapping[str, Any], overrides: Sequence[Any], *, dataset: str, model: str, method: str
) -> dict[str, tuple[Any, Place]]:
    """Every setting of a method in one cell, each with the place in the file that it comes from.

    Args:
        methods: the section, in canonical form.
        overrides: plain data; what is no override with a `when` is passed over.
        dataset, model, method: the cell's.
    """
    settings: dict[str, tuple[Any, Place]] = {}
    for name, value in methods.get(method, {}).items():
        settings[name] = (value, ("methods", method, name))
    for index, own in _matching(overrides, {"dataset": dataset, "model": model, "method": method}):
        for name, value in own.get(method, {}).items():
            settings[name] = (value, ("overrides", index, "methods", method, name))
    return settings


def _matching(overrides: Sequence[Any], cell: Mapping[str, str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for index, override in enumerate(overrides):
        if not isinstance(override, Mapping):
            continue
        when, methods = override.get("when"), override.get("methods")
        if not isinstance(when, Mapping) or not isinstance(methods, Mapping):
            continue
        if all(names is None or cell.get(key) in _several(names) for key, names in when.items()):
            yield index, methods


def _several(names: Any) -> Sequence[Any]:
    return names if isinstance(names, list) else [names]
