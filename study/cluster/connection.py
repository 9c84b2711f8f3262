"""Starting Ray on this machine, or joining a cluster: quiet, and on loopback unless asked."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from study.cluster.failures import ClusterError
from study.cluster.growing import can_grow
from study.cluster.hush import hush, own_signals
from study.cluster.reaching import in_words, prepare
from study.cluster.token import MODE, ask_for_token, tell_ray, token_place

#: Read by Ray when it is imported or started; what the user has set stays.
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "60",
    # Tune's own handler would end a run on Ctrl-C as if it had finished.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
#: For a cluster of one machine: every port on loopback. Ray reads it when it is imported.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

OBJECT_STORE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Cluster:
    """What a study may know of the cluster.

    Attributes:
        dashboard: the address of Ray's dashboard, if there is one.
        slots: how many trials fit at once now, and are wanted.
        limit: at most so many trials may be handed out at once; None where no more would ever fit.
        token: where the token is kept that the dashboard asks for; None where it asks for none.
        gpus: what one trial asks for.
    """

    dashboard: str | None
    slots: int
    limit: int | None
    token: str | None = None
    gpus: float = 0.0


@contextmanager
def connected(
    address: str | None,
    *,
    cpus: float,
    gpus: float | Literal["auto"],
    workers: int | None,
    verbose: bool,
    group: int = 1,
    name: str | None = None,
) -> Iterator[Cluster]:
    """Start Ray here, or join the cluster at `address`, for as long as the context lasts.

    Args:
        address: of a running cluster (`auto`, `HOST:PORT`); None starts one on this machine.
        cpus, gpus: what one trial asks for; `auto` is a whole GPU where any node has one.
        workers: at most so many trials at once; None for as many as fit.
        verbose: let Ray and the workers print.
        group: workers that train one model together, which have to fit at once whatever `workers` says.
        name: of the study, which Ray's dashboard shows as the name of the job.

    Raises:
        ClusterError: the cluster cannot be reached or does not let us in, no node has or could get what one trial asks
            for, or a group does not fit.
    """
    for setting, value in (QUIET if address else QUIET | LOOPBACK).items():
        os.environ.setdefault(setting, value)
    # Other users of this machine reach its loopback: without a token they could run code in this one's name.
    mode = os.environ.get(MODE)
    asks = ask_for_token() if address is None else prepare(address)
    import ray

    tell_ray()

    level = logging.INFO if verbose else logging.CRITICAL
    for logger in ("ray", "ray.tune", "ray.data", "ray.train"):
        logging.getLogger(logger).setLevel(level)
    shared: dict[str, Any] = {
        "logging_level": level,
        "log_to_driver": verbose,
        "configure_logging": verbose,
        "ignore_reinit_error": False,
    }
    if name:
        shared["job_config"] = ray.job_config.JobConfig(metadata={"job_name": name})
    if address is None:
        available = _usable_cpus()
        if cpus > available:
            raise ClusterError(
                f"a trial asks for {cpus:g} CPUs, but this machine has {available}: lower resources.cpus in the space"
            )
        if group * cpus > available:
            raise ClusterError(
                f"training.workers is {group}, with {cpus:g} CPUs each, but this machine has {available} CPUs: "
                "lower one of the two in the space, or give the --address of a cluster"
            )
        wanted = max(workers, group) * max(cpus, 1e-9) if workers else available
        shared |= {
            # Without it Ray would join a cluster that happens to run on this machine.
            "address": "local",
            "num_cpus": max(1, int(-(-max(cpus, min(wanted, available)) // 1))),
            "include_dashboard": True,
            "dashboard_host": "127.0.0.1",
            "object_store_memory": OBJECT_STORE_BYTES,
            "_temp_dir": _short_temp_dir(),
        }
    else:
        shared["address"] = address
    if not verbose:
        hush()
    try:
        with own_signals():
            context = ray.init(**shared)
    except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
        where = f"the Ray cluster at {address}" if address else "Ray on this machine"
        raise ClusterError(in_words(where, error)) from error
    try:
        # Asked only where it matters: a cluster that has just started takes a while to tell.
        grows: Callable[[], bool] = lambda: address is not None and can_grow()  # noqa: E731
        gpus = float(has_gpus(ray)) if gpus == "auto" else gpus
        slots = _slots(ray, cpus, gpus, grows)
        if slots < group and not grows():
            raise ClusterError(
                f"training.workers is {group}, with {cpus:g} CPUs and {gpus:g} GPUs each, but {slots} of them fit on "
                "the nodes of the cluster: lower training.workers or resources in the space"
            )
        url = getattr(context, "dashboard_url", None)
        token = token_place() if asks else None
        slots, limit = _wanted(slots, address, workers)
        yield Cluster(f"http://{url}" if url else None, slots, limit, token, gpus)
    finally:
        ray.shutdown()
        if mode is None:
            os.environ.pop(MODE, None)


def sharing(cluster: Cluster, *, address: str | None, cpus: float, gpus: float, workers: int | None) -> Cluster:
    """The connected cluster where each trial asks for another share of a GPU; the rest as `connected` was given it."""
    import ray

    slots, limit = _wanted(_slots(ray, cpus, gpus, lambda: True), address, workers)
    return replace(cluster, slots=slots, limit=limit, gpus=gpus)


def _wanted(slots: int, address: str | None, workers: int | None) -> tuple[int, int | None]:
    """Of so many slots those that are wanted, and how many trials may be handed out at once."""
    # What was started here for as many as are wanted may have room for more: it has whole CPUs, enough for a group.
    return min(slots, workers or slots), None if address is None and slots <= (workers or slots) else workers


def has_gpus(ray: Any) -> bool:
    """Whether any node of now has a GPU."""
    return any(node["Alive"] and node["Resources"].get("GPU", 0.0) >= 1 for node in ray.nodes())


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _short_temp_dir() -> str | None:
    """A folder for Ray's sockets, whose paths may be 107 bytes at most: None leaves Ray's own choice."""
    base = Path(tempfile.gettempdir())
    return None if base == Path("/tmp") or len(str(base)) > 40 else str(base / "ray")  # noqa: S108


def _slots(ray: Any, cpus: float, gpus: float, grows: Callable[[], bool]) -> int:
    """How many trials fit on the nodes of now; at least 1 where an autoscaler could add a node.

    Raises:
        ClusterError: no node has what one trial asks for, and no autoscaler could bring one.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    total = 0
    for resources in nodes:
        fits = [
            int(resources.get(kind, 0.0) / asked + 1e-9) for kind, asked in (("CPU", cpus), ("GPU", gpus)) if asked > 0
        ]
        total += min(fits, default=1)
    if total:
        return total
    if grows():
        return 1
    have = "; ".join(f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs" for resources in nodes)
    raise ClusterError(
        f"a trial asks for {cpus:g} CPUs and {gpus:g} GPUs, which no node of the cluster has: its {len(nodes)} node(s) "
        f"have {have or 'nothing'}, and no autoscaler could add one. Change `resources` in the space"
    )
