"""What others wrote, shown as text: names and reasons from a ledger or a cluster cannot steer the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.segment import Segment

#: Escape and other control characters, and those that turn the direction of what follows. Line feed and tab are text.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
SHOWN_AS = "\N{REPLACEMENT CHARACTER}"


def plain(text: str) -> str:
    """The text without anything that a terminal would obey; what is left out is marked."""
    return _STEERING.sub(SHOWN_AS, text.replace("\r\n", "\n"))


class Terminal(Console):
    """A console that obeys itself alone: colours and redrawing are its own, all content is text."""

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)
