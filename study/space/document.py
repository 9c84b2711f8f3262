"""From a file's text to plain data, with the line of every value. Refuses what a search space never holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from study.space.problems import Findings, Mark, Place, shown

#: Far above any search space, far below what could hurt: bytes of text, values after aliases are expanded, and depth.
#: Bytes and values are those of a file and all that it includes.
MOST_BYTES, MOST_VALUES, MOST_DEPTH = 1_000_000, 50_000, 30

#: What a file should hold; one that is included is only a part of it.
WHOLE = "a mapping that begins with 'study: NAME'"

_PLAIN = ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge")
_TAGS = {f"tag:yaml.org,2002:{name}" for name in _PLAIN}


class _Refused(yaml.MarkedYAMLError):
    """YAML, but nothing that a search space holds."""


@dataclass
class Size:
    """How much has been read so far: bytes of text, and values once aliases are written out."""

    bytes: int = 0
    values: int = 0


def read_text(path: Path, findings: Findings) -> str:
    """The text of a file.

    Raises:
        SpaceError: there is no such file, it cannot be read, is far too large, or is not UTF-8.
    """
    raw = b""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        findings.add((), "there is no such file")
    except IsADirectoryError:
        findings.add((), "expected a YAML file, got a folder")
    except OSError as error:
        findings.add((), f"cannot be read: {error.strerror}")
    findings.raise_any()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        findings.add((), f"expected UTF-8 text, got the byte 0x{raw[error.start]:02x}", line)
        findings.raise_any()
        raise


def read_mapping(text: str, findings: Findings, *, size: Size | None = None, expected: str = WHOLE) -> dict[str, Any]:
    """The plain data of a YAML text, as `yaml.safe_load` would give it; where it is written goes into `findings.marks`.

    Keys that are given twice and keys that are no texts are noted in `findings`.

    Args:
        text: the YAML.
        findings: of its file.
        size: what was read before it, to which this text is added.
        expected: what it should be, for messages.

    Raises:
        SpaceError: not YAML, empty, no mapping, or too large to be a search space.
    """
    size = size or Size()
    size.bytes += len(text)
    if size.bytes > MOST_BYTES:
        findings.add((), f"larger than {MOST_BYTES:,} bytes: that is no search space")
        findings.raise_any()
    plain: Any = None
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                findings.add((), f"is empty: expected {expected}")
            else:
                _count(root, size)
                plain = _Reader(loader, findings).plain(root, ())
        finally:
            loader.dispose()
    except _Refused as error:
        findings.add((), str(error.problem), error.problem_mark.line + 1 if error.problem_mark else None)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = ", ".join(part for part in (error.context, error.problem) if part)
        findings.add((), f"not valid YAML: {told}", mark.line + 1 if mark else None)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        findings.add((), f"not valid YAML: the character {error.character!r} is not allowed", line)
    except RecursionError:
        findings.add((), "nested too deeply")
    if plain is not None and not isinstance(plain, dict):
        findings.add((), f"expected {expected}, got {shown(plain)}")
    if not isinstance(plain, dict):
        findings.raise_any()
        raise TypeError("a document that is no mapping was not noted")
    return plain


def _count(root: yaml.Node, size: Size) -> None:
    """
    Raises:
        _Refused: with what was read before it the document holds too many values, or it is nested too deeply.
    """
    size.values += _measure(root, {}, set())[0]
    if size.values > MOST_VALUES:
        raise _Refused(
            problem=f"more than {MOST_VALUES:,} values with what else is included: that is no search space",
            problem_mark=root.start_mark,
        )


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]], within: set[int]) -> tuple[int, int]:
    """Values under a node once every alias is written out, and its depth.

    Raises:
        _Refused: there are too many, or a node contains itself.
    """
    if id(node) in known:
        return known[id(node)]
    if id(node) in within:
        raise _Refused(problem="a value contains itself", problem_mark=node.start_mark)
    within.add(id(node))
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    sizes = [_measure(child, known, within) for child in children]
    within.discard(id(node))
    values, depth = 1 + sum(size for size, _ in sizes), 1 + max((depth for _, depth in sizes), default=0)
    if values > MOST_VALUES or depth > MOST_DEPTH:
        limit = f"{MOST_VALUES:,} values" if values > MOST_VALUES else f"{MOST_DEPTH} levels"
        raise _Refused(
            problem=f"more than {limit} once aliases are written out: that is no search space",
            problem_mark=node.start_mark,
        )
    known[id(node)] = (values, depth)
    return known[id(node)]


class _Reader:
    """Turns nodes into plain data and notes where each is written."""

    def __init__(self, loader: yaml.SafeLoader, findings: Findings) -> None:
        self.loader, self.findings = loader, findings

    def plain(self, node: yaml.Node, place: Place) -> Any:
        if node.tag not in _TAGS:
            raise _Refused(problem=f"unexpected tag {node.tag!r}", problem_mark=node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*place, index)) for index, item in enumerate(node.value)]
        try:
            return self.loader.construct_object(node)
        except (ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
            # What a tag promises and a text does not keep (`!!int x`), or a date that does not exist.
            told = f"cannot read {shown(node.value)} as {node.tag.rpartition(':')[2]}; quotes make it a text"
            raise _Refused(problem=told, problem_mark=node.start_mark) from error

    def _item(self, node: yaml.Node, place: Place) -> Any:
        self.findings.marks.setdefault(place, Mark(self.findings.source, node.start_mark.line + 1))
        return self.plain(node, place)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        self._refuse_twice(node, place)
        self.loader.flatten_mapping(node)
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.plain(key_node, place)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                self.findings.add((*place, str(key)), f"expected a text as key, got {shown(key)}; quote it", line)
                continue
            self.findings.marks[(*place, key)] = Mark(self.findings.source, line)
            values[key] = self.plain(value_node, (*place, key))
        return values

    def _refuse_twice(self, node: yaml.MappingNode, place: Place) -> None:
        lines: dict[str, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Refused(problem="a key should be a text", problem_mark=key_node.start_mark)
            name, line = key_node.value, key_node.start_mark.line + 1
            if name in lines:
                self.findings.add((*place, name), f"given twice, first on line {lines[name]}", line)
            lines.setdefault(name, line)
