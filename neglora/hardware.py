"""The device that work runs on, and how much memory it took."""

from __future__ import annotations

import os
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
#: Written to `clear_refs`, it sets the peak of resident memory back to the present (Linux, proc(5)).
_RESET_PEAK = "5"


def choose_device() -> torch.device:
    """The GPU that this process was given, by its number, which other threads need; else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def device_name(device: torch.device) -> str:
    """`cpu`, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def device_memory(device: torch.device) -> int | None:
    """Bytes of a GPU's memory; None for the CPU, whose memory trials do not divide by processes."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def use_threads(threads: int) -> None:
    """Let torch compute on this many threads: sums in floating point depend on it, so it is fixed per task."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def cpu_model() -> str | None:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)


class PeakMemory:
    """Peak memory of a stretch of work: allocated on the GPU, or resident in the whole process on the CPU (Linux).

    Use as a context manager; afterwards `bytes` is the peak, or None where the system does not tell it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: int | None = None
        self._can_reset = False

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._can_reset = _reset_resident_peak()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device)
        elif self._can_reset:
            self.bytes = _resident_peak()


def _reset_resident_peak() -> bool:
    if not _RESET.exists() or not os.access(_RESET, os.W_OK):
        return False
    try:
        _RESET.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _resident_peak() -> int | None:
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
