"""A study on a small cluster that is hit again and again: faults injected, and what of its trials was lost or doubled.

    sudo python benchmarks/soak.py                      some ten minutes on two cores, 300 trials
    sudo python benchmarks/soak.py --trials 24 --faults kill-driver,kill-worker --seed 3

Two machines (network namespaces, which need root: Linux, `ip`) run real Ray nodes of one CPU each, and the driver runs
on the first. Their storage is a small file system in memory, so that it can fill up. In a seeded random order the
faults of `--faults` are injected while trials run, every kind at least once; whatever ended is then started again, as
a user would: a node that is gone, and the same `neglora run` command.

A trial is *lost* if a line that once stood in the ledger is later absent or different, or if it is missing at the end;
*doubled* if it has two lines. Artifacts are read back and their checksums compared. Numbers also go to
`benchmarks/soak.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.faults import FAULTS, Machines
from neglora.artifacts import FACTS, WEIGHTS
from study.asked import asked_trials

STUDY = "soak"
STORAGE_BYTES = 400 * 2**20
#: A fault comes so many records after the last one, at random.
BETWEEN = (4, 12)
#: Seconds without a new record after which the soak gives up: something is stuck.
STUCK = 240.0
#: So many starts of the driver without a new record, and the soak gives up too.
STARTS = 6


def space(trials: int) -> dict[str, object]:
    """A study of short trials: two methods with `trials` in all."""
    return {
        "study": STUDY,
        "datasets": ["digits"],
        "models": ["tinyvit_nano"],
        "replicates": {"forget": [3], "seeds": [0]},
        "search": {"sampler": "random", "trials": trials // 2, "seed": 0, "batch": 4},
        "training": {"epochs": 2, "checkpoint_minutes": 0.02},
        "methods": {
            "neggrad": {"lr": {"log": [1e-6, 1e-4]}, "epochs": 1},
            "neglora": {"lr": {"log": [1e-4, 1e-2]}, "epochs": 1, "rank": [2, 4], "targets": ["last.ffn", "head"]},
        },
    }


@dataclass
class Seen:
    """What was found after one fault."""

    fault: str
    at: int
    lost: int = 0
    doubled: int = 0
    seconds: float = 0.0
    told: list[str] = field(default_factory=list)


@dataclass
class Books:
    """The ledger as it was seen over time, to find what is lost or doubled later."""

    ledger: Path
    lines: dict[str, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)

    def look(self) -> tuple[int, int]:
        """Read the ledger: how many trials were lost since the last look, and how many stand in it twice."""
        content = self.ledger.read_bytes() if self.ledger.exists() else b""
        whole = content.split(b"\n")[:-1]
        ids = [str(json.loads(line)["trial"]) for line in whole]
        now = dict(zip(ids, whole, strict=True))
        lost = sum(now.get(trial) != line for trial, line in self.lines.items())
        self.lines = now
        return lost, sum(count - 1 for count in Counter(ids).values())


def main() -> int:
    arguments = _arguments()
    console = Console(width=110)
    random_ = random.Random(arguments.seed)
    plan = _plan(arguments.faults, arguments.count, random_)
    folder = Path(tempfile.mkdtemp(prefix="soak"))
    with (
        _storage(folder / "storage") as storage,
        Machines.up(folder, storage, any("clock" in fault for fault in plan)) as machines,
    ):
        path = folder / "soak.yaml"
        path.write_text(yaml.safe_dump(space(arguments.trials)))
        books = Books(storage / STUDY / "ledger.jsonl")
        started = time.monotonic()
        machines.start_driver(path)
        found = []
        for fault in plan:
            if not _wait(machines, books, len(books) + random_.randint(*BETWEEN), path):
                break
            console.print(f"[{len(books)} trials, {time.monotonic() - started:.0f} s] {fault}")
            found.append(_hit(machines, books, fault, path))
            console.print(f"    {' | '.join(found[-1].told) or 'nothing told'}", markup=False, highlight=False)
        asked = sum(asked_trials(space_resolved(storage)).values())
        finished = _wait(machines, books, asked, path)
        code = machines.end_driver()
        seconds = time.monotonic() - started
        lost, doubled = books.look()
        records = [json.loads(line) for line in books.lines.values()]
        damaged = list(damaged_artifacts(storage / "artifacts"))
    shutil.rmtree(folder, ignore_errors=True)
    missing = asked - len(books)
    _print(console, found)
    statuses = Counter(record["status"] for record in records)
    summary = {
        "asked": asked,
        "recorded": len(books),
        "lost": sum(one.lost for one in found) + lost + missing,
        "doubled": doubled,
        "statuses": dict(statuses),
        "damaged_artifacts": damaged,
        "seconds": round(seconds),
        "last_exit_code": code,
        "seed": arguments.seed,
    }
    console.print(", ".join(f"{name} {value}" for name, value in summary.items()), markup=False, highlight=False)
    out = Path(__file__).with_suffix(".json")
    out.write_text(json.dumps({"summary": summary, "faults": [asdict(one) for one in found]}, indent=1) + "\n")
    fine = finished and not (summary["lost"] or doubled or damaged) and len(found) == len(plan)
    return 0 if fine else 1


def space_resolved(storage: Path) -> dict[str, object]:
    resolved: dict[str, object] = yaml.safe_load((storage / STUDY / "study.yaml").read_text())
    return resolved


def damaged_artifacts(root: Path) -> Iterator[str]:
    """Artifacts whose weights are not those that their description names."""
    import hashlib

    for folder in sorted(root.glob("[!.]*")):
        described = json.loads((folder / FACTS).read_text())["sha256"]
        if hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() != described:
            yield folder.name


def _plan(kinds: list[str], count: int, random_: random.Random) -> list[str]:
    """Every kind once and the rest at random, in a random order."""
    plan = [*kinds, *random_.choices(kinds, k=max(0, count - len(kinds)))]
    random_.shuffle(plan)
    return plan


def _hit(machines: Machines, books: Books, fault: str, space: Path) -> Seen:
    """Inject one fault, mend what a user would, and wait for the next record."""
    books.look()
    before, started = len(books), time.monotonic()
    machines.forget_output()
    FAULTS[fault](machines)
    machines.mend(space)
    _wait(machines, books, before + 1, space)
    lost, doubled = books.look()
    return Seen(fault, before, lost, doubled, round(time.monotonic() - started, 1), machines.told())


def _wait(machines: Machines, books: Books, count: int, space: Path) -> bool:
    """Until the ledger has `count` lines, starting again what ended. False if nothing came for too long."""
    last, since, starts = -1, time.monotonic(), 0
    while True:
        have = _count(books.ledger)
        if have >= count:
            lost, _ = books.look()
            if lost:
                raise SystemExit(f"{lost} lines of the ledger are gone or changed")
            return True
        if have != last:
            last, since, starts = have, time.monotonic(), 0
        if time.monotonic() - since > STUCK or starts > STARTS:
            print(f"stuck at {have} of {count}:\n{machines.driver_output()[-3000:]}", file=sys.stderr)
            return False
        if machines.driver_ended():
            if machines.finished():
                books.look()
                return len(books) >= count
            starts += 1
            machines.mend(space)
        time.sleep(0.3)


def _count(ledger: Path) -> int:
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


@contextmanager
def _storage(folder: Path) -> Iterator[Path]:
    """A small file system in memory."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STORAGE_BYTES}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _print(console: Console, found: list[Seen]) -> None:
    table = Table(title="Faults injected, each kind's trials lost and doubled")
    for name in ("fault", "times", "lost", "doubled", "next record after (s)", "what the user saw, the last time"):
        table.add_column(name, justify="left" if name.startswith(("fault", "what")) else "right")
    for kind in dict.fromkeys(one.fault for one in found):
        own = [one for one in found if one.fault == kind]
        waits = sorted(one.seconds for one in own)
        table.add_row(
            kind,
            str(len(own)),
            str(sum(one.lost for one in own)),
            str(sum(one.doubled for one in own)),
            f"{waits[0]:.0f} to {waits[-1]:.0f}" if len(waits) > 1 else f"{waits[0]:.0f}",
            own[-1].told[0] if own[-1].told else "nothing: the study went on",
        )
    console.print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300, help="of the study, beside Retrain")
    parser.add_argument("--count", type=int, default=16, help="faults in all (at least one of each kind)")
    parser.add_argument("--seed", type=int, default=0, help="of the order of faults and the time between them")
    parser.add_argument(
        "--faults",
        type=lambda text: text.split(","),
        default=[name for name in FAULTS if "clock" not in name],
        metavar="A,B",
        help="default: all but jumping clocks, which disturb the others",
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.faults if name not in FAULTS]
    if unknown:
        parser.error(f"unknown fault {unknown[0]!r}, expected some of {', '.join(FAULTS)}")
    if os.geteuid() != 0:
        parser.error("network namespaces and mounts need root")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
