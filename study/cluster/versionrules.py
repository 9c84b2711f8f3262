"""One Ray and one Python on all nodes: images, what is installed on them, and the Ray of this machine."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from study.cluster.clusterparts import Kind, Line
from study.cluster.clusterrules import Notes
from study.space.problems import Place

#: Ray's own images, `rayproject/ray:2.60.0-py311-gpu`, and those of deploy/Dockerfile, `neglora:0.1.0-ray2.60.0-py311`.
_IMAGE = re.compile(r"(?:^|[/:-])ray(?:-ml|-llm)?:?(?P<ray>\d+\.\d+\.\d+)[^-]*(?:-py(?P<python>3\d+))?")
_PINNED = re.compile(r"^ray(?:\[[^\]]*\])?==(?P<ray>[\w.]+)$")
_PYTHON = re.compile(r"^python={1,2}(?P<python>3\.\d+)")
#: `requires-python` of this project.
OLDEST_PYTHON = (3, 11)


def check_versions(kinds: list[Kind], given: dict[str, Any], folder: Path, installed: str, notes: Notes) -> None:
    """Note where nodes would differ from each other, or from the Ray that launches them.

    A different Ray is a problem: the file that `ray up` leaves on the head is read by the head's own Ray. A different
    Python is not, since the cluster's Python runs what is submitted; only nodes must not differ among themselves.

    Args:
        folder: of the cluster file, where the left side of `file_mounts` begins.
        installed: the Ray of this machine.
    """
    rays: dict[Place, tuple[str, str]] = {}
    pythons: dict[Place, tuple[str, str]] = {}
    for kind in kinds:
        if kind.image:
            _read_image(kind, rays, pythons, notes)
        for line in kind.lines:
            _read_line(line, given, folder, rays, pythons)
    for place, (found, what) in rays.items():
        if found != installed:
            told = f"{what} has Ray {found}, and this machine {installed}, by which 'ray up' launches and this checks"
            notes.problems.add(place, f"{told}: use one version, that of constraints.txt")
    if len({found for found, _ in rays.values()}) > 1:
        listed = ", ".join(sorted({f"{found} ({what})" for found, what in rays.values()}))
        notes.problems.add(next(iter(rays)), f"nodes would have different Rays and not find together: {listed}")
    if len({found for found, _ in pythons.values()}) > 1:
        listed = ", ".join(sorted({f"{found} ({what})" for found, what in pythons.values()}))
        notes.problems.add(next(iter(pythons)), f"nodes would have different Pythons and not find together: {listed}")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    for place, (found, what) in pythons.items():
        if tuple(map(int, found.split("."))) < OLDEST_PYTHON:
            notes.problems.add(
                place, f"{what} has Python {found}, and neglora needs {'.'.join(map(str, OLDEST_PYTHON))}"
            )
        elif found != here:
            notes.warnings.add(place, f"{what} has Python {found}, this machine {here}: fine for 'neglora submit'")


@dataclass(frozen=True)
class Image:
    """What the name of an image says.

    Attributes:
        is_pinned: whether the name stands for the same image tomorrow.
        ray, python: `2.60.0` and `3.11`; None where it does not say.
    """

    is_pinned: bool
    ray: str | None
    python: str | None


def image_of(name: str) -> Image:
    """Read the name of an image."""
    tag = name.rpartition("/")[2].partition("@")[0].partition(":")[2]
    is_pinned = "@sha256:" in name or (bool(tag) and not re.search(r"latest|nightly|master", tag))
    match = _IMAGE.search(name)
    python = f"3.{match['python'][1:]}" if match and match["python"] else None
    return Image(is_pinned, match["ray"] if match else None, python)


def _read_image(
    kind: Kind, rays: dict[Place, tuple[str, str]], pythons: dict[Place, tuple[str, str]], notes: Notes
) -> None:
    image, place, told = image_of(str(kind.image)), kind.image_place, f"the image {kind.image}"
    if not image.is_pinned:
        notes.problems.add(
            place, f"{told} is another one tomorrow: name a version, such as rayproject/ray:2.60.0-py311-gpu"
        )
        return
    if image.ray:
        rays[place] = image.ray, told
    if image.python:
        pythons[place] = image.python, told
    if not image.ray or not image.python:
        missing = " and ".join(name for name, value in (("Ray", image.ray), ("Python", image.python)) if not value)
        notes.warnings.add(place, f"{told} does not say its {missing}: name it as deploy/Dockerfile does")


def _read_line(
    line: Line,
    given: dict[str, Any],
    folder: Path,
    rays: dict[Place, tuple[str, str]],
    pythons: dict[Place, tuple[str, str]],
) -> None:
    words = line.command.words
    program = words[0].rpartition("/")[2]
    if "install" in words and (program.startswith(("pip", "uv")) or "pip" in words):
        for word in words:
            if match := _PINNED.match(word):
                rays[line.place] = match["ray"], f"'{word}'"
        for option, word in pairwise(words):
            if option in ("-c", "--constraint", "-r", "--requirement") and (
                pinned := _constrained(word, given, folder)
            ):
                rays[line.place] = pinned, Path(word).name
    if program in ("conda", "mamba", "micromamba"):
        for word in words:
            if match := _PYTHON.match(word):
                pythons[line.place] = match["python"], f"'{word}'"


def _constrained(remote: str, given: dict[str, Any], folder: Path) -> str | None:
    """The Ray that a file of constraints pins, where `file_mounts` brings a file of that name from here."""
    for target, source in (given.get("file_mounts") or {}).items():
        local = folder / Path(str(source)).expanduser()
        if Path(target).name == Path(remote).name and local.is_file():
            for text in local.read_text(encoding="utf-8").splitlines():
                if match := _PINNED.match(text.strip()):
                    return match["ray"]
    return None
