"""What Ray prints and handles in the driver whatever it is told; this project tells it in its own words."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger(__name__)


def hush() -> None:
    """Send the errors that a cluster announces, such as a lost worker or node, to the log instead of the terminal.

    Ray prints them in the driver also with `log_to_driver=False`. Private, and looked for before it is replaced: where
    another version has it elsewhere, they are printed again.
    """
    from ray._private import worker

    def told(data: Mapping[str, Any], *_: Any, **__: Any) -> None:
        for line in data.get("lines", ()):
            logger.info("Ray: %s", line)

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = told


@contextmanager
def own_signals() -> Iterator[None]:
    """Keep this process's handling of SIGTERM while the block starts Ray, which puts its own in place and aborts."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)
