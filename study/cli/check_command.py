"""`neglora check`: every mistake in a search space or a cluster's file, with its line, without running anything."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from study.cli.common import UserError, add_data_arguments, data_of
from study.cli.terminal import Terminal

EPILOG = """\
A file is what its keys say: a search space (study), a cluster for `ray up` (cluster_name, provider), or a manifest for
Kubernetes (kind: RayJob). A cluster's file is held against Ray's own schema, AWS's names and what a study needs: the
token, one storage and one version for all nodes. Nothing is asked of a cloud. Exit code 0: fine; 2: problems.

examples:
  neglora check my.yaml
  neglora check cluster.yaml deploy/kuberay/rayjob.yaml
"""

#: Keys at the top of a file by which its kind is known, where it has none of the others.
_CLUSTER = frozenset({"cluster_name", "provider", "available_node_types", "head_node_type", "max_workers", "auth"})
_MANIFEST = frozenset({"apiVersion", "kind", "metadata", "spec"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", metavar="FILE.yaml", type=Path, nargs="+", help="search spaces, cluster files, manifests of RayJobs"
    )
    add_data_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    console = Terminal()
    problems = [told for path in arguments.files if (told := _check(path, data_of(arguments), console))]
    if problems:
        raise UserError("\n".join(problems))
    return 0


def _check(path: Path, data: dict[str, Any], console: Console) -> str:
    """Print what a file is and what is odd in it; what has to be mended is returned."""
    from study.space import SpaceError, load_space

    keys = _top_keys(path)
    try:
        if "study" not in keys and keys & (_CLUSTER | _MANIFEST):
            return _check_cluster(path, bool(keys & _MANIFEST), console)
        space = load_space(path, data=data)
    except SpaceError as error:
        return str(error)
    cells = space.cells()
    trials = sum(cell.trials for cell in cells)
    console.print(f"{path}: fine, {len(cells)} cells, {trials} trials", highlight=False, markup=False)
    return ""


def _check_cluster(path: Path, is_manifest: bool, console: Console) -> str:
    from study.cluster.clusterfile import check_cluster
    from study.cluster.rayjob import check_manifest
    from study.space import SpaceError

    checked = check_manifest(path) if is_manifest else check_cluster(path)
    for warning in checked.warnings:
        console.print(f"{path}: note: {warning}", highlight=False, markup=False, soft_wrap=True)
    if checked.problems:
        return str(SpaceError(checked.problems))
    console.print(f"{path}: fine, {checked.about}", highlight=False, markup=False, soft_wrap=True)
    return ""


def _top_keys(path: Path) -> frozenset[str]:
    """Keys at the top of a file's first document; none where it is no such thing, which the reader of spaces tells."""
    try:
        with path.open("rb") as file:
            root = next(yaml.compose_all(file.read(1_000_000), Loader=yaml.SafeLoader), None)
    except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return frozenset()
    if not isinstance(root, yaml.MappingNode):
        return frozenset()
    return frozenset(key.value for key, _ in root.value if isinstance(key, yaml.ScalarNode))
