"""Which value of a record people are shown, how far it varies over replicates, and on how many images it was
measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

from neglora.record import Record


def shown(metrics: Mapping[str, Any], report: Mapping[str, Any], name: str) -> float | None:
    """The value that people are shown: the report half's, or the selection half's where that was not measured."""
    value = report.get(name)
    value = metrics.get(name) if value is None else value
    return None if value is None or math.isnan(value) else float(value)


def spread(record: Record, name: str) -> float | None:
    """Sample standard deviation over replicates of the value that is shown; None for fewer than two."""
    values = [shown(item.get("metrics") or {}, item.get("report") or {}, name) for item in record.replicates]
    measured = [value for value in values if value is not None]
    if len(measured) < 2 or len(measured) < len(values):
        return None
    return statistics.stdev(measured)


#: On how many images each metric is measured, by half: the names are those of a replicate's `details.counts`.
_COUNTED = {
    "ua": ("forget", "forget"),
    "ra": ("retain", "retain"),
    "ta": ("test", "test_report"),
    "mia": ("forget", "forget"),
    "ua_test": ("test_forget", "test_forget"),
    "runner_up": ("forget", "forget"),
}


def images(record: Record, name: str) -> int | None:
    """On how many images a replicate's shown value was measured; None where that is not recorded, or not of images.

    Replicates share images, so that the smallest replicate's count is taken rather than their sum.
    """
    if name not in _COUNTED:
        return None
    half = 0 if record.report.get(name) is None else 1
    counts = [
        (((item.get("details") or {}).get("counts") or {}).get(_COUNTED[name][half])) for item in record.replicates
    ]
    known = [int(value) for value in counts if value]
    return min(known) if known and len(known) == len(counts) else None
