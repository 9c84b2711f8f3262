"""Whether the nodes of a cluster can take part in a study, asked before it runs: same versions, same storage.

Nodes that come later look for themselves (`workers.unable`).
"""

from __future__ import annotations

import platform
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from neglora.provenance import versions
from neglora.storage import ObjectStorage, StorageError, is_uri, shown
from study.cluster.failures import ClusterError

#: Results of a study depend on these; other packages may differ in what does not matter.
SAME = ("python", "ray", "torch", "neglora")
#: Seconds that a node has to answer: it may have to start a process first.
ANSWER_SECONDS = 180.0


@dataclass(frozen=True)
class Answer:
    """What one node says.

    Attributes:
        node: its address.
        versions: of `SAME`.
        problem: why it does not see the storage; None where it does.
    """

    node: str
    versions: Mapping[str, str | None]
    problem: str | None


def check_nodes(storage: str, study: str) -> None:
    """Ask every node of now.

    Args:
        storage: a folder or a URI that this process can write.
        study: its name: what is written for a moment lies in its folder.

    Raises:
        ClusterError: naming the nodes that cannot take part, and what to do.
        StorageError: a URI that cannot be written from here.
    """
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    name, nonce = f"{study}/.seen-{uuid.uuid4().hex}", uuid.uuid4().hex
    _write(storage, name, nonce.encode())
    try:
        asked = {
            ray.remote(look)
            .options(
                num_cpus=0,
                max_retries=0,
                name=f"look at {shown(storage)}",
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
            )
            .remote(storage, name, nonce): address
            for node_id, address in nodes.items()
        }
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
        answers = [answer for task in answered if (answer := _answer(task, asked[task])) is not None]
    finally:
        _remove(storage, name)
    if silent:
        raise ClusterError(
            f"no answer within {ANSWER_SECONDS:g} s from {_listed([asked[task] for task in silent])}: "
            "see `ray status`, and the node's log"
        )
    complain(answers, storage)


def look(storage: str, name: str, nonce: str) -> Answer:
    """In a task on each node."""
    node = ray.util.get_node_ip_address()
    try:
        found = ObjectStorage(storage).read(name) if is_uri(storage) else (Path(storage) / name).read_bytes()
        problem = None if found == nonce.encode() else "another file is there"
    except FileNotFoundError:
        problem = "it is not there"
    except (OSError, StorageError) as error:
        problem = str(error)
    return Answer(node, {package: versions()[package] for package in SAME}, problem)


def complain(answers: Sequence[Answer], storage: str) -> None:
    """
    Raises:
        ClusterError: nodes do not see the storage, or have other versions than this process.
    """
    own = versions()
    for package in SAME:
        there = {answer.node: answer.versions[package] for answer in answers}
        others = [
            f"{version or 'none'} on {node}" for node, version in sorted(there.items()) if version != own[package]
        ]
        if others:
            raise ClusterError(
                f"{package} is {own[package]} here ({platform.node()}), but {', '.join(others)}: all nodes need the "
                "same; install the versions of constraints.txt everywhere"
            )
    blind = {answer.node: answer.problem for answer in answers if answer.problem}
    if not blind:
        return
    reasons = "; ".join(f"{node}: {problem}" for node, problem in sorted(blind.items()))
    if is_uri(storage):
        raise ClusterError(
            f"{len(blind)} of {len(answers)} nodes cannot read the storage {shown(storage)} ({reasons}): give them "
            "its credentials, by their role or by the environment in which Ray was started"
        )
    raise ClusterError(
        f"{len(blind)} of {len(answers)} nodes do not see the storage {storage} ({reasons}): mount the same folder "
        "there, or give --storage a URI that all nodes reach, such as s3://bucket/runs"
    )


def _answer(task: Any, node: str) -> Answer | None:
    """What a node answered; None where it was lost meanwhile.

    Raises:
        ClusterError: it could not run the question.
    """
    try:
        answer: Answer = ray.get(task)
    except ray.exceptions.RayTaskError as error:
        raise ClusterError(
            f"the node {node} cannot run neglora: {_last_line(error)}. Install there what is installed here"
        ) from error
    except ray.exceptions.RuntimeEnvSetupError as error:
        raise ClusterError(f"the node {node} cannot set up the environment: {error}") from error
    except ray.exceptions.RayError:
        return None
    return answer


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _listed(nodes: Sequence[str]) -> str:
    return ", ".join(sorted(nodes))


def _write(storage: str, name: str, data: bytes) -> None:
    if is_uri(storage):
        ObjectStorage(storage).write(name, data)
        return
    path = Path(storage) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _remove(storage: str, name: str) -> None:
    if is_uri(storage):
        ObjectStorage(storage).delete(name)
    else:
        (Path(storage) / name).unlink(missing_ok=True)
