"""What the library logs, told to whoever waits at the terminal: how far long work on data is, and warnings."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: Loggers whose progress is told; of all others warnings are.
LIBRARY, LONG_WORK = "neglora", "neglora.data"


@contextmanager
def told() -> Iterator[None]:
    """Print what the library logs to stderr for as long as the context lasts: decoding and fetching, and warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    library, long_work = logging.getLogger(LIBRARY), logging.getLogger(LONG_WORK)
    before = long_work.level
    library.addHandler(handler)
    long_work.setLevel(logging.INFO)
    try:
        yield
    finally:
        library.removeHandler(handler)
        long_work.setLevel(before)
