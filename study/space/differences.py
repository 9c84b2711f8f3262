"""In what two resolved spaces differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from study.space.problems import Place, dotted

#: What may change between runs of one study: how much of it runs, on what, where its data lies, and what the search
#: never sees. What the data is its fingerprint says, which artifacts are kept under.
MAY_CHANGE: tuple[Place, ...] = (
    ("search", "trials"),
    ("resources",),
    ("confirm",),
    ("data", "root"),
    ("data", "workers"),
    ("data", "download"),
)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for every value that differs, `search.seed: was 0, now 1`; what `MAY_CHANGE` names may differ.

    Args:
        old, new: as `Space.resolved` gives them.
    """
    return list(_differing(old, new, ()))


def _differing(old: Any, new: Any, place: Place) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            here = (*place, str(key))
            if here in MAY_CHANGE:
                continue
            if key in old and key in new:
                yield from _differing(old[key], new[key], here)
            else:
                before, after = (_written(one[key]) if key in one else "absent" for one in (old, new))
                yield f"{dotted(here)}: was {before}, now {after}"
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and _holds_mappings(old + new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differing(before, after, (*place, index))
    else:
        yield f"{dotted(place)}: was {_written(old)}, now {_written(new)}"


def _holds_mappings(items: list[Any]) -> bool:
    return any(isinstance(item, Mapping) for item in items)


def _written(value: Any) -> str:
    return "null" if value is None else str(value)
