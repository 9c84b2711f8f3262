"""What travels with a job: this installation of the project, whose code will run there, and one search space."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

import neglora
import study
from neglora.provenance import REVISION, revision

#: Set in the environment of a job, whose working folder nobody looks into.
SUBMITTED = "NEGLORA_SUBMITTED"
#: Files of the packages that a study needs. Nothing else that lies beside them travels.
KINDS = frozenset({".py", ".toml", ".json", ".css", ".js"})
#: Far more than the code is: something else has got in.
MOST_BYTES = 20 * 2**20


@dataclass(frozen=True)
class Bundle:
    """A folder to be sent.

    Attributes:
        folder: which becomes the working folder of the job.
        space: the search space's path in it.
        bytes: how large it is, before it is packed.
    """

    folder: Path
    space: str
    bytes: int


@contextmanager
def bundled(name: str, space: dict[str, Any]) -> Iterator[Bundle]:
    """A folder with both packages, what Python's metadata know of them, and the space as one file.

    The code is always that of this machine, also where the cluster has another version installed: the working folder
    comes first on Python's path there. What the code depends on has to be installed on the cluster.

    Args:
        name: of the study.
        space: the plain data of the search space, includes resolved.

    Raises:
        ValueError: it is much larger than the code can be.
    """
    with TemporaryDirectory(prefix="neglora-job-") as made:
        folder = Path(made)
        for package in (neglora, study):
            root = Path(str(package.__file__)).parent
            for file in sorted(root.rglob("*")):
                if file.suffix in KINDS and file.is_file() and not file.is_symlink():
                    target = folder / root.name / file.relative_to(root)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, target)
        about = folder / f"neglora-{metadata.version('neglora')}.dist-info" / "METADATA"
        about.parent.mkdir()
        about.write_text(f"Metadata-Version: 2.1\nName: neglora\nVersion: {metadata.version('neglora')}\n")
        if source := revision():
            (folder / REVISION).write_text(source + "\n")
        written = folder / "spaces" / f"{name}.yaml"
        written.parent.mkdir()
        written.write_text(yaml.safe_dump(space, sort_keys=False, allow_unicode=True), encoding="utf-8")
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if size > MOST_BYTES:
            raise ValueError(
                f"{size / 2**20:.0f} MB of code is more than {MOST_BYTES / 2**20:.0f} MB: what lies in it?"
            )
        yield Bundle(folder, written.relative_to(folder).as_posix(), size)
