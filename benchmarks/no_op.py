"""A study of trials that do no work, in a process of its own: what is left is what a trial costs beside its work.

    python benchmarks/no_op.py neglora 500 --sampler random      `neglora run`, whose workers make records up
    python benchmarks/no_op.py tune 500                          a trainable that returns a number, by stock Ray Tune

One JSON object on the last line of the standard output; see `overhead.py`, which calls it.

`neglora` is the command line's own path: cells and sampler, Tune and its hooks, ledger synced to the disk, progress,
metrics, tables and report. Only `run_task` is another one in the workers, and nothing is prepared. What is made up has
the form and the size of a real record. `tune` is Tune as its guide shows it, with reused actors: random search, its
own defaults for files and output.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

PAGE = resource.getpagesize()
#: The metrics of a record's two halves, as a trial on the digits has them.
SELECTION = ["ua", "ra", "ta", "mia", "ua_test", "runner_up", "mia_accuracy", "mia_auc", "mia_has_signal", "gap"]
SELECTION += ["tow", "rte", "rte_epoch", "speedup"]
REPORT = [*SELECTION, "mia_correctness", "mia_entropy", "mia_modified_entropy", "mia_full"]


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


class Marks:
    """What was noted whenever a trial had ended: seconds, seconds of this process's CPU, bytes."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, int]] = []
        self.storing = 0.0

    def note(self) -> None:
        self.rows.append((time.perf_counter(), time.process_time(), resident()))

    def summary(self) -> dict[str, Any]:
        """Milliseconds a trial after the first tenth, in which processes warm up; kilobytes over the second half."""
        first, half, last = self.rows[len(self.rows) // 10], self.rows[len(self.rows) // 2], self.rows[-1]
        count = len(self.rows) - 1 - len(self.rows) // 10
        ends = [self.rows[(len(self.rows) - 1) * quarter // 4] for quarter in range(5)]
        quarter = (len(self.rows) - 1) / 4
        return {
            "trials": len(self.rows),
            "cpu_ms_by_quarter": [1e3 * (b[1] - a[1]) / quarter for a, b in itertools.pairwise(ends)],
            "kb_by_quarter": [(b[2] - a[2]) / quarter / 1e3 for a, b in itertools.pairwise(ends)],
            "ms": 1e3 * (last[0] - first[0]) / count,
            "cpu_ms": 1e3 * (last[1] - first[1]) / count,
            "kb": (last[2] - half[2]) / (len(self.rows) - 1 - len(self.rows) // 2) / 1e3,
            "storing_ms": 1e3 * self.storing / len(self.rows),
            "resident_mb": last[2] / 1e6,
            "end": {"seconds": time.perf_counter() - last[0], "resident_mb": resident() / 1e6},
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        }


def made_up(session: Any, task: Any, adapters: Any = None) -> list[Any]:
    """Stands for `run_task`: a record of the form and size of a real one, drawn from the trial's number."""
    from neglora.provenance import provenance
    from neglora.record import Record

    made = []
    for part in task.parts:
        drawn = random.Random(part.trial)
        halves = {
            "metrics": {name: True if name.endswith("signal") else drawn.random() for name in SELECTION},
            "report": {name: True if name.endswith("signal") else drawn.random() for name in REPORT},
        }
        cost = {
            "unlearn_seconds": 0.01 * drawn.random(),
            "evaluate_seconds": 0.01 * drawn.random(),
            "peak_memory_bytes": 1_000_000_000 + drawn.randrange(1_000_000),
            "trainable_parameters": 1576,
            "device": "cpu",
            "threads": 1,
        }
        sides = {
            half: {"n_per_side": 242, "accuracy": drawn.random(), "auc": drawn.random(), "auc_low": drawn.random()}
            for half in ("selection", "report")
        }
        details = {
            "counts": {"forget": 128, "retain": 1129, "test": 242, "test_report": 243, "test_forget": 55},
            "attack": sides,
            "sparsity": {"before": 0.0, "after": 0.0, "merged": 0.0},
            "loss_before": drawn.random(),
            "loss_after": drawn.random(),
            "steps": 8,
            "epochs": 2,
        }
        replicates = [
            {"forget": forget, "seed": seed, "status": "ok", "reason": None, **halves, "cost": cost, "details": details}
            for forget, seed in task.replicates
        ]
        made.append(
            Record(
                trial=part.trial,
                cell=dict(part.cell),
                params=dict(part.params),
                status="ok",
                fidelity="full",
                replicates=replicates,
                cost=cost,
                sampler=dict(part.sampler or {}),
                provenance=provenance(),
                **halves,
            )
        )
    return made


def space_of(trials: int, sampler: str) -> dict[str, Any]:
    """One cell of the quickstart's, large enough for so many trials."""
    return {
        "study": "no-op",
        "datasets": ["digits"],
        "models": ["tinyvit_nano"],
        "replicates": {"forget": [3], "seeds": [0]},
        "selection": {"holdout": 0.5},
        "objectives": ["ua", "ra", "ta", "mia"],
        "search": {"sampler": sampler, "trials": trials, "seed": 0, "batch": 4},
        "resources": {"cpus": 1, "gpus": 0},
        "methods": {
            "neglora": {
                "rank": [2, 4, 8, 16],
                "alpha": [8, 16, 32],
                "targets": ["ffn", "last.ffn", "attn", "last.attn_out+head"],
                "lr": {"log": [3.0e-4, 1.0e-2]},
                "epochs": 1,
                "dropout": 0.1,
                "sparsity": [0.0, 0.9],
            }
        },
    }


def of_neglora(trials: int, sampler: str, marks: Marks, folder: Path) -> None:
    """`neglora run` without work."""
    from study.cli import main
    from study.cluster import execution, workers
    from study.ledger import Ledger

    class NoOpWorker(workers.TrialWorker):
        def setup(self, config: dict[str, Any]) -> None:
            workers.run_task = made_up
            super().setup(config)

    append = Ledger.append

    def timed_append(self: Ledger, record: Any) -> None:
        began = time.perf_counter()
        append(self, record)
        marks.storing += time.perf_counter() - began
        marks.note()

    Ledger.append = timed_append
    NoOpWorker.__qualname__ = workers.TrialWorker.__qualname__
    workers.TrialWorker, execution.prerequisites_of = NoOpWorker, lambda space: []
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump(space_of(trials, sampler)))
    os.chdir(folder)
    code = main(["run", str(file), "--storage", str(folder / "runs"), "--workers", "2"])
    if code:
        raise SystemExit(f"neglora run ended with {code}")


def of_tune(trials: int, marks: Marks, folder: Path) -> None:
    """Stock Tune: reused actors, and its own defaults."""
    import ray
    from ray import tune

    class NoOp(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            pass

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

        def step(self) -> dict[str, Any]:
            return {"ua": random.random(), "done": True}

    class Noting(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            marks.note()

        def __getstate__(self) -> dict[str, Any]:
            return {}

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    space = space_of(trials, "random")["methods"]["neglora"]
    config = {name: tune.choice(value) if isinstance(value, list) else value for name, value in space.items()}
    config["lr"] = tune.loguniform(3.0e-4, 1.0e-2)
    tune.Tuner(
        tune.with_resources(NoOp, {"CPU": 1}),
        param_space=config,
        tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True),
        run_config=tune.RunConfig(
            name="no-op",
            storage_path=str(folder),
            callbacks=[Noting()],
            # A class without checkpoints has to say so.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()


def main() -> None:
    parser = argparse.ArgumentParser(description="trials without work")
    parser.add_argument("side", choices=["neglora", "tune"])
    parser.add_argument("trials", type=int)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--profile", type=Path, help="write what cProfile found of the driver there")
    arguments = parser.parse_args()
    marks, began = Marks(), time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="no-op-") as name,
        contextlib.redirect_stdout(sys.stderr),
        _profiled(arguments.profile),
    ):
        if arguments.side == "neglora":
            of_neglora(arguments.trials, arguments.sampler, marks, Path(name))
        else:
            of_tune(arguments.trials, marks, Path(name))
    summary = marks.summary() | {"wall": time.perf_counter() - began, "load": os.getloadavg()[0]}
    print(json.dumps({"side": arguments.side, "sampler": arguments.sampler} | summary))


@contextlib.contextmanager
def _profiled(file: Path | None) -> Any:
    if file is None:
        yield
        return
    import cProfile

    with cProfile.Profile(time.process_time) as profile:
        yield
    profile.dump_stats(file)


if __name__ == "__main__":
    main()
