"""Errors of too little memory, as several versions word them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neglora.shortage import Shortage, shortage_of, size

MIB, GIB = 2**20, 2**30
NOW = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 512.00 MiB is "
    "free. Including non-PyTorch memory, this process has 78.50 GiB memory in use. Of the allocated memory 77.00 GiB "
    "is allocated by PyTorch, and 1.00 GiB is reserved by PyTorch but unallocated."
)
BEFORE = (
    "CUDA out of memory. Tried to allocate 2.00 MiB (GPU 0; 15.90 GiB total capacity; 14.50 GiB already allocated; "
    "1.00 MiB free; 15.00 GiB reserved in total by PyTorch)"
)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            torch.OutOfMemoryError(NOW),
            Shortage("H100", 20 * GIB, 512 * MIB, round(78.5 * GIB), round(79.11 * GIB)),
        ),
        (RuntimeError(BEFORE), Shortage("H100", 2 * MIB, MIB, round(14.5 * GIB), round(15.9 * GIB))),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), Shortage("H100")),
        (MemoryError(), Shortage("H100")),
    ],
)
def test_a_shortage_is_read_from_its_error(error, expected):
    assert shortage_of(error, "H100") == expected


def test_real_errors_of_the_host_are_known():
    with pytest.raises(RuntimeError) as torchs:
        torch.empty(10**15)
    assert shortage_of(torchs.value, "cpu") == Shortage("cpu", asked=4 * 10**15)
    with pytest.raises(MemoryError) as numpys:
        np.empty(10**14)
    found = shortage_of(numpys.value, "cpu")
    assert found is not None
    assert found.asked == pytest.approx(8 * 10**14, rel=1e-2)


def test_a_shortage_behind_another_error_counts_and_others_do_not():
    outer = ValueError("could not adapt the model")
    outer.__cause__ = torch.OutOfMemoryError(NOW)
    assert shortage_of(outer, "H100") is not None
    assert shortage_of(RuntimeError("CUDA error: device-side assert triggered"), "H100") is None
    looped = ValueError("one")
    looped.__context__ = KeyError("two")
    looped.__context__.__context__ = looped
    assert shortage_of(looped, "H100") is None


def test_it_is_told_in_words():
    whole = Shortage("NVIDIA H100", 20 * GIB, 512 * MIB, 78 * GIB, 79 * GIB)
    assert (
        str(whole)
        == "asked NVIDIA H100 for 20.0 GiB; of its 79.0 GiB 78.0 GiB were in use by this worker, 512 MiB free"
    )
    assert str(Shortage("cpu", 4 * 10**15)) == "asked cpu for 3638 TiB"
    assert str(Shortage("cpu")) == "asked cpu for too much"
    assert [size(count) for count in (None, 12, 2048, 3 * MIB, 150 * MIB)] == [
        "an unknown size",
        "12 bytes",
        "2.0 KiB",
        "3.0 MiB",
        "150 MiB",
    ]
