"""Artifacts: what is made once and kept, named by the hash of everything that determines it.

Each is a folder `KIND-HASH/` with `weights.safetensors` and `artifact.json`. It is written beside its place and renamed
into it, so that it is either whole or absent; its checksum is verified at every load, and a damaged one is made again.
What a maker keeps of unfinished work lies in `.KIND-HASH.partial/` until the artifact is there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from neglora.exclusive import exclusive
from neglora.synced import sync_folder, write_synced

logger = logging.getLogger(__name__)

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


#: What an artifact is made of: its tensors and facts.
Made = tuple[dict[str, Tensor], dict[str, Any]]
#: Makes it. The folder, which the maker creates if it wants it, survives a kill; the next maker finds it again.
Make = Callable[[Path], Made]


def artifact_key(kind: str, determines: Mapping[str, Any]) -> str:
    """`KIND-HASH` from everything that determines an artifact; `determines` is plain JSON data."""
    text = json.dumps(determines, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


class ArtifactStore:
    """Artifacts in a folder that several processes and studies may share.

    Args:
        root: the folder; made if it is missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, kind: str, determines: Mapping[str, Any]) -> Artifact | None:
        """The artifact if it is there and whole; None if it is absent or damaged."""
        key = artifact_key(kind, determines)
        folder = self.root / key
        if not folder.is_dir():
            return None
        try:
            return _read(folder)
        except (OSError, ValueError, KeyError, TypeError, ArtifactError) as error:
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
            found = self.get(kind, determines)
            if found:
                return found
            # What a maker that was killed left behind; nobody else makes this one now.
            for leftover in self.root.glob(f".{key}-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            partial = self.root / f".{key}.partial"
            tensors, facts = make(partial)
            self._write(key, kind, determines, tensors, facts)
            shutil.rmtree(partial, ignore_errors=True)
            return _read(self.root / key)

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        with ExitStack() as held:
            try:
                held.enter_context(exclusive(self.root / ".locks" / f"{key}.lock"))
            except OSError as error:
                raise ArtifactError(f"cannot write to {self.root}: {error.strerror}; give another --storage") from error
            yield

    def _write(
        self,
        key: str,
        kind: str,
        determines: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        facts: Mapping[str, Any],
    ) -> None:
        try:
            folder = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=self.root))
        except OSError as error:
            raise ArtifactError(f"cannot write to {self.root}: {error.strerror}") from error
        try:
            contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            data = safetensors.torch.save(contiguous)
            description = {
                "kind": kind,
                "determines": dict(determines),
                "facts": dict(facts),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
            write_synced(folder / WEIGHTS, data)
            write_synced(folder / FACTS, json.dumps(description, indent=1, allow_nan=False).encode())
            folder.chmod(0o755)
            place = self.root / key
            if place.exists():
                shutil.rmtree(place)
            folder.rename(place)
            sync_folder(self.root)
        except OSError as error:
            raise ArtifactError(f"cannot write artifact {key} to {self.root}: {error.strerror}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _read(folder: Path) -> Artifact:
    description = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    data = (folder / WEIGHTS).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != description["sha256"]:
        raise ArtifactError(f"{WEIGHTS} has checksum {digest[:12]}, expected {str(description['sha256'])[:12]}")
    if not isinstance(description["facts"], dict):
        raise ArtifactError(f"{FACTS} holds no facts")
    return Artifact(folder.name, safetensors.torch.load(data), description["facts"])
