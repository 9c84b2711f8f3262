"""`include`: a file that stands on shared blocks. What it says itself wins over them, later ones over earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.space.document import WHOLE, Size, read_mapping, read_text
from study.space.problems import Findings, Mark, Place, SpaceError, shown
from study.space.settings import RANGES

#: The key under which a file names what it stands on.
INCLUDE = "include"
#: Far more than anybody needs: how far includes may lead, and how many files a space may have in all.
MOST_LEVELS, MOST_FILES = 5, 100

_BLOCK = "a mapping of some of a search space's keys"


@dataclass
class _Reading:
    """One space that is being read.

    Attributes:
        folder: that of the file itself, which no include leaves.
        findings: where problems go.
        size: what has been read so far.
        files: how many files that were.
        unreadable: a file could not be included, so that nothing can be said of the whole.
    """

    folder: Path
    findings: Findings
    size: Size = field(default_factory=Size)
    files: int = 0
    unreadable: bool = False


def read_space(path: Path, findings: Findings) -> dict[str, Any]:
    """The plain data of a file and all that it includes, without the key `include`.

    Where each value is written goes into `findings.marks`, problems of every file into `findings`.

    Raises:
        SpaceError: a file cannot be read; every problem that was found until then.
    """
    reading = _Reading(path.parent.resolve(), findings)
    plain, marks = _read(path, str(path), (), reading, expected=WHOLE)
    findings.marks.update(marks)
    if reading.unreadable:
        findings.raise_any()
    return plain


def _read(
    path: Path, source: str, above: tuple[Path, ...], reading: _Reading, *, expected: str = _BLOCK
) -> tuple[dict[str, Any], dict[Place, Mark]]:
    """One file and what it includes, with the marks of both; nothing where it cannot be read."""
    own = Findings(source)
    reading.files += 1
    try:
        plain = read_mapping(read_text(path, own), own, size=reading.size, expected=expected)
    except SpaceError as error:
        reading.unreadable = True
        reading.findings.problems += error.problems
        return {}, {}
    given = plain.pop(INCLUDE, [])
    under: dict[str, Any] = {}
    marks: dict[Place, Mark] = {}
    chain = (*above, path.resolve())
    named_files = _named(given, own)
    reading.unreadable |= len(named_files) < (len(given) if isinstance(given, list) else 1)
    for place, named in named_files:
        found = _found(named, place, path, chain, reading, own)
        if found is None:
            reading.unreadable = True
        else:
            block, written = _read(found, str(Path(source).parent / named), chain, reading)
            under, marks = _merged(under, marks, block, written)
    reading.findings.problems += own.problems
    return _merged(under, marks, plain, own.marks)


def _named(given: Any, own: Findings) -> list[tuple[Place, str]]:
    """The files that an `include` names, each with its place."""
    several = isinstance(given, list)
    named: list[tuple[Place, str]] = []
    for index, one in enumerate(given if several else [given]):
        place: Place = (INCLUDE, index) if several else (INCLUDE,)
        if not isinstance(one, str) or not one.strip():
            own.add(place, f"expected the name of a file, or a list of such, got {shown(one)}")
        else:
            named.append((place, one))
    return named


def _found(
    named: str, place: Place, path: Path, chain: tuple[Path, ...], reading: _Reading, own: Findings
) -> Path | None:
    """The file that is meant; None where it is refused, which is noted."""
    if Path(named).is_absolute():
        own.add(place, f"expected a path relative to this file, got {shown(named)}")
        return None
    file = path.parent / named
    try:
        real = file.resolve()
        exists = real.exists()
    except (OSError, ValueError, RuntimeError) as error:
        own.add(place, f"expected the name of a file, got {shown(named)}: {error}")
        return None
    if not real.is_relative_to(reading.folder):
        own.add(place, f"{shown(named)} leaves the folder of the search space: move it there")
    elif real in chain:
        names = " -> ".join(one.name for one in (*chain[chain.index(real) :], real))
        own.add(place, f"includes lead back to where they began: {names}")
    elif len(chain) > MOST_LEVELS:
        own.add(place, f"more than {MOST_LEVELS} files that include each other in turn")
    elif reading.files >= MOST_FILES:
        own.add(place, f"more than {MOST_FILES} included files")
    elif not exists:
        own.add(place, f"there is no file {shown(named)} beside {path.name}")
    else:
        return file
    return None


def _merged(
    under: Mapping[str, Any],
    under_marks: Mapping[Place, Mark],
    over: Mapping[str, Any],
    over_marks: Mapping[Place, Mark],
) -> tuple[dict[str, Any], dict[Place, Mark]]:
    """One file's data laid over another's, and where each value of the outcome is written."""
    replaced: set[Place] = set()
    values = _laid(under, over, (), replaced)
    kept = {
        place: mark
        for place, mark in under_marks.items()
        if not any(place[:length] in replaced for length in range(1, len(place) + 1))
    }
    return values, kept | dict(over_marks)


def _laid(under: Mapping[str, Any], over: Mapping[str, Any], place: Place, replaced: set[Place]) -> dict[str, Any]:
    """Mappings of both are merged; anything else is the second's, and its place goes into `replaced`."""
    values = dict(under)
    for key, value in over.items():
        old, here = under.get(key), (*place, key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and not _is_range(old) and not _is_range(value):
            values[key] = _laid(old, value, here, replaced)
        else:
            values[key] = value
            replaced.add(here)
    return values


def _is_range(value: Mapping[str, Any]) -> bool:
    """Whether a mapping is one value: a range, of which `log` here and `uniform` there do not make another."""
    return bool(value) and all(key in RANGES for key in value)
