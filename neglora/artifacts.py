"""Artifacts: what is made once and kept, named by the hash of everything that determines it.

Each is a folder `KIND-HASH/` with `weights.safetensors` and `artifact.json`. It is written beside its place and renamed
into it, so that it is either whole or absent; its checksum is verified at every load, and a damaged one is made again.
What a maker keeps of unfinished work lies in `.KIND-HASH.partial/` until the artifact is there.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from neglora.artifact import FACTS, WEIGHTS, Artifact, ArtifactError, Packed, artifact_key
from neglora.exclusive import exclusive
from neglora.synced import sync_folder, write_synced

__all__ = ["FACTS", "WEIGHTS", "Artifact", "ArtifactError", "ArtifactStore", "Made", "Make", "artifact_key"]

logger = logging.getLogger(__name__)

#: What an artifact is made of: its tensors and facts.
Made = tuple[dict[str, Tensor], dict[str, Any]]
#: Makes it. The folder, which the maker creates if it wants it, survives a kill; the next maker finds it again.
Make = Callable[[Path], Made]


class ArtifactStore:
    """Artifacts in a folder that several processes and studies may share.

    Args:
        root: the folder; made if it is missing.
    """

    #: How to mend a root that cannot be written.
    elsewhere = "give another --storage"

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def title(self) -> str:
        """Where artifacts are looked for, as people call it."""
        return str(self.root)

    def get(self, kind: str, determines: Mapping[str, Any]) -> Artifact | None:
        """The artifact if it is there and whole; None if it is absent or damaged."""
        return self._here(artifact_key(kind, determines))

    def _here(self, key: str) -> Artifact | None:
        """What lies in the root, if it is whole."""
        folder = self.root / key
        if not folder.is_dir():
            return None
        try:
            return Packed.read(folder).open()
        except (OSError, ArtifactError) as error:
            logger.warning("artifact %s is damaged and will be made again: %s", key, error)
            return None

    def get_or_make(self, kind: str, determines: Mapping[str, Any], make: Make) -> Artifact:
        """The artifact, made at most once however many processes ask at the same time.

        A file lock per artifact lets one process make it while the others wait; the kernel gives the lock back when
        its holder dies, and the next one goes on from what the maker kept in its folder.

        Args:
            kind, determines: what it is.
            make: makes it. Its folder lies on the store's file system and is removed once the artifact is there.

        Raises:
            ArtifactError: the store cannot be written.
        """
        found = self.get(kind, determines)
        if found:
            return found
        key = artifact_key(kind, determines)
        with self._lock(key):
            return self.get(kind, determines) or self._make(key, kind, determines, make)

    def _make(self, key: str, kind: str, determines: Mapping[str, Any], make: Make) -> Artifact:
        """Make it, with the lock held."""
        # What a maker that was killed left behind; nobody else makes this one now.
        for leftover in self.root.glob(f".{key}-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        partial = self.root / f".{key}.partial"
        tensors, facts = make(partial)
        # A node that was cut off may have lost its lock: what another made meanwhile, trials already start from.
        if self._here(key) is None:
            self._write(Packed.of(kind, determines, tensors, facts))
        shutil.rmtree(partial, ignore_errors=True)
        return Packed.read(self.root / key).open()

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        with ExitStack() as held:
            try:
                held.enter_context(exclusive(self.root / ".locks" / f"{key}.lock"))
            except OSError as error:
                raise ArtifactError(f"cannot write to {self.root}: {error.strerror}; {self.elsewhere}") from error
            yield

    def _write(self, packed: Packed) -> None:
        """Put both files in their place at once, instead of what may be there."""
        key = packed.key
        folder: Path | None = None
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=self.root))
            write_synced(folder / WEIGHTS, packed.weights)
            write_synced(folder / FACTS, packed.description)
            folder.chmod(0o755)
            place = self.root / key
            if place.exists():
                shutil.rmtree(place)
            folder.rename(place)
            sync_folder(self.root)
        except OSError as error:
            raise ArtifactError(f"cannot write artifact {key} to {self.root}: {error.strerror}") from error
        finally:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
