import mmap
from pathlib import Path

import pytest
import torch

from neglora import hardware
from neglora.hardware import PeakMemory, choose_device, cpu_model, device_name, use_threads

CPU = torch.device("cpu")


def test_the_device_and_its_name():
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_name(CPU) == "cpu"


def test_threads_are_set():
    use_threads(2)
    assert torch.get_num_threads() == 2
    use_threads(1)
    assert torch.get_num_threads() == 1


def test_the_processor_is_named_where_the_system_tells():
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = cpu_model()
    assert name in text if name else "model name" not in text


def test_peak_memory_sees_what_was_given_back():
    with PeakMemory(CPU) as idle:
        pass
    if idle.bytes is None:
        pytest.skip("this system does not let a process reset its peak of resident memory")
    # Mapped afresh: an ordinary allocation may reuse memory that is freed but still resident.
    with PeakMemory(CPU) as busy, mmap.mmap(-1, 256 << 20) as block:
        for _ in range(256):
            block.write(b"x" * (1 << 20))
    assert busy.bytes - idle.bytes > 200 << 20
    with PeakMemory(CPU) as after:
        pass
    assert busy.bytes - after.bytes > 200 << 20


def test_peak_memory_is_unknown_where_it_cannot_be_reset(monkeypatch, tmp_path):
    monkeypatch.setattr(hardware, "_RESET", tmp_path / "absent")
    with PeakMemory(CPU) as peak:
        pass
    assert peak.bytes is None
