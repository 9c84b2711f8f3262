"""What AWS would refuse, or make of a cluster file, as far as botocore knows it without asking: no call is made."""

from __future__ import annotations

from functools import cache
from typing import Any

from study.cluster.clusterparts import Kind
from study.cluster.clusterrules import STORAGE, Notes
from study.space.problems import Findings, Place, shown, unknown_name

#: Keys of `node_config` that Ray reads and does not pass on.
_RAYS_OWN = frozenset({"SubnetIds"})


def check_aws(kinds: list[Kind], given: dict[str, Any], notes: Notes) -> None:
    """Regions, zones, instance types, names below `node_config`, roles, images and what is left to pay for."""
    provider = given["provider"]
    region, zones = provider.get("region"), str(provider.get("availability_zone") or "")
    known = regions()
    if not region:
        notes.problems.add(("provider",), "lacks region")
    elif region not in known:
        notes.problems.add(("provider", "region"), unknown_name(region, known, "region"))
    for zone in filter(None, (part.strip() for part in zones.split(","))):
        if region and not zone.startswith(str(region)):
            notes.problems.add(("provider", "availability_zone"), f"{zone} is not in {region}")
    if provider.get("cache_stopped_nodes", True):
        told = "nodes are only stopped, and their disks paid for until you delete them; write false"
        notes.warnings.add(("provider", "cache_stopped_nodes"), told)
    for kind in kinds:
        _check_node(kind, notes)


def _check_node(kind: Kind, notes: Notes) -> None:
    place: Place = (*kind.place, "node_config")
    node = kind.config["node_config"]
    _check_shape(run_instances(), {name: node[name] for name in node if name not in _RAYS_OWN}, place, notes.problems)
    machine = node.get("InstanceType")
    types = run_instances().members["InstanceType"].enum
    if machine is None:
        notes.problems.add(place, "lacks InstanceType")
    elif machine not in types:
        # Types come out faster than this list.
        near = unknown_name(machine, types, "instance type").partition("Expected")[0].rstrip("; ")
        notes.warnings.add((*place, "InstanceType"), f"{near.partition('; expected')[0]}")
    if (
        not kind.is_head
        and str(kind.environment.get(STORAGE, "")).startswith("s3://")
        and "IamInstanceProfile" not in node
    ):
        told = (
            "lacks IamInstanceProfile: Ray gives a role to the head alone, and these nodes could not read the storage"
        )
        notes.problems.add(place, told)
    if kind.config.get("resources", {}).get("GPU") and not node.get("ImageId"):
        told = "lacks ImageId: Ray's default image is of 2022, and its driver too old for CUDA 13 of the pinned PyTorch"
        notes.warnings.add(place, told)


@cache
def regions() -> tuple[str, ...]:
    """Regions of EC2 that botocore knows."""
    import botocore.session

    return tuple(botocore.session.get_session().get_available_regions("ec2"))


@cache
def run_instances() -> Any:
    """The shape of a request for instances, whose parameters `node_config` holds."""
    import botocore.session

    return botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape


def _check_shape(shape: Any, value: Any, place: Place, findings: Findings) -> None:
    """Note names that AWS does not know and values of another type than it takes."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for name, inner in value.items():
            if name in shape.members:
                _check_shape(shape.members[name], inner, (*place, name), findings)
            else:
                findings.add((*place, name), _unknown(name, list(shape.members)))
    elif shape.type_name == "list" and isinstance(value, list):
        for index, inner in enumerate(value):
            _check_shape(shape.member, inner, (*place, index), findings)
    elif not isinstance(value, _PYTHON_TYPES.get(shape.type_name, object)) or (
        isinstance(value, bool) and shape.type_name != "boolean"
    ):
        findings.add(place, f"expected a value of type {shape.type_name}, got {shown(value)}")


_PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "structure": dict,
    "list": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "double": (int, float),
    "float": (int, float),
}


def _unknown(name: str, known: list[str]) -> str:
    told = unknown_name(name, known, "parameter of AWS's RunInstances")
    return told if len(known) <= 12 else told.partition(" Expected one of")[0].partition("; expected one of")[0]
