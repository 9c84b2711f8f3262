"""One artifact: what it holds, and the two files that hold it, `artifact.json` and `weights.safetensors`.

They may come from another machine, so everything is checked before it is used, and nothing in them is executed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

WEIGHTS = "weights.safetensors"
FACTS = "artifact.json"


class ArtifactError(RuntimeError):
    """The store cannot be written, or holds something that is not an artifact."""


@dataclass(frozen=True)
class Artifact:
    """A finished artifact.

    Attributes:
        key: `KIND-HASH`, its folder's name.
        tensors: what `weights.safetensors` holds, on the CPU.
        facts: what was measured while it was made: training curve, seconds, hardware, accuracy.
    """

    key: str
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def artifact_key(kind: str, determines: Mapping[str, Any]) -> str:
    """`KIND-HASH` from everything that determines an artifact; `determines` is plain JSON data."""
    text = json.dumps(determines, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


@dataclass(frozen=True)
class Description:
    """What `artifact.json` says.

    Attributes:
        facts: see `Artifact`.
        sha256: of the weights' file, 64 hexadecimal digits.
    """

    facts: dict[str, Any]
    sha256: str

    @classmethod
    def of(cls, key: str, data: bytes) -> Description:
        """The description of the artifact of this key.

        Raises:
            ArtifactError: it is none, or one of another artifact.
        """
        try:
            plain = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{FACTS} is no JSON") from error
        if not isinstance(plain, dict):
            raise ArtifactError(f"{FACTS} is no description of an artifact")
        wrong = [name for name, fits in _FIELDS.items() if not fits(plain.get(name))]
        if wrong:
            raise ArtifactError(f"{FACTS} has no {' and no '.join(wrong)} as an artifact has it")
        try:
            named = artifact_key(plain["kind"], plain["determines"])
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{FACTS} determines nothing") from error
        if named != key:
            raise ArtifactError(f"{FACTS} describes {named}")
        return cls(plain["facts"], plain["sha256"])


_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "kind": lambda value: isinstance(value, str),
    "determines": lambda value: isinstance(value, dict),
    "facts": lambda value: isinstance(value, dict),
    "sha256": lambda value: isinstance(value, str) and bool(_SHA256.fullmatch(value)),
}


@dataclass(frozen=True)
class Packed:
    """An artifact as the bytes of its files; so it travels from the worker that made it to whoever keeps it."""

    key: str
    description: bytes
    weights: bytes

    @classmethod
    def of(
        cls, kind: str, determines: Mapping[str, Any], tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
    ) -> Packed:
        """Pack what was made.

        Raises:
            ValueError: the facts hold what is no JSON, such as NaN.
        """
        weights = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        description = {
            "kind": kind,
            "determines": dict(determines),
            "facts": dict(facts),
            "sha256": hashlib.sha256(weights).hexdigest(),
        }
        text = json.dumps(description, indent=1, allow_nan=False)
        return cls(artifact_key(kind, determines), text.encode(), weights)

    @classmethod
    def read(cls, folder: Path) -> Packed:
        """The files of an artifact's folder, not verified yet.

        Raises:
            OSError: they cannot be read.
        """
        return cls(folder.name, (folder / FACTS).read_bytes(), (folder / WEIGHTS).read_bytes())

    def described(self) -> Description:
        """See `Description.of`."""
        return Description.of(self.key, self.description)

    def open(self) -> Artifact:
        """The artifact.

        Raises:
            ArtifactError: the description is none of this artifact, or the weights are not those that it names.
        """
        described = self.described()
        digest = hashlib.sha256(self.weights).hexdigest()
        if digest != described.sha256:
            raise ArtifactError(f"the weights have checksum {digest[:12]}, expected {described.sha256[:12]}")
        try:
            tensors = safetensors.torch.load(self.weights)
        except (safetensors.SafetensorError, ValueError, KeyError) as error:
            raise ArtifactError(f"the weights are no safetensors: {error}") from error
        return Artifact(self.key, tensors, described.facts)
