"""Checks a manifest for KubeRay by our own rules: the token, one image and version, a storage for all, nothing open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.cluster.clusterfile import Checked, in_order
from study.cluster.clusterrules import EXAMPLE_BUCKET, Notes, shared_storage
from study.cluster.rayschema import ray_version
from study.cluster.startlines import commands_of
from study.cluster.versionrules import image_of
from study.space.document import read_mapping, read_text
from study.space.problems import Findings, Place, shown

EXPECTED = "a manifest with 'apiVersion: ray.io/v1' and 'kind: RayJob'"
#: Kinds that bring a Ray cluster, and where its description stands.
_CLUSTERS: dict[str, Place] = {"RayJob": ("spec", "rayClusterSpec"), "RayCluster": ("spec",)}
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a mount of the pod, not a file of ours
_OPEN_SERVICES = frozenset({"NodePort", "LoadBalancer"})


@dataclass(frozen=True)
class Pod:
    """The pods of a group: whose they are, what they run, and where that stands."""

    title: str
    is_head: bool
    place: Place
    spec: dict[str, Any]

    @property
    def containers(self) -> list[tuple[Place, dict[str, Any]]]:
        """Every container with its place."""
        return [
            ((*self.place, key, index), container)
            for key in ("initContainers", "containers")
            for index, container in enumerate(_dicts(self.spec.get(key)))
        ]


def check_manifest(path: Path) -> Checked:
    """Check the RayJobs and RayClusters of a file; other kinds beside them are left to Kubernetes.

    Raises:
        SpaceError: it cannot be read, or a document in it is no YAML mapping.
    """
    problems, warnings = Findings(str(path)), Findings(str(path))
    text, found = read_text(path, problems), []
    for part in _documents(text):
        problems.marks.clear()
        document = read_mapping(part, problems, expected=EXPECTED)
        warnings.marks = problems.marks
        kind = str(document.get("kind"))
        if kind in _CLUSTERS:
            found.append(kind)
            _check_document(document, _CLUSTERS[kind], Notes(problems, warnings))
    if not found:
        problems.add((), f"holds none of {', '.join(_CLUSTERS)}, the kinds that are checked here", 1)
    return Checked(f"{' and '.join(map(str, found))} for KubeRay", in_order(problems), in_order(warnings))


def _documents(text: str) -> Iterator[str]:
    """The documents of a YAML stream, each with as many empty lines before it as make its line numbers right."""
    lines, start = text.splitlines(keepends=True), 0
    for index, line in [*enumerate(lines), (len(lines), "---")]:
        if line.split("#")[0].rstrip() == "---":
            part = "".join(lines[start:index])
            if re.search(r"^[^#\s]", part, re.MULTILINE):
                yield "\n" * start + part
            start = index + 1


def _check_document(document: dict[str, Any], at: Place, notes: Notes) -> None:
    cluster: Any = document
    for part in at:
        cluster = cluster.get(part) if isinstance(cluster, dict) else None
    if not isinstance(cluster, dict):
        notes.problems.add(at, f"expected the description of a Ray cluster, got {shown(cluster)}")
        return
    pods = _pods(cluster, at)
    _check_access(cluster, at, pods, notes)
    _check_versions(cluster, at, pods, notes)
    _check_groups(cluster, at, pods, notes)
    if document["kind"] == "RayJob":
        _check_job(document["spec"], notes)


def _pods(cluster: dict[str, Any], at: Place) -> list[Pod]:
    groups = [("the head", True, (*at, "headGroupSpec"), cluster.get("headGroupSpec"))]
    for index, group in enumerate(_dicts(cluster.get("workerGroupSpecs"))):
        title = f"group {group.get('groupName')!r}"
        groups.append((title, False, (*at, "workerGroupSpecs", index), group))
    return [
        Pod(title, is_head, (*place, "template", "spec"), _dict(_dict(_dict(group).get("template")).get("spec")))
        for title, is_head, place, group in groups
    ]


def _check_access(cluster: dict[str, Any], at: Place, pods: list[Pod], notes: Notes) -> None:
    mode = _dict(cluster.get("authOptions")).get("mode")
    if mode != "token":
        told = (
            f"mode is {shown(mode)}: whoever reaches the dashboard may run anything; write authOptions: {{mode: token}}"
        )
        notes.problems.add((*at, "authOptions"), told)
    head = _dict(cluster.get("headGroupSpec"))
    services = {
        (*at, "headGroupSpec", "serviceType"): head.get("serviceType"),
        (*at, "headGroupSpec", "headService", "spec", "type"): _dict(_dict(head.get("headService")).get("spec")).get(
            "type"
        ),
    }
    for place, kind in services.items():
        if str(kind) in _OPEN_SERVICES:
            notes.problems.add(
                place, f"{kind} opens the dashboard beyond the cluster: ClusterIP and kubectl port-forward"
            )
    if head.get("enableIngress"):
        told = "opens the dashboard beyond the cluster: leave it out, and use kubectl port-forward"
        notes.problems.add((*at, "headGroupSpec", "enableIngress"), told)
    for pod in pods:
        if pod.spec.get("hostNetwork"):
            notes.problems.add(
                (*pod.place, "hostNetwork"), f"{pod.title} would listen on the machine itself; leave it out"
            )
        for place, container in pod.containers:
            _check_container(place, container, pod, notes)


def _check_container(place: Place, container: dict[str, Any], pod: Pod, notes: Notes) -> None:
    for index, port in enumerate(_dicts(container.get("ports"))):
        if "hostPort" in port:
            notes.problems.add(
                (*place, "ports", index), f"hostPort {port['hostPort']} opens it on the machine; leave it out"
            )
    for index, variable in enumerate(_dicts(container.get("env"))):
        name = str(variable.get("name"))
        at = (*place, "env", index)
        if re.search(r"TOKEN$|SECRET|PASSWORD|ACCESS_KEY|ACCOUNT_KEY", name) and variable.get("value"):
            notes.problems.add(at, f"holds {name} itself: refer to a Secret with valueFrom: {{secretKeyRef: ...}}")
        if name == "RAY_AUTH_MODE" and variable.get("value") != "token":
            notes.problems.add(at, f"sets RAY_AUTH_MODE to {variable.get('value')!r} against authOptions; leave it out")
    own, around = _dict(container.get("securityContext")), _dict(pod.spec.get("securityContext"))
    if own.get("privileged") or own.get("runAsNonRoot", around.get("runAsNonRoot")) is not True:
        told = f"{pod.title} may run as root: write runAsNonRoot: true and runAsUser: 1000"
        notes.problems.add((*place, "securityContext"), told)


def _check_versions(cluster: dict[str, Any], at: Place, pods: list[Pod], notes: Notes) -> None:
    wanted, given = ray_version(), str(cluster.get("rayVersion"))
    if given != wanted:
        told = f"expected {wanted}, the Ray of this installation and of constraints.txt, got {given}"
        notes.problems.add((*at, "rayVersion"), told)
    images: dict[str, Place] = {}
    for pod in pods:
        for place, container in pod.containers:
            name = str(container.get("image"))
            images.setdefault(name, (*place, "image"))
            image = image_of(name)
            if not image.is_pinned:
                notes.problems.add((*place, "image"), f"the image {name} is another one tomorrow: name a version")
            elif image.ray is None:
                told = f"the image {name} does not say its Ray: name it as deploy/Dockerfile does"
                notes.warnings.add((*place, "image"), told)
            elif image.ray != wanted:
                notes.problems.add((*place, "image"), f"the image {name} has Ray {image.ray}, expected {wanted}")
    if len(images) > 1:
        told = f"nodes have different images, {' and '.join(images)}: with one, Ray and Python are the same everywhere"
        notes.problems.add(list(images.values())[1], told)
    if any(name.startswith("registry.example.com/") for name in images):
        notes.warnings.add(next(iter(images.values())), "the image is the example's: put one of yours")


def _check_groups(cluster: dict[str, Any], at: Place, pods: list[Pod], notes: Notes) -> None:
    params = _dict(_dict(cluster.get("headGroupSpec")).get("rayStartParams"))
    if str(params.get("num-cpus")) != "0":
        told = 'trials would run beside the driver: write num-cpus: "0"'
        notes.problems.add((*at, "headGroupSpec", "rayStartParams"), told)
    if cluster.get("enableInTreeAutoscaling") is not True:
        told = "is not true: workers stay as many as replicas says, also when nothing is to be done"
        notes.warnings.add((*at, "enableInTreeAutoscaling"), told)
    for index, group in enumerate(_dicts(cluster.get("workerGroupSpecs"))):
        place: Place = (*at, "workerGroupSpecs", index)
        least, most = group.get("minReplicas", 0), group.get("maxReplicas")
        if not isinstance(least, int):
            notes.problems.add((*place, "minReplicas"), f"expected a number, got {shown(least)}")
        elif not isinstance(most, int) or least > most:
            notes.problems.add((*place, "maxReplicas"), f"expected at least {least}, got {shown(most)}")
    for pod in pods:
        memory = {
            str(v.get("name"))
            for v in _dicts(pod.spec.get("volumes"))
            if _dict(v.get("emptyDir")).get("medium") == "Memory"
        }
        for place, container in pod.containers:
            if place[-2] != "containers":
                continue
            shared = [one for one in _dicts(container.get("volumeMounts")) if one.get("mountPath") == SHARED_MEMORY]
            mounts = {str(one.get("name")) for one in shared}
            if not mounts & memory:
                told = f"{pod.title} has no memory at /dev/shm: an emptyDir of medium Memory, mounted there"
                notes.warnings.add(place, told)
            limits = _dict(_dict(container.get("resources")).get("limits"))
            if not pod.is_head and not any(str(name).endswith("/gpu") for name in limits):
                notes.warnings.add((*place, "resources"), f"{pod.title} asks for no GPU: nvidia.com/gpu under limits")


def _check_job(job: dict[str, Any], notes: Notes) -> None:
    place: Place = ("spec", "entrypoint")
    try:
        commands = [one for one in commands_of(str(job.get("entrypoint", ""))) if one.runs("neglora", "run")]
    except ValueError as error:
        notes.problems.add(place, f"no shell can read it: {error}")
        return
    if not commands:
        notes.problems.add(place, "expected 'neglora run SPACE.yaml --address auto --storage URI'")
    for command in commands:
        if command.options.get("--address") != "auto":
            notes.problems.add(place, "lacks --address auto: a Ray of its own would be started inside the head's pod")
        storage = command.options.get("--storage", "runs")
        if not shared_storage(storage):
            told = f"storage {storage!r} is a folder of one pod: give a URI such as s3://BUCKET/neglora"
            notes.problems.add(place, told)
        elif f"//{EXAMPLE_BUCKET}/" in f"{storage}/":
            notes.warnings.add(place, f"storage {storage!r} is the example's: put a bucket of yours")
    if job.get("shutdownAfterJobFinishes") is not True:
        told = "is not true: the cluster stays, and is paid for, after the study has ended"
        notes.warnings.add(("spec", "shutdownAfterJobFinishes"), told)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
