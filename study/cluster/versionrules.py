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


@dataclass(frozen=True)
class Found:
    """A version that something brings to nodes.

    Attributes:
        place: where the file says so.
        program: `Ray` or `Python`.
        version: `2.60.0`; of Python `3.11`.
        what: brings it.
    """

    place: Place
    program: str
    version: str
    what: str


def check_versions(kinds: list[Kind], given: dict[str, Any], folder: Path, installed: str, notes: Notes) -> None:
    """Note where nodes would differ from each other, or from the Ray that launches them.

    A different Ray is a problem: the file that `ray up` leaves on the head is read by the head's own Ray. A different
    Python is not, since the cluster's Python runs what is submitted; only nodes must not differ among themselves.

    Args:
        folder: of the cluster file, where the left side of `file_mounts` begins.
        installed: the Ray of this machine.
    """
    found: list[Found] = []
    for kind in kinds:
        if kind.image:
            found += _of_image(kind, notes)
        for line in kind.lines:
            found += _of_line(line, given, folder)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    for program in ("Ray", "Python"):
        own = [one for one in dict.fromkeys(found) if one.program == program]
        if len({one.version for one in own}) > 1:
            listed = ", ".join(dict.fromkeys(f"{one.version} ({one.what})" for one in own))
            notes.problems.add(own[0].place, f"nodes would have different {program}s and not find together: {listed}")
        for one in own:
            told = f"{one.what} has {program} {one.version}"
            if program == "Ray" and one.version != installed:
                launching = f"this machine, which launches and checks, {installed}"
                notes.problems.add(one.place, f"{told}, {launching}: use one version, that of constraints.txt")
            elif program == "Python" and tuple(map(int, one.version.split("."))) < OLDEST_PYTHON:
                notes.problems.add(one.place, f"{told}, and neglora needs {'.'.join(map(str, OLDEST_PYTHON))}")
            elif program == "Python" and one.version != here:
                notes.warnings.add(one.place, f"{told}, this machine {here}: fine for 'neglora submit'")


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


def _of_image(kind: Kind, notes: Notes) -> list[Found]:
    image, place, told = image_of(str(kind.image)), kind.image_place, f"the image {kind.image}"
    if not image.is_pinned:
        example = "rayproject/ray:2.60.0-py311-gpu"
        notes.problems.add(place, f"{told} is another one tomorrow: name a version, such as {example}")
        return []
    versions = {"Ray": image.ray, "Python": image.python}
    missing = [program for program, version in versions.items() if version is None]
    if missing:
        notes.warnings.add(place, f"{told} does not say its {' and '.join(missing)}: name it as deploy/Dockerfile does")
    return [Found(place, program, version, told) for program, version in versions.items() if version is not None]


def _of_line(line: Line, given: dict[str, Any], folder: Path) -> list[Found]:
    words, found = line.command.words, []
    program = words[0].rpartition("/")[2]
    if "install" in words and (program.startswith(("pip", "uv")) or "pip" in words):
        for word in words:
            if match := _PINNED.match(word):
                found.append(Found(line.place, "Ray", match["ray"], f"'{word}'"))
        for option, word in pairwise(words):
            if option not in ("-c", "--constraint", "-r", "--requirement"):
                continue
            if pinned := _constrained(word, given, folder):
                found.append(Found(line.place, "Ray", pinned, Path(word).name))
    if program in ("conda", "mamba", "micromamba"):
        for word in words:
            if match := _PYTHON.match(word):
                found.append(Found(line.place, "Python", match["python"], f"'{word}'"))
    return found


def _constrained(remote: str, given: dict[str, Any], folder: Path) -> str | None:
    """The Ray that a file of constraints pins, where `file_mounts` brings a file of that name from here."""
    for target, source in (given.get("file_mounts") or {}).items():
        local = folder / Path(str(source)).expanduser()
        if Path(target).name == Path(remote).name and local.is_file():
            for text in local.read_text(encoding="utf-8").splitlines():
                if match := _PINNED.match(text.strip()):
                    return match["ray"]
    return None
