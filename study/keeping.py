"""Which trials' adapters a study keeps: those on a front, and what is recommended."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from neglora.kept import ADAPTERS, trial_of
from neglora.record import Record
from study.aggregate import trials_table
from study.recommend import front_rows, recommend

logger = logging.getLogger(__name__)

#: How much longer a long study gets between two times that it is tidied.
SHARE = 0.25


def worth_keeping(records: Sequence[Record], study: Mapping[str, Any]) -> set[str]:
    """Ids of the trials on the front of a dataset x model, of a method there, or of a cell, and of those recommended.

    Args:
        records: of the ledger.
        study: the resolved space, as `study.yaml` holds it.
    """
    constraints = study.get("constraints") or {}
    kept: set[str] = set()
    for rows in _groups(trials_table(records)):
        kept.update(front_rows(rows)["trial"])
        chosen = recommend(rows, constraints).trial
        if chosen:
            kept.add(chosen)
    return kept


def _groups(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    pair = ["dataset", "model"]
    for keys in (pair, [*pair, "method"], ["cell"]):
        for _, rows in table[table["method"] != "retrain"].groupby(keys, sort=False):
            yield rows


def tidy(study_dir: Path, records: Sequence[Record], study: Mapping[str, Any]) -> None:
    """Remove the adapters of recorded trials that are not worth keeping. What cannot be removed is logged and stays.

    Safe while trials run: those that are not in `records` keep theirs.
    """
    recorded = {record.trial for record in records}
    files = [file for file in _files(study_dir) if trial_of(file) in recorded]
    if not files:
        return
    kept = worth_keeping(records, study)
    for file in files:
        if trial_of(file) not in kept:
            _remove(file)


def remove_unfinished(study_dir: Path) -> None:
    """Remove what writers that were killed left behind. Not while trials run."""
    for file in _files(study_dir):
        if trial_of(file) is None:
            _remove(file)


class Tidying:
    """Tidies now and then, so that adapters of beaten trials do not pile up during a long study.

    Once in so many records, and in a long study once it has grown by a `SHARE`: all of it is looked at every time.
    """

    def __init__(self, study_dir: Path, study: Mapping[str, Any], every: int = 64) -> None:
        self.study_dir, self.study, self.every = study_dir, study, every
        self._next = every

    def __call__(self, records: Sequence[Record]) -> None:
        if len(records) >= self._next:
            self._next = len(records) + max(self.every, int(SHARE * len(records)))
            tidy(self.study_dir, records, self.study)


def _files(study_dir: Path) -> list[Path]:
    folder = study_dir / ADAPTERS
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _remove(file: Path) -> None:
    try:
        file.unlink()
    except OSError as error:
        logger.warning("%s could not be removed: %s", file, error)
