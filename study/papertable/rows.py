"""What the paper's table shows of a study: what one and two epochs of unlearning reach, beside what is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from neglora.record import Record
from study.aggregate import group_keys, latest, shown, spread, trials_table
from study.levels import at_sparsity, with_epochs
from study.published import EPOCHS, PublishedRow, PublishedTable, published_for
from study.recommend import Constraints, recommend
from study.references import Base, base_name, base_values, retrain_record

#: The paper's columns in its order; EPOCHS are the numbers of epochs that it shows.
METRIC_COLUMNS = (("ua", "UA"), ("mia", "MIA-Efficacy"), ("ra", "RA"), ("ta", "TA"))
_SHOWN = (*(name for name, _ in METRIC_COLUMNS), "rte_epoch")
NONE_TRIED = "none was tried"


@dataclass(frozen=True)
class Tried:
    """What a row shows at one number of epochs.

    Attributes:
        record: the trial (or Retrain) that is shown; None for a base, and where there is none.
        reason: why there is none; None where there is one.
        parameters: how many numbers were trained.
        values: ua, mia, ra, ta and rte_epoch as fractions on the report half (selection half where that was not
            measured); None where neither was.
        spreads: their standard deviations over replicates; None for fewer than two.
    """

    record: Record | None
    reason: str | None
    parameters: int | None
    values: Mapping[str, float | None]
    spreads: Mapping[str, float | None]


@dataclass(frozen=True)
class PaperRow:
    """Base, Retrain (`reference`: the same for every number of epochs), or a method on bases of one sparsity."""

    name: str
    method: str | None
    sparsity: float
    reference: bool
    tried: Mapping[int, Tried]
    published: PublishedRow | None = None


@dataclass(frozen=True)
class PaperGroup:
    """The rows of one dataset x model on the dense base, and the published table beside them, if there is one."""

    dataset: str
    model: str
    rows: tuple[PaperRow, ...]
    published: PublishedTable | None

    @property
    def title(self) -> str:
        return f"{self.model} on {self.dataset}"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why published cells that are shown cannot be right, in the order of the rows."""
        found = [
            self.published.doubt(row.published, field, epochs)
            for row in self.rows
            for field in ("parameters", *_SHOWN)
            for epochs in EPOCHS
            if self.published is not None and row.published is not None
        ]
        return tuple(dict.fromkeys(reason for reason in found if reason is not None))

    def doubt(self, row: PaperRow, field: str, epochs: int) -> int | None:
        """Which of the reasons speaks against a published cell; None for a cell without doubt."""
        if self.published is None or row.published is None:
            return None
        reason = self.published.doubt(row.published, field, epochs)
        return None if reason is None else self.reasons.index(reason)


@dataclass(frozen=True)
class PaperTable:
    """One group per dataset x model, in the order of the ledger."""

    groups: tuple[PaperGroup, ...]


def footnote_letter(index: int) -> str:
    """The mark of a reason, by its place: a, b, ..., z, aa, ab, ..."""
    letters = ""
    while index >= 0:
        letters = chr(ord("a") + index % 26) + letters
        index = index // 26 - 1
    return letters


def paper_table(records: Sequence[Record], study: Mapping[str, Any]) -> PaperTable:
    """The table of a whole study.

    Args:
        records: the ledger's.
        study: the resolved space, whose constraints the recommendations keep.
    """
    records = latest(records)
    table = trials_table(records)
    by_trial = {record.trial: record for record in records if record.fidelity == "full"}
    groups = []
    for dataset, model in group_keys(records, study):
        rows = table[(table["dataset"] == dataset) & (table["model"] == model) & (table["method"] != "retrain")]
        groups.append(
            paper_group(
                rows,
                by_trial,
                dataset=dataset,
                model=model,
                retrain=retrain_record(records, dataset, model),
                bases=base_values(records, dataset, model),
                constraints=study.get("constraints") or {},
            )
        )
    return PaperTable(tuple(groups))


def paper_group(
    table: pd.DataFrame,
    by_trial: Mapping[str, Record],
    *,
    dataset: str,
    model: str,
    retrain: Record | None,
    bases: Sequence[Base],
    constraints: Constraints,
) -> PaperGroup:
    """The base, Retrain, and each method with its recommended configuration at each number of epochs.

    Args:
        table: rows of `trials_table` of this dataset and model without Retrain.
        by_trial: the records in full fidelity.
        retrain: the group's oracle.
        bases: the models before unlearning; the dense one is shown.
        constraints: those of the study.
    """
    published = published_for(dataset, model)
    rows = [_base_row(base) for base in bases if base.sparsity == 0]
    if retrain is not None:
        tried = _of(retrain)
        own = None if published is None else published.row(dataset, "retrain")
        rows.append(PaperRow("Retrain", "retrain", 0.0, True, dict.fromkeys(EPOCHS, tried), own))
    for method in dict.fromkeys(table["method"]):
        tried_by = _by_epochs(at_sparsity(table[table["method"] == method], 0.0), by_trial, constraints)
        own = None if published is None else published.row(dataset, str(method))
        rows.append(PaperRow(str(method), str(method), 0.0, False, tried_by, own))
    return PaperGroup(dataset, model, tuple(rows), published)


def sparse_rows(
    table: pd.DataFrame,
    by_trial: Mapping[str, Record],
    level: float,
    *,
    bases: Sequence[Base],
    constraints: Constraints,
) -> list[PaperRow]:
    """The same at another sparsity: its base, and the methods that were tried there. The paper has no such table."""
    rows = [_base_row(base) for base in bases if base.sparsity == level]
    for method in dict.fromkeys(table["method"]):
        own = at_sparsity(table[table["method"] == method], level)
        if not own.empty:
            name = f"{method}, {level * 100:g}% sparse"
            rows.append(PaperRow(name, str(method), level, False, _by_epochs(own, by_trial, constraints)))
    return rows


def _by_epochs(table: pd.DataFrame, by_trial: Mapping[str, Record], constraints: Constraints) -> dict[int, Tried]:
    tried = {}
    for epochs in EPOCHS:
        rows = with_epochs(table, epochs)
        choice = recommend(rows, constraints)
        if choice.trial is None:
            tried[epochs] = Tried(None, NONE_TRIED if rows.empty else choice.reason, None, {}, {})
        else:
            tried[epochs] = _of(by_trial[choice.trial])
    return tried


def _of(record: Record) -> Tried:
    return Tried(
        record,
        None,
        record.cost.get("trainable_parameters"),
        {name: shown(record.metrics, record.report, name) for name in _SHOWN},
        {name: spread(record, name) for name in _SHOWN},
    )


def _base_row(base: Base) -> PaperRow:
    values = {name: shown(base.metrics, base.report, name) for name in _SHOWN}
    tried = Tried(None, None, base.parameters, values, {})
    return PaperRow(base_name(base.sparsity), None, base.sparsity, True, dict.fromkeys(EPOCHS, tried))
