"""What the parts of a record may hold, below its keys: whoever reads them later need not look again. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

#: The shape of a value: what it may be, or of a mapping the shape of some values by name, `*` for all others.
Shape = type | tuple[type, ...] | Mapping[str, "Shape"] | list["Shape"]

_NUMBER = (int, float, type(None))
_TEXT = (str, type(None))
_MEASURED: Shape = {"*": _NUMBER}
_TIMES = ("unlearn_seconds", "prefix_seconds", "evaluate_seconds", "attack_seconds", "audit_seconds", "train_seconds")
_SIZES = ("peak_memory_bytes", "device_memory_bytes", "trainable_parameters", "threads")
COST: Shape = {"device": _TEXT, **dict.fromkeys(_TIMES + _SIZES, _NUMBER), "*": (*_NUMBER, str)}
DETAILS: Shape = {
    "counts": {"*": _NUMBER},
    "attack": {"*": {"non_member": [[_NUMBER]], "*": _NUMBER}},
    "intervals": {"*": [_NUMBER]},
    "class_names": [str],
    "classes": {"*": {"right": [_NUMBER], "total": [_NUMBER]}},
    "called": [_NUMBER],
    "confidences": {"*": [_NUMBER]},
    "audits": {"relearn": {"shots": [{"*": _NUMBER}], "*": _NUMBER}, "*": {"*": _NUMBER}},
    "sparsity": {"*": _NUMBER},
    "retraction": {"looked": [[_NUMBER]], "*": _NUMBER},
    **dict.fromkeys(("loss_before", "loss_after", "steps", "epochs", "test_accuracy"), _NUMBER),
}
BASE: Shape = {
    "sparsity": _NUMBER,
    "metrics": _MEASURED,
    "report": _MEASURED,
    "cost": COST,
    "parameters": _NUMBER,
    "details": DETAILS,
}
REPLICATE: Shape = {
    "seed": _NUMBER,
    "status": _TEXT,
    "reason": _TEXT,
    "metrics": _MEASURED,
    "report": _MEASURED,
    "cost": COST,
    "details": DETAILS,
    "bases": [BASE],
}
RECORD: Mapping[str, Shape] = {
    "cell": {"dataset": str, "model": str, "method": str},
    "replicates": [REPLICATE],
    "cost": COST,
    "provenance": {"*": (*_NUMBER, str)},
}


def misfit(value: Any, shape: Shape, place: str = "") -> str | None:
    """The first place that does not fit, `replicates[0].cost.threads`; None where all fits.

    Mappings that are null or absent fit, and numbers have to be such as a float holds.
    """
    if isinstance(shape, Mapping):
        if value is None:
            return None
        if not isinstance(value, Mapping):
            return place
        others = shape.get("*")
        for name, inner in value.items():
            expected = shape.get(name, others)
            found = misfit(inner, expected, f"{place}.{name}".lstrip(".")) if expected is not None else None
            if found:
                return found
        return None
    if isinstance(shape, list):
        if value is None:
            return None
        if not isinstance(value, list):
            return place
        found_all = (misfit(item, shape[0], f"{place}[{index}]") for index, item in enumerate(value))
        return next(filter(None, found_all), None)
    return None if isinstance(value, shape) and is_held(value) else place


def is_held(value: Any) -> bool:
    """Whether a number is finite and not beyond floats, as whole numbers of JSON can be; True for what is no number."""
    try:
        return not isinstance(value, int | float) or math.isfinite(value)
    except OverflowError:
        return False
