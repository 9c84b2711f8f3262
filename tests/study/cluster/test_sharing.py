"""How many trials share a GPU: no GPU is asked."""

from __future__ import annotations

from typing import Any

import pytest

from neglora.record import Record, trial_id
from study.cluster.sharing import share_of_gpu, unmeasured
from study.space.cells import Cell

GIB = 2**30
CELLS = [
    Cell("digits", "tinyvit_nano", "retrain"),
    Cell("digits", "tinyvit_nano", "neglora", {"sparsity": 0.0}),
    Cell("digits", "tinyvit_nano", "neglora", {"sparsity": 0.9}),
    Cell("digits", "resnet_nano", "neglora", {"sparsity": 0.0}),
]


def took(peak: int | None, whole: int | None = 80 * GIB, method: str = "neglora", **axes: Any) -> Record:
    cell = {"dataset": "digits", "model": "tinyvit_nano", "method": method, **axes}
    cost = {"peak_memory_bytes": peak, "device_memory_bytes": whole}
    return Record(trial_id(cell, 0), cell, {}, "ok", cost=cost)


def test_the_first_cell_of_every_method_is_measured_where_the_ledger_does_not_say():
    assert unmeasured(CELLS, []) == {CELLS[0].id, CELLS[1].id, CELLS[3].id}
    known = [took(GIB, sparsity=0.9), took(GIB, None, method="retrain")]
    assert unmeasured(CELLS, known) == {CELLS[0].id, CELLS[3].id}


@pytest.mark.parametrize(("peaks", "count"), [([10], 6), ([10, 23], 3), ([70], 1), ([100], 1), ([2], 27), ([12], 5)])
def test_as_many_share_a_gpu_as_the_most_demanding_one_fits(peaks, count):
    share = share_of_gpu([took(peak * GIB) for peak in peaks])
    assert 0 < share.gpus * count <= 1 < share.gpus * (count + 1), (
        "what Ray counts of so many fits into one, and no more"
    )


def test_the_smallest_gpu_counts():
    assert share_of_gpu([took(10 * GIB), took(10 * GIB, 24 * GIB)]).gpus == 0.5


def test_it_is_told():
    assert share_of_gpu([took(12 * GIB)]).words == ("5 trials share a GPU: the most that one took is 12.0 of 80.0 GiB")
    assert share_of_gpu([took(60 * GIB)]).words == (
        "each trial has a GPU of its own: the most that one took is 60.0 of 80.0 GiB"
    )
    assert share_of_gpu([took(None), took(GIB, None)]).gpus == 1
