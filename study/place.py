"""Where a study lives: a folder, or a URI, of which this machine keeps a working copy.

Everything that reads or writes tables, reports and adapters does so in `folder`. On a URI `fetch` brings the study's
objects there and `publish` takes them back; the ledger alone is written straight to the storage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from neglora.record import Record
from neglora.storage import cache_folder, is_uri, shown
from study.ledger import Ledger


@dataclass(frozen=True)
class Place:
    """One study's place.

    Attributes:
        storage: an absolute folder or a URI.
        name: the study's.
    """

    storage: str
    name: str

    @classmethod
    def of(cls, text: str) -> Place:
        """From what people write: `runs/quickstart` or `s3://bucket/runs/quickstart`.

        Raises:
            ValueError: a URI without a study's name.
        """
        raise NotImplementedError

    @property
    def is_remote(self) -> bool:
        return is_uri(self.storage)

    @property
    def folder(self) -> Path:
        """Where its files are read and written on this machine."""
        return (cache_folder(self.storage) if self.is_remote else Path(self.storage)) / self.name

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{shown(self.storage).rstrip('/')}/{self.name}" if self.is_remote else str(self.folder)

    @contextmanager
    def open_ledger(self) -> Iterator[Ledger]:
        """Lock the study and hand over the one writer of its ledger (see `Ledger.open`)."""
        raise NotImplementedError

    def read_ledger(self) -> list[Record]:
        """Every record, without a lock."""
        raise NotImplementedError

    def holder(self) -> str | None:
        """Who writes the study now, in words; None where nobody does."""
        raise NotImplementedError

    def fetch(self) -> None:
        """Bring the study's objects (all but the ledger's segments; `ledger.jsonl` is made from them) to `folder`."""
        raise NotImplementedError

    def publish(self, names: Sequence[str] | None = None) -> None:
        """Take files of `folder` to the storage; all of them if None. In a folder there is nothing to do."""
        raise NotImplementedError
