"""Which value of a record people are shown, and how far it varies over replicates."""

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
