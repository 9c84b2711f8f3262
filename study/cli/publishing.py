"""A running study's adapters, taken to its URI now and then, so that a machine that goes takes few of them with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from neglora.record import Record
from neglora.storage import StorageError
from study.place import Place

logger = logging.getLogger(__name__)


class Publishing:
    """Told all records whenever one was written: tidies the working copy, then publishes what is kept there.

    Args:
        place: of the study. In a folder there is nothing to publish.
        study: the resolved space.
        tidying: removes adapters of beaten trials from the working copy.
        every: records between two times.
    """

    def __init__(
        self, place: Place, study: Mapping[str, Any], tidying: Callable[[Sequence[Record]], None], every: int = 64
    ) -> None:
        self.place, self.study, self.tidying, self.every = place, study, tidying, every
        self._taken: set[str] = set()

    def __call__(self, records: Sequence[Record]) -> None:
        self.tidying(records)
        if len(records) % self.every == 0:
            self.try_now(records)

    def try_now(self, records: Sequence[Record]) -> None:
        """As `now`; where the storage fails, that is logged, and left to the next time."""
        try:
            self.now(records)
        except StorageError as error:
            logger.warning("adapters were not written to the storage this time: %s", error)

    def now(self, records: Sequence[Record]) -> None:
        """Publish new adapters, and remove those of beaten trials from the storage.

        Raises:
            StorageError: the storage cannot be written.
        """
        if not self.place.is_remote:
            return
        from neglora.kept import ADAPTERS, trial_of
        from study.keeping import worth_keeping

        folder = self.place.folder / ADAPTERS
        local = {f"{ADAPTERS}/{file.name}" for file in folder.glob("*") if trial_of(file) is not None}
        self.place.publish(sorted(local - self._taken))
        self._taken |= local
        beaten = {record.trial for record in records} - worth_keeping(records, self.study)
        there = self.place.published(ADAPTERS)
        self.place.remove([name for name in there if trial_of(Path(name)) in beaten])
