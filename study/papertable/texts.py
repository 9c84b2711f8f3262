"""Texts as Markdown and LaTeX show them: nothing in a name is markup."""

from __future__ import annotations

import re
from collections.abc import Sequence


def markdown(text: str) -> str:
    """Text that Markdown shows as it is, in a table too."""
    return re.sub(r"([\\`*_\[\]<>#|~&$])", r"\\\1", " ".join(text.split()))


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a table, of cells that are Markdown already."""
    return f"| {' | '.join(cells)} |"


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    # After the end of a row, these two would belong to it.
    "[": "{[}",
    "*": "{*}",
    **{character: f"\\{character}" for character in "&%$#_"},
}


def latex(text: str) -> str:
    """Text that LaTeX sets as it is: nothing in it is a command, a comment or the end of a cell."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def latex_row(cells: Sequence[str]) -> str:
    """A row of a table, of cells that are LaTeX already."""
    return rf"{' & '.join(cells)} \\"
