"""Keeping a training that is under way, so that it can go on after a kill as if nothing had happened.

One file: a line of text with the checksum of the rest, which is what `torch.save` makes of tensors, numbers, texts and
containers of them. It is read with `weights_only`, so that nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from neglora.synced import sync_folder, write_synced

logger = logging.getLogger(__name__)

#: Raised when what is kept changes: older files are then passed over.
FORMAT = 1
_MAGIC = b"neglora training "
_HEADER = len(_MAGIC) + 64 + 1


class Checkpoint:
    """Where one training is kept.

    Args:
        path: of the file; its folder is made when it is first written.
        belongs_to: names the training, such as the key of the artifact that it makes. A file of another one is not
            read.
        every: seconds between two writes; 0 writes after every step.

    One that is kept elsewhere than in a file overrides `read`, `write` and `remove`, and has a `title` of its own.
    """

    def __init__(self, path: Path, belongs_to: str, every: float) -> None:
        self.path, self.belongs_to, self.every = path, belongs_to, every
        self.title = str(path)
        self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._written >= self.every

    def save(self, state: dict[str, Any]) -> None:
        """Write the state in place of what was there.

        Args:
            state: tensors, numbers, texts, None, and lists, tuples and dicts of them; `epoch` is the one it is in.

        Raises:
            OSError: the folder cannot be written.
        """
        # Also after a failure: the next write is tried when it is due, not at the next step.
        self._written = time.monotonic()
        self.write(_encoded({"format": FORMAT, "belongs_to": self.belongs_to, "state": state}), state)

    def load(self) -> dict[str, Any] | None:
        """The state that was written last, its tensors on the CPU; None where there is none that can be used.

        A damaged file is told to the log and passed over: the training starts anew.
        """
        try:
            held = self.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("%s cannot be read, so the training starts anew: %s", self.title, error)
            return None
        return self._decoded(held)

    def read(self) -> bytes:
        """What was written last.

        Raises:
            FileNotFoundError: nothing was.
            OSError: it cannot be read.
        """
        return self.path.read_bytes()

    def write(self, data: memoryview, state: dict[str, Any]) -> None:
        """Put the bytes of a state in place of what was there.

        Raises:
            OSError: they cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: one who was given up for lost may still be writing.
        beside = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}.writing")
        for leftover in self.path.parent.glob(f"{self.path.name}.*.writing"):
            leftover.unlink(missing_ok=True)
        try:
            write_synced(beside, data)
            beside.replace(self.path)
        except OSError:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        sync_folder(self.path.parent)

    def remove(self) -> None:
        """Forget what was written."""
        self.path.unlink(missing_ok=True)

    def _decoded(self, held: bytes) -> dict[str, Any] | None:
        header, data = held[:_HEADER], memoryview(held)[_HEADER:]
        if header != _header(data):
            logger.warning("%s is damaged, so the training starts anew", self.title)
            return None
        try:
            kept = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            logger.warning("%s cannot be read, so the training starts anew: %s", self.title, error)
            return None
        if not isinstance(kept, dict) or kept.get("format") != FORMAT or kept.get("belongs_to") != self.belongs_to:
            logger.warning("%s is of another training or version and is passed over", self.title)
            return None
        state: dict[str, Any] = kept["state"]
        return state


def _encoded(kept: dict[str, Any]) -> memoryview:
    """The whole file, in memory once: a checkpoint may have gigabytes."""
    held = io.BytesIO(bytes(_HEADER))
    held.seek(_HEADER)
    torch.save(kept, held)
    whole = held.getbuffer()
    whole[:_HEADER] = _header(whole[_HEADER:])
    return whole


def _header(data: memoryview) -> bytes:
    return _MAGIC + hashlib.sha256(data).hexdigest().encode() + b"\n"
