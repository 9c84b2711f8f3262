"""Our own rules for a cluster file: who gets in, where studies are kept, what runs where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neglora.storage import is_uri
from study.cluster.clusterparts import TOKEN_MODE, Kind, Line
from study.cluster.startlines import volumes_of
from study.space.problems import Findings, Place, unknown_name

STORAGE = "NEGLORA_STORAGE"
EXAMPLE_BUCKET = "my-bucket"
_SHARED = frozenset({"s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs"})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SECRET = re.compile(r"\b(RAY_AUTH_TOKEN|AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN|AZURE_STORAGE_KEY)=([^\s\"'$]+)")
_STORING = frozenset({"run", "submit", "unlearn", "export"})


@dataclass(frozen=True)
class Notes:
    """Where rules write: what must be mended, and what should be known."""

    problems: Findings
    warnings: Findings


def check_start(kinds: list[Kind], options: frozenset[str], prepared: dict[str, Any], notes: Notes) -> None:
    """Each node starts Ray once, with options that there are; the head with what makes the cluster grow."""
    for kind in kinds:
        place: Place = ("head_start_ray_commands",) if kind.is_head else ("worker_start_ray_commands",)
        if not kind.starts:
            notes.problems.add(place, f"nothing in it runs 'ray start', so that nodes of type {kind.name!r} never join")
        for start in kind.starts:
            given = start.command.options
            for name in given:
                if name not in options:
                    notes.problems.add(start.place, unknown_name(name, sorted(options), "option of ray start"))
            if not kind.is_head and "--address" not in given:
                notes.problems.add(start.place, "a worker needs --address=$RAY_HEAD_IP:6379")
            if kind.is_head and "--head" not in given:
                notes.problems.add(start.place, "the head needs --head")
            if kind.is_head and "--autoscaling-config" not in given and prepared["max_workers"]:
                told = "lacks --autoscaling-config=~/ray_bootstrap_config.yaml: no worker would ever be launched"
                notes.problems.add(start.place, told)


def check_access(kinds: list[Kind], given: dict[str, Any], notes: Notes) -> None:
    """Token on everywhere, its file brought along, no secret in the file, nothing open to the world without it."""
    closed = True
    for kind in kinds:
        for start in kind.starts:
            mode = start.command.environment.get(TOKEN_MODE)
            if mode == "token":
                continue
            closed = False
            told = f"{TOKEN_MODE} is {mode!r}" if mode else f"nothing sets {TOKEN_MODE}"
            where = (
                "'-e RAY_AUTH_MODE=token' under docker.run_options" if kind.image else "'RAY_AUTH_MODE=token ray start'"
            )
            notes.problems.add(
                start.place,
                f"{told} for 'ray start' of type {kind.name!r}: whoever reaches it may run anything; write {where}",
            )
    if closed and not _brings_token(kinds, given):
        told = "lacks the token's file: add '~/.ray/auth_token: ~/.ray/auth_token' (ray get-auth-token --generate)"
        notes.problems.add(("file_mounts",), told)
    for place, text in _texts(given, ()):
        for name, _ in _SECRET.findall(text):
            notes.problems.add(place, f"holds {name} itself: this file is copied around; mount a file, or give a role")
    for kind in kinds:
        for start in kind.starts:
            host = start.command.options.get("--dashboard-host")
            if kind.is_head and host and host not in _LOOPBACK:
                told = f"the dashboard and the job server listen on {host}"
                if closed:
                    notes.warnings.add(
                        start.place, f"{told}, not encrypted: 127.0.0.1 and 'ray dashboard' reach as far"
                    )
                else:
                    notes.problems.add(
                        start.place, f"{told}, and no token is asked for; write --dashboard-host=127.0.0.1"
                    )
    _check_firewall(given, closed, notes)


def check_storage(kinds: list[Kind], given: dict[str, Any], notes: Notes) -> None:
    """Whatever names a storage names one that every node reaches."""
    named: dict[Place, str] = {}
    for kind in kinds:
        if STORAGE in kind.environment:
            named[_place_of(STORAGE, given) or ("docker", "run_options")] = kind.environment[STORAGE]
        for line in kind.lines:
            words, options = line.command.words, line.command.options
            if line.command.environment.get(STORAGE):
                named[line.place] = line.command.environment[STORAGE]
            if line.command.runs("neglora", *words[1:2]) and words[1:2] and words[1] in _STORING:
                value = options.get("--storage", "runs")
                named[line.place] = kind.environment.get(value.strip("${}"), value)
    for place, value in named.items():
        told = _unreachable(value, kinds, given)
        if told:
            notes.problems.add(place, f"storage {value!r} {told}; give a URI such as s3://BUCKET/neglora")
        elif f"//{EXAMPLE_BUCKET}/" in f"{value}/":
            notes.warnings.add(place, f"storage {value!r} is the example's: put a bucket of yours")
    if not named:
        told = f"no storage is named: '-e {STORAGE}=s3://BUCKET/neglora' under docker.run_options lets it be checked"
        notes.warnings.add((), told)


def check_resources(kinds: list[Kind], notes: Notes) -> None:
    """The head runs no trials; types with GPUs say so."""
    for kind in kinds:
        asked = kind.config.get("resources") or {}
        at: Place = (*kind.place, "resources")
        if kind.is_head:
            options = kind.starts[0].command.options if kind.starts else {}
            for name, option in (("CPU", "--num-cpus"), ("GPU", "--num-gpus")):
                amount = asked.get(name, options.get(option, None if name == "CPU" or _has_gpu(kind) else 0))
                if str(amount) != "0":
                    told = "is not set" if amount is None else f"is {amount}"
                    notes.problems.add(
                        at, f"{name} of the head {told}: trials would run beside the driver; write {name}: 0"
                    )
        elif _has_gpu(kind) and not asked.get("GPU"):
            machine = kind.config["node_config"].get("InstanceType", "this machine")
            if asked.get("GPU") == 0:
                notes.problems.add(at, f"GPU is 0, but {machine} has GPUs: no trial would get one; write how many")
            else:
                notes.problems.add(at, f"says no GPU, but {machine} has: write GPU: 1, or as many as it has")


def check_limits(kinds: list[Kind], notes: Notes) -> None:
    """Shared memory and open files, which are too small by default."""
    for kind in kinds:
        if kind.image is None:
            if not any("ulimit" in line.command.words and "-n" in line.command.words for line in kind.lines):
                told = (
                    f"type {kind.name!r} keeps the machine's limit of open files: 'ulimit -n 65536;' before ray start"
                )
                notes.warnings.add(("head_start_ray_commands" if kind.is_head else "worker_start_ray_commands",), told)
            continue
        text = " ".join(kind.run_options)
        if "--shm-size" not in text:
            told = f"type {kind.name!r} has no --shm-size: Docker's 64 MB are too few for Ray's objects"
            notes.warnings.add(("docker",), told)
        if "nofile" not in text:
            told = f"type {kind.name!r} has no '--ulimit nofile=65536:65536': Ray runs out of files on many cores"
            notes.warnings.add(("docker",), told)


def shared_storage(text: str) -> bool:
    """Whether a storage is a URI that every machine can reach."""
    return is_uri(text) and text.partition("://")[0].lower() in _SHARED


def _brings_token(kinds: list[Kind], given: dict[str, Any]) -> bool:
    mounts = given.get("file_mounts") or {}
    paths = {start.command.environment.get("RAY_AUTH_TOKEN_PATH") for kind in kinds for start in kind.starts} - {None}
    return any(
        remote.rstrip("/").endswith((".ray/auth_token", "/.ray")) or any(str(path).startswith(remote) for path in paths)
        for remote in mounts
    )


def _check_firewall(given: dict[str, Any], closed: bool, notes: Notes) -> None:
    rules = (given.get("provider", {}).get("security_group") or {}).get("IpPermissions") or []
    for index, rule in enumerate(rules):
        place: Place = ("provider", "security_group", "IpPermissions", index)
        if not isinstance(rule, dict):
            continue
        ranges = [*(rule.get("IpRanges") or []), *(rule.get("Ipv6Ranges") or [])]
        world = any(part.get("CidrIp") == "0.0.0.0/0" or part.get("CidrIpv6") == "::/0" for part in ranges)
        ports = rule.get("FromPort"), rule.get("ToPort")
        if world and ports != (22, 22):
            told = f"ports {ports[0]} to {ports[1]} are open to everybody on the internet"
            if closed:
                notes.warnings.add(place, f"{told}, and Ray does not encrypt: name your own addresses, or use SSH")
            else:
                notes.problems.add(place, f"{told}, and no token is asked for")


def _unreachable(value: str, kinds: list[Kind], given: dict[str, Any]) -> str | None:
    """Why other nodes do not reach a storage; None where they do."""
    if is_uri(value):
        return None if shared_storage(value) else f"is a {value.partition('://')[0]}:// of each node by itself"
    if not value.startswith("/"):
        return "is a folder of one node"
    if given.get("provider", {}).get("type") == "local":
        return None
    path = Path(value)
    for kind in kinds:
        mounted = [word for line in kind.lines for word in _mounts(line)]
        inside = (
            mounted if kind.image is None else [to for at, to in volumes_of(kind.run_options) if _below(at, mounted)]
        )
        if not any(path.is_relative_to(folder) for folder in inside if folder.startswith("/")):
            return f"is a folder of one node: nothing mounts a file system there on type {kind.name!r}"
    return None


def _mounts(line: Line) -> tuple[str, ...]:
    words = line.command.words
    is_mount = words[0].rpartition("/")[2].split(".")[0] in {"mount", "mount-s3", "gcsfuse", "blobfuse2", "sshfs"}
    return words[1:] if is_mount else ()


def _below(folder: str, mounted: list[str]) -> bool:
    return any(Path(folder).is_relative_to(one) for one in mounted if one.startswith("/") and one != "/")


def _has_gpu(kind: Kind) -> bool:
    """Whether a machine has GPUs, as far as its name tells without asking its cloud."""
    node = kind.config.get("node_config") or {}
    aws = re.match(r"(g\d|p\d|gr\d)", str(node.get("InstanceType", "")))
    azure = str((node.get("azure_arm_parameters") or {}).get("vmSize", "")).startswith("Standard_N")
    return bool(aws or azure or node.get("guestAccelerators"))


def _texts(value: Any, place: Place) -> list[tuple[Place, str]]:
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in _texts(inner, (*place, key))]
    if isinstance(value, list):
        return [found for index, inner in enumerate(value) for found in _texts(inner, (*place, index))]
    return [(place, value)] if isinstance(value, str) else []


def _place_of(name: str, given: dict[str, Any]) -> Place | None:
    return next((place for place, text in _texts(given, ()) if f"{name}=" in text), None)
