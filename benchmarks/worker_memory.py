"""Does the memory of a worker stay flat over many trials? Resident memory while 500 short ones run in one process.

    python benchmarks/worker_memory.py [--trials 500] [--json FILE]

The trials are real, on a slice of the digits: all three methods, adapters of several ranks on several layers, dense and
sparse bases of six seeds, each with its Retrain, which are two models more than a worker keeps at once. Collapse and
divergence occur too. Runs for about three minutes on one core.

Flat means: the last half of the run adds less than `ALLOWED` bytes a trial. What a process takes in its first trials
(imports, the allocator's pools, the models that it keeps) is no leak.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import torch

from neglora.artifacts import ArtifactStore
from neglora.data import DATASETS, DataOptions, DatasetEntry, DatasetInfo, ForgetSet, ImageDataset
from neglora.data.digits import load
from neglora.methods import METHODS
from neglora.prerequisites import base_of, ensure, retrain_of
from neglora.session import KEPT_MODELS, Session
from neglora.setting import Setting
from neglora.trial import Task, run_trial

SEEDS, SPARSITY, FORGET = range(6), 0.9, 3
SETTING = Setting(
    dataset="slice",
    model="resnet_nano",
    training={"epochs": 1, "warmup_epochs": 0, "batch_size": 32, "recovery_epochs": 1},
    holdout=0.5,
)
#: What trials go through in turn.
CONFIGURATIONS = (
    ("neggrad", {"lr": 1e-3}),
    ("partial_neggrad", {"lr": 1e-3}),
    ("neglora", {"lr": 1e-2, "rank": 4, "targets": "last.conv+head"}),
    ("neglora", {"lr": 1e-2, "rank": 16, "targets": "conv"}),
    ("neggrad", {"lr": 1e30}),
)
#: Bytes that a trial may add in the last half of the run, on average.
ALLOWED = 20_000


def sliced() -> ImageDataset:
    """The first 240 and 120 images of the digits, known to the registry as `slice`."""
    whole = load(DataOptions())
    dataset = ImageDataset(
        info=DatasetInfo("slice", whole.info.classes, whole.info.image_size, whole.info.channels),
        train_images=whole.train_images[:240],
        train_labels=whole.train_labels[:240],
        test_images=whole.test_images[:120],
        test_labels=whole.test_labels[:120],
        mean=whole.mean,
        std=whole.std,
        augmentation=whole.augmentation,
    )
    DATASETS["slice"] = DatasetEntry("a slice", lambda options: dataset.info, lambda options: dataset)
    return dataset


def prepare(folder: Path, dataset: ImageDataset) -> int:
    """Make every base, sparse base and Retrain; returns how many."""
    store = ArtifactStore(folder / "artifacts")
    wanted = [
        made
        for seed in SEEDS
        for made in (
            base_of(SETTING, seed, 0.0),
            base_of(SETTING, seed, SPARSITY),
            retrain_of(SETTING, seed, ForgetSet((FORGET,))),
        )
    ]
    for each in wanted:
        ensure(each, store, dataset)
    return len(wanted)


def task(number: int) -> Task:
    method, params = CONFIGURATIONS[number % len(CONFIGURATIONS)]
    turn = number // len(CONFIGURATIONS)
    sparsity = SPARSITY if turn % 2 else 0.0
    return Task(
        trial=f"slice-resnet_nano-{method}-{number:04d}",
        cell={"dataset": "slice", "model": "resnet_nano", "method": method},
        params=METHODS[method].resolve(params | {"sparsity": sparsity}),
        setting=SETTING,
        replicates=((FORGET, SEEDS[turn // 2 % len(SEEDS)]),),
    )


def resident() -> int:
    """Bytes of this process in memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure(trials: int, every: int) -> list[dict[str, float]]:
    """Run them; one row after every so many."""
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = prepare(folder, sliced())
        assert made > KEPT_MODELS, "models should be swapped"
        session, carried = Session(folder, commits=False), {}
        started = time.perf_counter()
        statuses: dict[str, int] = {}
        for number in range(trials):
            carried.clear()
            record = run_trial(session, task(number), carried)
            json.loads(record.to_line())
            statuses[record.status] = statuses.get(record.status, 0) + 1
            if (number + 1) % every == 0:
                gc.collect()
                tensors = sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())
                row = {
                    "trials": number + 1,
                    "seconds": round(time.perf_counter() - started, 1),
                    "resident_bytes": resident(),
                    "tensors": tensors,
                    "models": len(session._models),
                    "findings": sum(len(each.evaluations) for each in session._findings.values()),
                } | statuses
                rows.append(row)
                print("  ".join(f"{name} {value:,}" for name, value in row.items()), flush=True)
    return rows


def growth(rows: list[dict[str, float]]) -> float:
    """Bytes a trial over the last half of the run: the slope between its first and its last row."""
    half = rows[len(rows) // 2 - 1 :]
    return (half[-1]["resident_bytes"] - half[0]["resident_bytes"]) / (half[-1]["trials"] - half[0]["trials"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(options.trials, options.every)
    slope = growth(rows)
    flat = slope < ALLOWED
    print(f"{'flat' if flat else 'GROWING'}: {slope:,.0f} bytes a trial over the last half (allowed: {ALLOWED:,})")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "bytes_per_trial": slope}, indent=1) + "\n")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
