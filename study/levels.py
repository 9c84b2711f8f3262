"""Which rows of the trials' table were tried at one sparsity of the base, or with one number of epochs.

It makes no difference whether a level was an axis of the study or a searched parameter: a configuration has both.
"""

from __future__ import annotations

import pandas as pd


def sparsities(table: pd.DataFrame) -> list[float]:
    """The levels of sparsity that were tried, ascending; a method without the parameter starts from the dense base."""
    return sorted({float(level) for level in _numbers(table, "param_sparsity").fillna(0.0)})


def at_sparsity(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """The rows whose base has this share of weights pruned."""
    return table[_numbers(table, "param_sparsity").fillna(0.0) == level]


def with_epochs(table: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """The rows that unlearned for so many epochs; none where the method has no such parameter."""
    return table[_numbers(table, "param_epochs") == epochs]


def _numbers(table: pd.DataFrame, column: str) -> pd.Series:
    if column not in table:
        return pd.Series(float("nan"), index=table.index)
    return pd.to_numeric(table[column]).astype(float)
