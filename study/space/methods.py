"""The sections whose keys the methods define: `methods`, `axes`, and `overrides` of methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neglora.methods import METHODS, Method, Parameter
from neglora.record import configuration_key
from study.space.problems import Findings, Place, shown, unknown_name
from study.space.settings import WRONG, read_setting, read_value, read_values, setting_schema

#: The key of the points that run first.
CONFIGURATIONS = "configurations"

Settings = dict[str, dict[str, Any]]
Axes = dict[str, list[Any]]


def searchable() -> list[str]:
    """Methods that a study may list: all but the reference, which starts from fresh weights."""
    return [name for name, method in METHODS.items() if method.starts_from != "fresh"]


def parameters_of(method: str) -> dict[str, Parameter]:
    """A method's parameters by name."""
    return {parameter.name: parameter for parameter in METHODS[method].parameters}


def read_axes(given: Any, methods: Any, findings: Findings) -> Axes:
    """The section `axes` in canonical form, without what is wrong with it, which is noted."""
    if not isinstance(given, Mapping):
        findings.add(("axes",), f"expected a mapping of parameters to lists, got {shown(given)}")
        return {}
    listed = [name for name in methods if name in searchable()] if isinstance(methods, Mapping) else []
    known = {name: parameter for method in listed or searchable() for name, parameter in parameters_of(method).items()}
    axes: Axes = {}
    for name, levels in given.items():
        place: Place = ("axes", name)
        if name not in known:
            findings.add(place, f"{unknown_name(name, known, 'parameter')} (of the listed methods)")
        elif not isinstance(levels, list) or not levels:
            findings.add(place, f"expected a list of at least one level, got {shown(levels)}")
        else:
            axes[name] = read_values(known[name], levels, place, findings)
    return axes


def read_methods(given: Any, axes: Axes, place: Place, findings: Findings) -> Settings:
    """A mapping of methods to settings in canonical form, without what is wrong with it, which is noted."""
    if not isinstance(given, Mapping) or not given:
        findings.add(place, f"expected a mapping of at least one method to its settings, got {shown(given)}")
        return {}
    methods: Settings = {}
    for name, settings in given.items():
        if name not in METHODS:
            findings.add((*place, name), unknown_name(name, searchable(), "method"))
        elif name not in searchable():
            findings.add((*place, name), f"{name} is the reference, which every study has: leave it out")
        elif settings is not None and not isinstance(settings, Mapping):
            findings.add((*place, name), f"expected a mapping of parameters, got {shown(settings)}")
        else:
            methods[name] = _read_settings(METHODS[name], settings or {}, axes, (*place, name), findings)
    return methods


def read_overrides(given: Any, methods: Settings, axes: Axes, findings: Findings) -> Any:
    """The section `overrides` with its methods in canonical form; what it says of `when` is checked elsewhere."""
    if not isinstance(given, list):
        return given
    overrides = []
    for index, override in enumerate(given):
        if not isinstance(override, Mapping) or "methods" not in override:
            overrides.append(override)
            continue
        place: Place = ("overrides", index, "methods")
        own = read_methods(override["methods"], axes, place, findings)
        for name in own:
            if name not in methods:
                findings.add((*place, name), f"{name} is not among this study's methods, so that nothing is overridden")
        overrides.append({**override, "methods": own})
    return overrides


def methods_schema() -> dict[str, Any]:
    """The JSON schema of a mapping of methods."""
    properties = {}
    for name in searchable():
        settings = {parameter.name: setting_schema(parameter) for parameter in METHODS[name].parameters}
        points = {"type": "object", "propertyNames": {"enum": list(settings)}}
        settings[CONFIGURATIONS] = {"description": "points that run first", "type": "array", "items": points}
        properties[name] = {
            "description": METHODS[name].about,
            "type": ["object", "null"],
            "properties": settings,
            "additionalProperties": False,
        }
    return {"type": "object", "properties": properties, "additionalProperties": False, "minProperties": 1}


def axes_schema() -> dict[str, Any]:
    """The JSON schema of the section `axes`."""
    known = {name: parameter for method in searchable() for name, parameter in parameters_of(method).items()}
    levels = {name: {"description": parameter.about, "type": "array"} for name, parameter in known.items()}
    return {"type": "object", "properties": levels, "additionalProperties": False}


def _read_settings(
    method: Method, given: Mapping[str, Any], axes: Axes, place: Place, findings: Findings
) -> dict[str, Any]:
    known = parameters_of(method.name)
    settings: dict[str, Any] = {}
    for name, setting in given.items():
        if name == CONFIGURATIONS:
            settings[name] = _read_configurations(known, setting, axes, (*place, name), findings)
        elif name not in known:
            findings.add((*place, name), unknown_name(name, [*known, CONFIGURATIONS], f"parameter of {method.name}"))
        else:
            read = read_setting(known[name], setting, (*place, name), findings)
            if read is WRONG:
                continue
            if name in axes and configuration_key({"": read}) != configuration_key({"": axes[name]}):
                findings.add((*place, name), f"{name} is an axis of this study, {axes[name]}: leave it out here")
            settings[name] = read
    return settings


def _read_configurations(
    known: Mapping[str, Parameter], given: Any, axes: Axes, place: Place, findings: Findings
) -> list[dict[str, Any]]:
    if not isinstance(given, list):
        findings.add(place, f"expected a list of mappings of parameters to values, got {shown(given)}")
        return []
    points: dict[str, dict[str, Any]] = {}
    for index, configuration in enumerate(given):
        here = (*place, index)
        if not isinstance(configuration, Mapping) or not configuration:
            findings.add(here, f"expected a mapping of parameters to values, got {shown(configuration)}")
            continue
        point: dict[str, Any] = {}
        for name, value in configuration.items():
            if name not in known:
                findings.add((*here, name), unknown_name(name, known, "parameter"))
                continue
            read = read_value(known[name], value, (*here, name), findings)
            if read is WRONG:
                continue
            if name in axes and read not in axes[name]:
                findings.add((*here, name), f"expected a level of the axis, {axes[name]}, got {shown(read)}")
            point[name] = read
        if len(point) < len(configuration):
            continue
        key = configuration_key(point)
        if key in points:
            findings.add(here, "the same configuration is listed twice")
        points.setdefault(key, point)
    return list(points.values())
