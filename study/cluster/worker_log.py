"""What a worker shows of itself: lines in its log, which Ray's dashboard shows, and the title of its process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ray._raylet import getproctitle, setproctitle  # type: ignore[attr-defined]

FORMAT = "%(asctime)s %(levelname)s %(message)s"


def log_here() -> None:
    """Write what this project logs to the standard error of a worker, which Ray keeps. Twice is harmless."""
    for name in ("neglora", "study"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        if not any(getattr(handler, "of_worker", False) for handler in logger.handlers):
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(logging.Formatter(FORMAT))
            handler.of_worker = True  # type: ignore[attr-defined]
            logger.addHandler(handler)
            logger.propagate = False


@contextmanager
def show_title(trial: str) -> Iterator[None]:
    """The process is called `ray::neglora TRIAL` in the lists of processes. Ray knows its own by the beginning."""
    usual = getproctitle()
    setproctitle(f"ray::neglora {trial}")
    try:
        yield
    finally:
        setproctitle(usual)
