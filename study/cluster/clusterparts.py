"""A cluster file taken apart: which environment, commands and image each type of node has, and where it says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from study.cluster.startlines import Command, commands_of, environment_of
from study.space.problems import Findings, Place, shown

TOKEN_MODE = "RAY_AUTH_MODE"  # noqa: S105 - the name of a variable
#: Lists of commands in the order in which a node runs them; the first runs on the machine, the rest where Ray runs.
_LISTS = {
    "head": ("initialization_commands", "setup_commands", "head_setup_commands", "head_start_ray_commands"),
    "worker": ("initialization_commands", "setup_commands", "worker_setup_commands", "worker_start_ray_commands"),
}


@dataclass(frozen=True)
class Line:
    """A command of the file, as a shell sees it, and its place."""

    place: Place
    command: Command


@dataclass(frozen=True)
class Kind:
    """One type of node.

    Attributes:
        name: of the type.
        is_head: whether it is the head's.
        place: of the type.
        config: what stands there.
        image: of its container; None where Ray runs on the machine itself.
        image_place: where that is written.
        run_options: of `docker run`.
        environment: of every process in its container.
        lines: what it runs, in order; `export`s of shell profiles are in the environment of later ones.
    """

    name: str
    is_head: bool
    place: Place
    config: dict[str, Any]
    image: str | None
    image_place: Place
    run_options: list[str]
    environment: dict[str, str]
    lines: tuple[Line, ...]

    @property
    def starts(self) -> list[Line]:
        """Its `ray start`s, with all of their environment."""
        return [
            Line(line.place, Command(line.command.words, self.environment | line.command.environment))
            for line in self.lines
            if line.command.runs("ray", "start")
        ]


def kinds_of(given: dict[str, Any], prepared: dict[str, Any], findings: Findings) -> list[Kind]:
    """Every type of node.

    Args:
        given: the file as it is written.
        prepared: the same with Ray's defaults.
        findings: for lines that no shell could read.
    """
    docker = prepared.get("docker") or {}
    return [
        _kind(name, name == prepared["head_node_type"], given, prepared, docker, findings)
        for name in prepared["available_node_types"]
    ]


def _kind(
    name: str,
    is_head: bool,
    given: dict[str, Any],
    prepared: dict[str, Any],
    docker: dict[str, Any],
    findings: Findings,
) -> Kind:
    config = prepared["available_node_types"][name]
    part, place = ("head" if is_head else "worker"), ("available_node_types", name)
    own = {} if is_head else config.get("docker") or {}
    image_place: Place = ("docker", "image")
    if f"{part}_image" in own:
        image_place = (*place, "docker", f"{part}_image")
    elif f"{part}_image" in docker:
        image_place = ("docker", f"{part}_image")
    image = own.get(f"{part}_image") or docker.get(f"{part}_image") or docker.get("image")
    options = [
        *docker.get("run_options", []),
        *(own.get(f"{part}_run_options") or docker.get(f"{part}_run_options", [])),
    ]
    for option in options:
        if not isinstance(option, str):
            findings.add(("docker",), f"expected texts as run options, got {shown(option)}")
    options = [option for option in options if isinstance(option, str)]
    environment: dict[str, str] = {}
    if image:
        try:
            environment = environment_of(options)
        except ValueError as error:
            findings.add(("docker", "run_options"), f"no shell can read it: {error}")
    lines, profile = [], dict[str, str]()
    for key in _LISTS[part]:
        source = config if not is_head and key in config else given if key in given else prepared
        # What is exported on the machine does not reach the container.
        reaches = not (image and key == "initialization_commands")
        around: Place = place if source is config else ()
        for index, text in enumerate(source.get(key) or ()):
            at = (*around, key, index)
            try:
                for command in commands_of(str(text)):
                    lines.append(Line(at, Command(command.words, profile | command.environment)))
            except ValueError as error:
                findings.add(at, f"no shell can read it: {error}")
                continue
            if reaches and key != "head_start_ray_commands":
                profile |= _profile(str(text))
    return Kind(name, is_head, place, config, image or None, image_place, options, environment, tuple(lines))


def _profile(line: str) -> dict[str, str]:
    """What a line such as `echo 'export NAME=value' >> ~/.bashrc` sets for every later shell."""
    if ">>" not in line or not any(name in line for name in (".bashrc", ".profile", ".bash_profile", ".zshrc")):
        return {}
    found: dict[str, str] = {}
    for command in commands_of(line):
        if command.runs("echo") or command.runs("printf"):
            text = " ".join(word for word in command.words[1:] if not word.startswith((">", "~")))
            for inner in commands_of(text):
                if inner.words[0] == "export":
                    found |= dict(word.split("=", 1) for word in inner.words[1:] if "=" in word)
    return found
