"""Checks a cluster file for `ray up` without a cloud: by Ray's own schema and rules, by AWS's names, and by ours."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.cluster import awsrules, clusterrules, rayschema, versionrules
from study.cluster.clusterparts import kinds_of
from study.cluster.clusterrules import Notes
from study.space.document import read_mapping, read_text
from study.space.problems import Findings, Problem

EXPECTED = "a mapping with 'cluster_name: NAME' and 'provider: {type: ...}'"


@dataclass(frozen=True)
class Checked:
    """What was found in a file, in the order of its lines.

    Attributes:
        about: what it describes, for people; empty where that could not be told.
        problems: to be mended before anything is launched.
        warnings: what should be known all the same.
    """

    about: str
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def check_cluster(path: Path) -> Checked:
    """Check a cluster file. Asks neither a cloud nor the network.

    Raises:
        SpaceError: it cannot be read, or is no YAML mapping.
    """
    problems, warnings = Findings(str(path)), Findings(str(path))
    given = read_mapping(read_text(path, problems), problems, expected=EXPECTED)
    warnings.marks = problems.marks
    mended = rayschema.check_schema(given, problems)
    prepared = rayschema.prepared(mended, problems) if mended is not None else None
    about = _check_rest(mended, prepared, path.parent, Notes(problems, warnings)) if mended and prepared else ""
    return Checked(about, in_order(problems), in_order(warnings))


def in_order(findings: Findings) -> tuple[Problem, ...]:
    """What was found, in the order of its lines."""
    return tuple(sorted(findings.problems, key=lambda one: one.line or 0))


def _check_rest(given: dict[str, Any], prepared: dict[str, Any], folder: Path, notes: Notes) -> str:
    kinds = kinds_of(given, prepared, notes.problems)
    clusterrules.check_start(kinds, rayschema.start_options(), prepared, notes)
    clusterrules.check_access(kinds, given, notes)
    clusterrules.check_storage(kinds, given, notes)
    clusterrules.check_resources(kinds, notes)
    clusterrules.check_limits(kinds, notes)
    versionrules.check_versions(kinds, given, folder, rayschema.ray_version(), notes)
    if given["provider"]["type"] == "aws":
        awsrules.check_aws(kinds, given, notes)
    _check_mounts(given, folder, notes)
    workers = ", ".join(kind.name for kind in kinds if not kind.is_head) or "no workers"
    return f"a cluster on {given['provider']['type']}, a head and at most {prepared['max_workers']} of {workers}"


def _check_mounts(given: dict[str, Any], folder: Path, notes: Notes) -> None:
    for remote, source in (given.get("file_mounts") or {}).items():
        place = ("file_mounts", remote)
        if not isinstance(source, str):
            notes.problems.add(place, "expected a path of this machine")
            continue
        local = folder / Path(source).expanduser()
        is_token = remote.endswith(".ray/auth_token")
        if not local.exists():
            told = f"there is no {source} here"
            hint = (
                ": 'ray get-auth-token --generate' makes it" if is_token else f": 'ray up' looks for it from {folder}"
            )
            notes.warnings.add(place, told + hint)
        elif is_token and local.is_file() and local.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            notes.warnings.add(place, f"others on this machine may read the token: chmod 600 {source}")
