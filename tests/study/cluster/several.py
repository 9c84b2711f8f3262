"""Clusters of several nodes on this machine, and processes of theirs to be killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

#: Seconds for anything to happen on a busy machine.
LONG = 240.0


@contextmanager
def cluster_of(count: int, caches: Path | None = None) -> Iterator[Any]:
    """A head without CPUs and `count` nodes with one each; this process is not connected to it.

    Args:
        count: of nodes.
        caches: each node's own cache of URIs is made below.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_worker_niceness", "0")
        patch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", raising=False)
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        try:
            for number in range(count):
                add_node(cluster, caches / f"cache-{number}" if caches else None)
            yield cluster
        finally:
            cluster.shutdown()


def add_node(cluster: Any, cache: Path | None = None) -> Any:
    return cluster.add_node(num_cpus=1, env_vars={"NEGLORA_CACHE": str(cache)} if cache else {})


def process_of(title: str) -> psutil.Process:
    """The process below this one that runs the task of this name."""
    deadline = time.monotonic() + LONG
    while time.monotonic() < deadline:
        for process in psutil.Process().children(recursive=True):
            try:
                if process.cmdline()[:1] == [f"ray::{title}"]:
                    return process
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.05)
    raise AssertionError(f"no process runs {title}")


def node_of(cluster: Any, process: psutil.Process) -> Any:
    """The node of a process that works there."""
    [node] = [each for each in cluster.worker_nodes if raylet(each).pid == process.ppid()]
    return node


def raylet(node: Any) -> psutil.Process:
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


class Watcher:
    """A progress that keeps what it is told, and does something once.

    Args:
        when: called with a title and its epoch; true where the time has come.
        then: what to do.
    """

    def __init__(
        self, when: Callable[[str, int], bool] | None = None, then: Callable[[str], None] | None = None
    ) -> None:
        self.lines: list[str] = []
        self.epochs: list[tuple[str, int, int]] = []
        self.ready: list[str] = []
        self.when, self.then = when, then

    def say(self, text: str) -> None:
        self.lines.append(text)

    def preparation(self, total: int, missing: int) -> None:
        self.lines.append(f"{missing} of {total}")

    def preparing(self, title: str, epoch: int, epochs: int) -> None:
        self.epochs.append((title, epoch, epochs))
        if self.when and self.then and self.when(title, epoch):
            act, self.then = self.then, None
            act(title)

    def prepared(self, title: str) -> None:
        self.ready.append(title)

    def trials(self, state: Any, record: Any = None) -> None:
        raise AssertionError("nothing is tried here")

    def close(self) -> None:
        """Nothing is held."""
