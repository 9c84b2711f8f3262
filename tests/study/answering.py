"""Trials of functions that are known: rows as `trials_table` has them, and their metric."""

import numpy as np
import pandas as pd


def rows_of(settings, method="neglora"):
    """One row per value of the settings, which are lists or arrays of one length."""
    count = len(next(iter(settings.values())))
    fixed = {"trial": [f"t{index:04d}" for index in range(count)], "dataset": "digits", "model": "m", "method": method}
    return pd.DataFrame(fixed | {f"param_{name}": values for name, values in settings.items()})


def uniform(count, names="abc", seed=0):
    """Settings even over [0, 1]."""
    generator = np.random.default_rng(seed)
    return {name: generator.random(count) for name in names}


def measured(rows, **metrics):
    return pd.DataFrame(metrics, index=rows.index)
