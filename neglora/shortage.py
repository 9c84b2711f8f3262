"""Running out of memory: told from other errors, with what was asked for and what there was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch

_UNITS = {"bytes": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE = r"([\d.]+) (bytes|B|KiB|MiB|GiB|TiB)"
#: As PyTorch's allocators and NumPy put it, of several versions.
_ASKED = re.compile(rf"(?:[Tt]ried|Unable) to allocate {_SIZE}")
_TOTAL = re.compile(rf"total capacity of {_SIZE}|{_SIZE} total capacity")
_FREE = re.compile(rf"of which {_SIZE} is free|{_SIZE} free")
_IN_USE = re.compile(rf"this process has {_SIZE} memory in use|{_SIZE} (?:is|already) allocated")
#: What runtime errors of too little memory say, beside those that have a type of their own.
_SIGNS = ("CUDA out of memory", "CUDA error: out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class Shortage:
    """Memory that was not there.

    Attributes:
        device: `cpu`, or the name of the GPU.
        asked, free, in_use, total: bytes: of the allocation that failed, and of the device, `in_use` by this process
            alone. None where the error does not tell it.
    """

    device: str
    asked: int | None = None
    free: int | None = None
    in_use: int | None = None
    total: int | None = None

    def __str__(self) -> str:
        """`asked NVIDIA H100 for 20.0 GiB; of its 79.1 GiB 78.0 GiB were in use by this worker, 512 MiB free`."""
        asked = f"asked {self.device} for {size(self.asked)}" if self.asked else f"asked {self.device} for too much"
        parts = [f"{size(self.in_use)} were in use by this worker"] if self.in_use is not None else []
        parts += [f"{size(self.free)} free"] if self.free is not None else []
        if not parts:
            return f"{asked}, which has {size(self.total)}" if self.total else asked
        return f"{asked}; {f'of its {size(self.total)} ' if self.total else ''}{', '.join(parts)}"


def shortage_of(error: BaseException, device: str) -> Shortage | None:
    """The shortage that an error, or one of those it came from, tells; None for any other error."""
    for each in _chain(error):
        text = str(each)
        if isinstance(each, torch.OutOfMemoryError | MemoryError) or (
            isinstance(each, RuntimeError) and any(sign in text for sign in _SIGNS)
        ):
            return Shortage(device, *(_bytes(pattern, text) for pattern in (_ASKED, _FREE, _IN_USE, _TOTAL)))
    return None


def size(count: int | None) -> str:
    """Bytes as people read them: `512 MiB`, `20.0 GiB`."""
    if count is None:
        return "an unknown size"
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count >= _UNITS[unit]:
            value = count / _UNITS[unit]
            return f"{value:.1f} {unit}" if value < 100 else f"{value:.0f} {unit}"
    return f"{count} bytes"


def _bytes(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    if not found:
        return None
    number, unit = (group for group in found.groups() if group is not None)
    return round(float(number) * _UNITS[unit])


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
