"""Whether an autoscaler can add nodes to a cluster. Ray has two kinds of it, which report in different places."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable

#: Seconds for the monitor of a cluster that has just started to report for the first time.
FIRST_REPORT = 20.0
#: Where Ray may only watch, it names each node's type after the node itself; where it can launch nodes, types have the
#: names that its configuration gives them.
_WATCHED_TYPE = re.compile(r"node_[0-9a-f]{32,}")


def can_grow() -> bool:
    """Whether the cluster that this process is connected to can add nodes."""
    deadline = time.monotonic() + FIRST_REPORT
    while (types := _reported()) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return launches(types)


def launches(types: Iterable[str]) -> bool:
    """Whether these types of nodes are those of an autoscaler that launches nodes."""
    return any(name and not _WATCHED_TYPE.fullmatch(name) for name in types)


def _reported() -> list[str] | None:
    """Types of the nodes of now; None while nobody has reported."""
    from ray.autoscaler.v2.utils import is_autoscaler_v2

    if is_autoscaler_v2(fetch_from_server=True):
        return _of_v2()
    from ray._private import ray_constants
    from ray.experimental.internal_kv import _internal_kv_get

    status = _internal_kv_get(ray_constants.DEBUG_AUTOSCALING_STATUS)
    report = json.loads(status).get("autoscaler_report") if status else None
    if report is None:
        return None
    return [*(report.get("active_nodes") or ()), *(report.get("node_type_mapping") or {}).values()]


def _of_v2() -> list[str] | None:
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    # The head is one of them as soon as the autoscaler has reported.
    return [node.ray_node_type_name for node in (*status.active_nodes, *status.idle_nodes)] or None
