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
from pathlib import Path
from typing import Any

import torch

from neglora.synced import replace_synced

logger = logging.getLogger(__name__)

#: Raised when what is kept changes: older files are then passed over.
FORMAT = 1
_MAGIC = b"neglora training "


class Checkpoint:
    """Where one training is kept.

    Args:
        path: of the file; its folder is made when it is first written.
        belongs_to: names the training, such as the key of the artifact that it makes. A file of another one is not
            read.
        every: seconds between two writes; 0 writes after every step.
    """

    def __init__(self, path: Path, belongs_to: str, every: float) -> None:
        self.path, self.belongs_to, self.every = path, belongs_to, every
        self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._written >= self.every

    def save(self, state: dict[str, Any]) -> None:
        """Write the state in place of what was there.

        Args:
            state: tensors, numbers, texts, None, and lists, tuples and dicts of them.

        Raises:
            OSError: the folder cannot be written.
        """
        # Also after a failure: the next write is tried when it is due, not at the next step.
        self._written = time.monotonic()
        held = io.BytesIO()
        torch.save({"format": FORMAT, "belongs_to": self.belongs_to, "state": state}, held)
        data = held.getvalue()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_synced(self.path, _MAGIC + hashlib.sha256(data).hexdigest().encode() + b"\n" + data)

    def load(self) -> dict[str, Any] | None:
        """The state that was written last, its tensors on the CPU; None where there is none that can be used.

        A damaged file is told to the log and passed over: the training starts anew.
        """
        try:
            held = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("%s cannot be read, so the training starts anew: %s", self.path, error)
            return None
        header, _, data = held.partition(b"\n")
        if header != _MAGIC + hashlib.sha256(data).hexdigest().encode():
            logger.warning("%s is damaged, so the training starts anew", self.path)
            return None
        try:
            kept = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            logger.warning("%s cannot be read, so the training starts anew: %s", self.path, error)
            return None
        if not isinstance(kept, dict) or kept.get("format") != FORMAT or kept.get("belongs_to") != self.belongs_to:
            logger.warning("%s is of another training or version and is passed over", self.path)
            return None
        state: dict[str, Any] = kept["state"]
        return state

    def remove(self) -> None:
        """Forget what was written."""
        self.path.unlink(missing_ok=True)
