"""HTML that is escaped unless it says that it is HTML already."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from html import escape

VOID = {"br", "img", "input", "link", "meta"}


class Html(str):
    """A text that is HTML already; every other text is escaped where it is put into a tag."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. Children: Html as it is, iterables flattened, None left out, everything else escaped.

    Attributes: a trailing underscore is dropped (`class_`), others become hyphens (`data_copy`); None and False leave
    the attribute out, True writes it without a value.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: object) -> Html:
    """Children one after the other, escaped where they are not Html."""
    return Html("".join(_written(child) for child in children))


def _written(child: object) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, str):
        return escape(child)
    if isinstance(child, Iterable):
        return "".join(_written(item) for item in child)
    return escape(str(child))


def coded(text: str) -> Html:
    """A text whose words between backticks are code; everything is escaped, and a backtick without its pair stays."""
    parts = re.split("`([^`]+)`", text)
    return join(tag("code", part) if place % 2 else part for place, part in enumerate(parts))


def data(identifier: str, value: object) -> Html:
    """Data for a script as strict JSON. `<`, `>` and `&` are written as escapes, so that no text ends the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="{escape(identifier)}">{text}</script>')


def table(head: Iterable[object], rows: Iterable[object], *, caption: str, class_: str | None = None) -> Html:
    """A table that scrolls sideways by itself on a narrow screen; `head` and `rows` are `tr` elements."""
    return tag(
        "div",
        tag("table", tag("caption", tag("span", caption)), tag("thead", head), tag("tbody", rows), class_=class_),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def row(*cells: object, heading: bool = True) -> Html:
    """A table row; the first cell is its heading unless told otherwise. Cells that are `td` or `th` stay as they are,
    lists of cells are flattened."""
    flat = [item for cell in cells for item in (cell if isinstance(cell, list) else [cell])]
    return tag("tr", [_cell(cell, heading and index == 0) for index, cell in enumerate(flat)])


def head_row(*cells: object) -> Html:
    """A row of column headings."""
    return tag("tr", [cell if _is_cell(cell) else tag("th", cell, scope="col") for cell in cells])


def _cell(cell: object, heading: bool) -> Html:
    if isinstance(cell, Html) and _is_cell(cell):
        return cell
    return tag("th", cell, scope="row") if heading else tag("td", cell)


def _is_cell(cell: object) -> bool:
    return isinstance(cell, Html) and cell.startswith(("<td", "<th"))
