"""What the library logs, told to whoever waits at the terminal: how far long work on data is, and warnings."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from study.cli.terminal import plain

#: Loggers whose progress is told; of all others warnings are.
LIBRARY, LONG_WORK = "neglora", "neglora.data"


class _Plain(logging.Formatter):
    """Messages quote names that others gave."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))


@contextmanager
def told() -> Iterator[None]:
    """Print what the library logs to stderr for as long as the context lasts: decoding and fetching, and warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain("%(message)s"))
    library, long_work = logging.getLogger(LIBRARY), logging.getLogger(LONG_WORK)
    before = long_work.level
    library.addHandler(handler)
    long_work.setLevel(logging.INFO)
    try:
        yield
    finally:
        library.removeHandler(handler)
        long_work.setLevel(before)
