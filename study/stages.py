"""Trials that have several lines in the ledger: searched on subsets, then measured in full, then tried elsewhere."""

from __future__ import annotations

import pandas as pd

from neglora.record import FIDELITIES, STATUSES


def one_per_trial(table: pd.DataFrame) -> pd.DataFrame:
    """One row of `trials_table` for each trial: its line in full, or else that of the search.

    Confirmations are of trials that have a line already.
    """
    return _preferring(table, "full")


def searched_rows(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each trial: what the sampler was told, as `study.told.searched_records` chooses it."""
    return _preferring(table, "search")


def _preferring(table: pd.DataFrame, fidelity: str) -> pd.DataFrame:
    rows = table[table["fidelity"] != "confirm"]
    wanted = rows["fidelity"] == fidelity
    return rows[wanted | ~rows["trial"].isin(rows["trial"][wanted])]


def by_status(table: pd.DataFrame) -> dict[str, int]:
    """How many trials ended in each way; a trial of several lines counts once."""
    statuses = one_per_trial(table)["status"]
    return {status: int((statuses == status).sum()) for status in STATUSES}


def by_fidelity(table: pd.DataFrame) -> dict[str, int]:
    """How many trials were measured well in each way: on subsets, in full, on what the search never saw."""
    measured = table[table["status"] == "ok"]
    return {fidelity: len(_trials(measured, fidelity)) for fidelity in FIDELITIES}


def share_confirmed(table: pd.DataFrame) -> float | None:
    """Which share of the trials that were searched on subsets was then measured in full; None where none was."""
    measured = table[table["status"] == "ok"]
    searched = _trials(measured, "search")
    return len(searched & _trials(measured, "full")) / len(searched) if searched else None


def hopeless(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of trials that were at chance on a first look, and were not measured further: their reason says so."""
    return table[(table["status"] == "ok") & (table["fidelity"] == "search") & table["reason"].notna()]


def _trials(table: pd.DataFrame, fidelity: str) -> set[str]:
    return set(table["trial"][table["fidelity"] == fidelity])
