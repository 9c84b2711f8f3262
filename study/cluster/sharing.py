"""How many trials share a GPU, by what the first ones took of one. Knows nothing of Ray."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from neglora.record import Record
from study.space.cells import Cell

#: So much of a GPU is handed out: the rest is for what the allocator cannot use. Assumed as well.
USED = 0.9
#: Bytes of a GPU that a process takes beside its tensors: CUDA's context and kernels. Assumed, for want of a GPU here.
CONTEXT = 600 * 2**20
#: Ray counts resources in so many parts of one.
PARTS = 10_000


@dataclass(frozen=True)
class Share:
    """What each trial asks for, and why in words."""

    gpus: float
    words: str


def unmeasured(cells: Iterable[Cell], records: Iterable[Record]) -> set[str]:
    """The first cell of every dataset, model and method of which the ledger does not say what it takes of a GPU."""
    known = {_kind(record) for record in records if _measured(record)}
    first: dict[tuple[str, str, str], str] = {}
    for cell in cells:
        first.setdefault((cell.dataset, cell.model, cell.method), cell.id)
    return {name for kind, name in first.items() if kind not in known}


def share_of_gpu(records: Sequence[Record]) -> Share:
    """What each trial is to ask for, so that the most demanding one fits as often on the smallest GPU."""
    measured = [record for record in records if _measured(record)]
    if not measured:
        return Share(1.0, "what a trial takes of a GPU could not be measured: each has one of its own")
    peak = max(int(record.cost["peak_memory_bytes"]) for record in measured)
    whole = min(int(record.cost["device_memory_bytes"]) for record in measured)
    count = min(max(1, int(USED * whole / (peak + CONTEXT))), PARTS)
    # Rounded down: what Ray counts of so many has to fit into one.
    gpus = math.floor(PARTS / count) / PARTS
    took = f"the most that one took is {peak / 2**30:.1f} of {whole / 2**30:.1f} GiB"
    return Share(
        gpus, f"{count} trials share a GPU: {took}" if count > 1 else f"each trial has a GPU of its own: {took}"
    )


def _measured(record: Record) -> bool:
    return record.cost.get("peak_memory_bytes") is not None and record.cost.get("device_memory_bytes") is not None


def _kind(record: Record) -> tuple[str, str, str]:
    return str(record.cell["dataset"]), str(record.cell["model"]), str(record.cell["method"])
