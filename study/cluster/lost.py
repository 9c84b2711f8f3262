"""A cluster that is gone under a running study. Left to itself, Ray waits for a minute and then kills the process.

A thread knocks at the ports of the cluster's head and of this machine's node. When one stays shut, the user is told and
the process ends: nothing can be saved any more that the ledger does not hold, and calls into Ray may never return.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import ray

#: Seconds between two knocks, seconds to wait for one, and for how long a port has to stay shut.
EVERY, TIMEOUT, SHUT = 2.0, 3.0, 15.0
EXIT_CODE = 1

Address = tuple[str, int]


@contextmanager
def watched(lost: Callable[[str], None]) -> Iterator[None]:
    """Watch the cluster while the block runs.

    Args:
        lost: called in a thread, with what is gone in words; the process ends when it returns.
    """
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(doors(), over, lost), daemon=True, name="cluster watch")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def doors() -> dict[str, Address]:
    """What has to answer, by what people call it."""
    context = ray.get_runtime_context()
    found = {f"the cluster at {context.gcs_address}": _address(context.gcs_address)}
    for node in ray.nodes():
        if node["NodeID"] == context.get_node_id():
            door = (node["NodeManagerAddress"], node["NodeManagerPort"])
            found[f"Ray on this machine, part of the cluster at {context.gcs_address},"] = door
    return found


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def answers(door: Address) -> bool:
    """Whether somebody listens there."""
    try:
        with socket.create_connection(door, timeout=TIMEOUT):
            return True
    except OSError:
        return False


def _watch(found: Mapping[str, Address], over: threading.Event, lost: Callable[[str], None]) -> None:
    # What cannot be reached while all is well, as from behind a proxy, says nothing later either.
    open_once = {title: door for title, door in found.items() if answers(door)}
    gone = first_gone(open_once, over)
    if gone is None:
        return
    try:
        lost(gone)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_CODE)


def first_gone(found: Mapping[str, Address], over: threading.Event, shut: float = SHUT) -> str | None:
    """What did not answer for so many seconds; None when it is over before that."""
    since: dict[str, float] = {}
    while not over.wait(min(EVERY, shut)):
        for title, door in found.items():
            if answers(door):
                since.pop(title, None)
            elif time.monotonic() - since.setdefault(title, time.monotonic()) >= shut:
                return title
    return None
