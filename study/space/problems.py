"""What is wrong with a search space: every mistake with its place in the file, collected and raised together."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

#: Where a value stands in a file, from the top: `("methods", "neglora", "rank", 2)`.
Place = tuple[str | int, ...]

#: Longest value that a message quotes.
QUOTED = 60


@dataclass(frozen=True)
class Problem:
    """One mistake.

    Attributes:
        source: the file.
        path: the dotted place in it, `methods.neglora.rank[2]`; empty for the file as a whole.
        line: the line in the file, from 1; None where there is none.
        message: what was expected and what came.
        of_disk: it is about data or weights that are not on this machine, and may be on another.
    """

    source: str
    path: str
    line: int | None
    message: str
    of_disk: bool = False

    def __str__(self) -> str:
        line = f"line {self.line}" if self.line is not None else ""
        return ": ".join(part for part in (line, self.path, self.message) if part)


class SpaceError(ValueError):
    """A search space with mistakes; the message lists them all, file by file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    @classmethod
    def joined(cls, errors: Iterable[SpaceError]) -> SpaceError:
        """The problems of several files as one error."""
        return cls(problem for error in errors for problem in error.problems)

    def __str__(self) -> str:
        blocks = []
        for source in dict.fromkeys(problem.source for problem in self.problems):
            own = [problem for problem in self.problems if problem.source == source]
            count = "one problem" if len(own) == 1 else f"{len(own)} problems"
            blocks.append("\n".join([f"{source} has {count}:", *(f"  {problem}" for problem in own)]))
        return "\n".join(blocks)


@dataclass(frozen=True)
class Mark:
    """Where something is written: the file and the line in it, from 1."""

    source: str
    line: int


@dataclass
class Findings:
    """Collects the problems of one file and of those that it includes.

    Attributes:
        source: the file.
        marks: where each place is written; in an included file where the including one does not replace it.
        problems: what has been found so far.
    """

    source: str
    marks: dict[Place, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add(self, place: Place, message: str, line: int | None = None, *, of_disk: bool = False) -> None:
        """Note a problem. Its file and line are those of the place, or of the nearest thing around it.

        Args:
            place: where.
            message: what was expected and what came.
            line: in the file itself, where the place alone does not tell.
            of_disk: it is about data or weights that are not on this machine.
        """
        around = (place[:length] for length in range(len(place), 0, -1))
        mark = next((self.marks[outer] for outer in around if outer in self.marks), None)
        if line is not None or mark is None:
            problem = Problem(self.source, dotted(place), line, message, of_disk)
        else:
            problem = Problem(mark.source, dotted(place), mark.line, message, of_disk)
        if problem not in self.problems:
            self.problems.append(problem)

    def is_included(self, place: Place) -> bool:
        """Whether a place is written in an included file."""
        return place in self.marks and self.marks[place].source != self.source

    def raise_any(self) -> None:
        """
        Raises:
            SpaceError: there are problems; those of the file itself first, each file's in the order of their lines.
        """
        if self.problems:
            own = self.source
            raise SpaceError(sorted(self.problems, key=lambda one: (one.source != own, one.source, one.line or 0)))


def dotted(place: Place) -> str:
    """`methods.neglora.rank[2]`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def unknown_name(name: object, known: Iterable[str], kind: str = "name", nearest: str | None = None) -> str:
    """What to say of a name that nobody knows: the nearest known one, which may be known to the caller, and all."""
    names = list(known)
    close = [nearest] if nearest else difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {close[0]!r}? Expected" if close else "expected"
    return f"unknown {kind} {shown(name)}; {hint} one of {', '.join(names)}"


def shown(value: object) -> str:
    """A value as a message quotes it: as YAML has it, and short."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= QUOTED else f"{text[: QUOTED - 3]}..."
