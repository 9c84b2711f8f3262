"""Artifacts on a URI, with a checksummed copy in a folder of this machine.

In the storage an artifact is `artifacts/KEY/artifact.json` beside `artifacts/KEY/weights-SHA256.safetensors`. The
description is written last and only where there is none: of several makers one wins, and since the weights are named by
their content, what two of them wrote never mixes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neglora.artifacts import FACTS, WEIGHTS, Artifact, ArtifactError, ArtifactStore, Make, artifact_key
from neglora.storage import ObjectStorage, StorageError, cache_folder, is_uri

logger = logging.getLogger(__name__)

ARTIFACTS = "artifacts"


@dataclass(frozen=True)
class Packed:
    """An artifact as bytes, to travel from the worker that made it to whoever writes the storage."""

    key: str
    description: bytes
    weights: bytes


def open_artifacts(storage: str, *, commits: bool) -> ArtifactStore:
    """The artifacts of a storage.

    Args:
        storage: a folder, or a URI.
        commits: whether what is made here is written to a URI. Workers on a cluster do not: they return it.

    Raises:
        StorageError: nothing opens such a URI.
    """
    if is_uri(storage):
        return MirroredStore(ObjectStorage(storage), cache_folder(storage) / ARTIFACTS, commits=commits)
    return ArtifactStore(Path(storage) / ARTIFACTS)


class MirroredStore(ArtifactStore):
    """Artifacts of an object storage, each copied here when it is first read.

    Args:
        storage: where they live.
        root: the folder of the copies, which processes of this machine share.
        commits: see `open_artifacts`.
    """

    def __init__(self, storage: ObjectStorage, root: Path, *, commits: bool) -> None:
        super().__init__(root)
        self.storage = storage
        self.commits = commits

    def get(self, kind: str, determines: Mapping[str, Any]) -> Artifact | None:
        """As in a folder. What the storage holds counts; a copy of anything else is replaced.

        Raises:
            StorageError: the storage cannot be read.
        """
        raise NotImplementedError

    def get_or_make(self, kind: str, determines: Mapping[str, Any], make: Make) -> Artifact:
        """As in a folder, made at most once on this machine at a time; with `commits` it is then in the storage.

        Another machine may make it at the same time. The first to commit wins, and the other's is replaced by it.

        Raises:
            ArtifactError: the copy cannot be written.
            StorageError: the storage cannot be read or written.
        """
        raise NotImplementedError

    def pack(self, key: str) -> Packed:
        """The copy of an artifact as bytes, verified."""
        raise NotImplementedError

    def commit(self, packed: Packed) -> None:
        """Write an artifact to the storage, unless a whole one is there already.

        Raises:
            ArtifactError: the bytes are not those that their description names.
            StorageError: the storage cannot be written; the artifact is then still absent.
        """
        raise NotImplementedError
