"""Artifacts on a URI, with a checksummed copy in a folder of this machine.

In the storage an artifact is `artifacts/KEY/artifact.json` beside `artifacts/KEY/weights-SHA256.safetensors`. The
description is written last and only where there is none: of several makers one wins, and since the weights are named by
their content, what two of them wrote never mixes. A copy looks as in `ArtifactStore`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from neglora.artifact import FACTS, Artifact, ArtifactError, Description, Packed, artifact_key
from neglora.artifacts import ArtifactStore, Make
from neglora.exclusive import exclusive
from neglora.storage import CACHE, ObjectStorage, StorageError, cache_folder, is_uri

logger = logging.getLogger(__name__)

__all__ = ["ARTIFACTS", "MirroredStore", "Packed", "open_artifacts"]

ARTIFACTS = "artifacts"


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

    elsewhere = f"give another folder by {CACHE}"

    def __init__(self, storage: ObjectStorage, root: Path, *, commits: bool) -> None:
        super().__init__(root)
        self.storage = storage
        self.commits = commits

    @property
    def title(self) -> str:
        """Where artifacts are looked for, as people call it."""
        return f"{self.storage.title}/{ARTIFACTS}"

    def get(self, kind: str, determines: Mapping[str, Any]) -> Artifact | None:
        """As in a folder. What the storage holds counts; a copy of anything else is replaced.

        Raises:
            StorageError: the storage cannot be read.
        """
        key = artifact_key(kind, determines)
        try:
            raw = self.storage.read(_facts(key))
        except FileNotFoundError:
            return None
        try:
            return self._mirrored(key, raw)
        except ArtifactError as error:
            logger.warning("artifact %s in %s is damaged and will be made again: %s", key, self.title, error)
            return None

    def pack(self, key: str) -> Packed:
        """The copy of an artifact as bytes, verified.

        Raises:
            ArtifactError: there is no whole one.
        """
        try:
            packed = Packed.read(self.root / key)
        except OSError as error:
            raise ArtifactError(f"there is no copy of artifact {key} in {self.root}: {error.strerror}") from error
        packed.open()
        return packed

    def commit(self, packed: Packed) -> None:
        """Write an artifact to the storage, unless a whole one is there already.

        Of several who do it at the same time one wins, and the weights of the others go away again.

        Raises:
            ArtifactError: the bytes are not those that their description names.
            StorageError: the storage cannot be written; the artifact is then still absent.
        """
        packed.open()
        key, facts, weights = packed.key, _facts(packed.key), _weights(packed.key, packed.described())
        damage = None
        try:
            if self._committed(key):
                return
        except ArtifactError as error:
            damage = error
        # Nothing names these weights yet: whoever is killed here leaves the artifact absent.
        self.storage.write(weights, packed.weights)
        if damage is None:
            if self.storage.write_new(facts, packed.description):
                return
            try:
                won = self._committed(key)
            except ArtifactError as error:
                damage = error
            else:
                logger.info("artifact %s was made elsewhere at the same time, and that one stays", key)
                if won and _weights(key, won) != weights:
                    self.storage.delete(weights)
                return
        logger.warning("artifact %s in %s is damaged and is replaced: %s", key, self.title, damage)
        self.storage.write(facts, packed.description)

    def _make(self, key: str, kind: str, determines: Mapping[str, Any], make: Make) -> Artifact:
        """With the lock held: made, unless that was done before and only the way to the storage was interrupted."""
        mine = self._copy(key)
        if mine is None:
            if self.commits:
                self.storage.check_writable()
            mine = super()._make(key, kind, determines, make)
        if not self.commits:
            return mine
        try:
            self.commit(self.pack(key))
        except StorageError as error:
            raise StorageError(f"{error}; what was made is kept in {self.root} for the next attempt") from error
        return self.get(kind, determines) or mine

    def _copy(self, key: str) -> Artifact | None:
        """The whole artifact that lies here, whatever the storage says; None where there is none."""
        try:
            return self.pack(key).open()
        except ArtifactError:
            return None

    def _mirrored(self, key: str, raw: bytes) -> Artifact:
        """What a description of the storage names: its copy, or fetched and copied.

        Raises:
            ArtifactError: the storage holds something else.
        """
        description = Description.of(key, raw)
        copy = self._copy_of(key, raw)
        if copy is not None:
            return copy
        with self._copying(key):
            # Another process may have fetched it meanwhile.
            copy = self._copy_of(key, raw)
            if copy is not None:
                return copy
            packed = Packed(key, raw, self._fetched(key, description))
            artifact = packed.open()
            try:
                self._write(packed)
            except ArtifactError as error:
                logger.warning("%s: it will be fetched again; free space or %s", error, self.elsewhere)
        return artifact

    def _copy_of(self, key: str, raw: bytes) -> Artifact | None:
        """The copy, if it is whole and of this description."""
        try:
            packed = Packed.read(self.root / key)
            return packed.open() if packed.description == raw else None
        except FileNotFoundError:
            return None
        except (OSError, ArtifactError) as error:
            logger.warning("the copy of artifact %s in %s is damaged and is fetched again: %s", key, self.root, error)
            return None

    @contextmanager
    def _copying(self, key: str) -> Iterator[None]:
        """One process of this machine fetches while others wait; all do where the cache cannot be written."""
        with ExitStack() as held:
            try:
                held.enter_context(exclusive(self.root / ".locks" / f"{key}.copying"))
            except OSError as error:
                logger.warning("no copies can be kept in %s: %s; %s", self.root, error.strerror, self.elsewhere)
            yield

    def _committed(self, key: str) -> Description | None:
        """The description of the whole artifact in the storage; None where there is none.

        Raises:
            ArtifactError: there is a damaged one.
        """
        try:
            raw = self.storage.read(_facts(key))
        except FileNotFoundError:
            return None
        description = Description.of(key, raw)
        Packed(key, raw, self._fetched(key, description)).open()
        return description

    def _fetched(self, key: str, description: Description) -> bytes:
        try:
            return self.storage.read(_weights(key, description))
        except FileNotFoundError as error:
            raise ArtifactError("the weights that it names are missing") from error


def _facts(key: str) -> str:
    return f"{ARTIFACTS}/{key}/{FACTS}"


def _weights(key: str, description: Description) -> str:
    return f"{ARTIFACTS}/{key}/weights-{description.sha256}.safetensors"
