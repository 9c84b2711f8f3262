"""One driver for each study on a cluster: a named actor that lives as long as its driver.

The study's lock keeps two drivers from one ledger. This refuses the second one also where the lock cannot, as on a
folder whose file system keeps no locks between machines.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from neglora.storage import shown
from study.cluster.failures import ClusterError

NAMESPACE = "neglora"
#: Seconds in which a claim may still belong to a driver that has just died.
GRACE_SECONDS = 10.0
#: Seconds that a holder has to say who it is: its process may be starting.
ANSWER_SECONDS = 60.0


class StudyHolder:
    """Says who runs a study."""

    def __init__(self, who: str) -> None:
        self._who = who

    def who(self) -> str:
        return self._who

    def __repr__(self) -> str:
        return f"study held by {self._who}"


@contextmanager
def claimed(storage: str, study: str) -> Iterator[None]:
    """Be the one who runs a study on this cluster, while the block runs.

    Raises:
        ClusterError: another driver is; the message says which.
    """
    digest = hashlib.sha256(shown(storage).rstrip("/").encode()).hexdigest()[:12]
    name = f"{study}-{digest}"
    deadline = time.monotonic() + GRACE_SECONDS
    while (actor := _claim(name)) is None:
        holder = _holder(name)
        if holder and time.monotonic() > deadline:
            raise ClusterError(
                f"the study {study} is run by {holder}, on this cluster: wait for it, stop it, or give another name"
            )
        time.sleep(0.5)
    try:
        yield
    finally:
        # At once, rather than when Ray notices that this process ended.
        ray.kill(actor)


def _claim(name: str) -> Any:
    """The actor, if there was none of this name."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = {"num_cpus": 0, "name": name, "namespace": NAMESPACE, "max_restarts": -1, "scheduling_strategy": here}
    try:
        return ray.remote(StudyHolder).options(**options).remote(_myself())
    except ValueError:
        # The name is taken.
        return None


def _holder(name: str) -> str | None:
    """Who holds the name; None where nobody does any more."""
    try:
        actor = ray.get_actor(name, namespace=NAMESPACE)
        told: str = ray.get(actor.who.remote(), timeout=ANSWER_SECONDS)
    except (ValueError, ray.exceptions.RayActorError):
        return None
    except ray.exceptions.GetTimeoutError:
        return "another driver, which does not say more"
    return told


def _myself() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # A container may run under a number without a name.
        user = str(os.getuid())
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return f"process {os.getpid()} of {user} on {socket.gethostname()}, since {since}"
