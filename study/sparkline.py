"""A curve as one line of text."""

from __future__ import annotations

from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
#: For terminals whose encoding lacks those.
ASCII = "_.-~=+*#"


def sparkline(values: Sequence[float], width: int, *, encoding: str = "utf-8") -> str:
    """The curve from its least to its greatest value, `width` characters at most.

    Args:
        values: in order. More than `width` of them are parts of about the same length, each shown by its last value.
        width: at least 1.
        encoding: of the terminal.

    Returns:
        One character for each value or part. All are the lowest where nothing changes: a line at 0 and one at 1 look
        the same, so that the values have to stand beside it.
    """
    try:
        BLOCKS.encode(encoding)
        steps = BLOCKS
    except (UnicodeEncodeError, LookupError):
        steps = ASCII
    count = len(values)
    parts = min(count, width)
    shown = [values[-(-count * (part + 1) // parts) - 1] for part in range(parts)]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    top = len(steps) - 1
    return "".join(steps[round(top * (value - low) / (high - low)) if high > low else 0] for value in shown)
