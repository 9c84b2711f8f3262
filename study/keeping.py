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
    beaten = {record.trial for record in records} - worth_keeping(records, study)
    for file in _files(study_dir):
        if trial_of(file) in beaten:
            _remove(file)


def remove_unfinished(study_dir: Path) -> None:
    """Remove what writers that were killed left behind. Not while trials run."""
    for file in _files(study_dir):
        if trial_of(file) is None:
            _remove(file)


class Tidying:
    """Tidies once in so many records, so that adapters of beaten trials do not pile up during a long study."""

    def __init__(self, study_dir: Path, study: Mapping[str, Any], every: int = 64) -> None:
        self.study_dir, self.study, self.every = study_dir, study, every

    def __call__(self, records: Sequence[Record]) -> None:
        if len(records) % self.every == 0:
            tidy(self.study_dir, records, self.study)


def _files(study_dir: Path) -> list[Path]:
    folder = study_dir / ADAPTERS
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _remove(file: Path) -> None:
    try:
        file.unlink()
    except OSError as error:
        logger.warning("%s could not be removed: %s", file, error)
