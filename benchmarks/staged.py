"""Fronts that were confirmed beside the true ones: whether measuring on samples first finds what measuring all finds.

    python benchmarks/staged.py                                        20 seeds of the quickstart: 48 trials each
    python benchmarks/staged.py --seeds 2 --retain 100 --test 50              a quick try with smaller samples

For each seed of the search, every trial of the quickstart's space is run as the search does, on the digits with 200
retained and 100 test images, which is what its sampler is told; and once more in full, which nobody is told. Then the
rounds choose, from what the search saw, what they want in full. The fronts of what they chose are compared with the
fronts of all trials in full: of each method, UA against RA, TA and MIA on the selection half. A seed is equal if all
nine are the same trials.

The seconds are those that the records state, unlearning and evaluation: of all trials in full, and of all on samples
plus the chosen ones in full. How often a value in full lay within its 95 percent interval is counted too. Seeds that
stand in the file of results are not run again; numbers go to `benchmarks/staged.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from neglora.prerequisites import ensure
from neglora.record import Record
from neglora.session import Session
from neglora.trial import run_trial
from study.aggregate import trials_table
from study.cluster.execution import prerequisites_of
from study.cluster.tasks import Tasks
from study.confirming import PLANES, next_round
from study.recommend import front_rows, recommend
from study.search import CellSearch
from study.space import Space, load_space
from study.suggestions import Suggestion

ROOT = Path(__file__).resolve().parent.parent
QUICKSTART = ROOT / "search_spaces" / "quickstart.yaml"
#: What has an interval that is not a point.
SAMPLED = ("ra", "ta", "mia")


@dataclass(frozen=True)
class Outcome:
    """One seed of the search.

    Attributes:
        trials: how many ended well on samples.
        on_fronts: how many are on a true front, all of which have to be measured in full.
        confirmed: how many were measured in full, in how many `rounds`.
        differing: fronts that are not the true ones, as "method ua ra": true trials that are missing, and others.
        recommended: whether the recommended trial is the one among all in full.
        within: per metric, how many values in full lay within their interval, of `trials`.
        in_full, staged: seconds.
    """

    seed: int
    trials: int
    on_fronts: int
    confirmed: int
    rounds: int
    differing: dict[str, list[list[str]]]
    recommended: bool
    within: dict[str, int]
    in_full: float
    staged: float

    @property
    def equal(self) -> bool:
        return not self.differing


def space_of(retain: int, test: int) -> Space:
    """The quickstart's, measured on samples while searching."""
    plain = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    plain["evaluation"] = {"retain_samples": retain, "test_samples": test}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "space.yaml"
        file.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
        return load_space(file)


def run_seed(session: Session, space: Space, tasks: Tasks, seed: int) -> tuple[list[Record], list[Record]]:
    """Every trial of the search with this seed: as the search saw it, and in full."""
    searched, in_full = [], []
    for cell in space.cells():
        if cell.method == "retrain":
            continue
        search = CellSearch(
            cell,
            sampler=space.search.sampler,
            objectives=tuple(space.objectives),
            constraints={},
            seed=seed,
            batch=space.search.batch,
        )
        while isinstance(suggestion := search.suggest(), Suggestion):
            task = replace(tasks.searched(search, suggestion), keep=None)
            searched.append(run_trial(session, task))
            search.tell(searched[-1])
            in_full.append(run_trial(session, replace(task, fidelity="full")))
    return searched, in_full


def compare(seed: int, searched: Sequence[Record], in_full: Sequence[Record]) -> Outcome:
    """Follow the rounds, and hold the fronts of what they chose against those of all trials in full."""
    full = {record.trial: record for record in in_full}
    chosen: list[Record] = []
    rounds = 0
    while wanted := next_round([*searched, *chosen]):
        chosen += [full[trial] for trial in wanted]
        rounds += 1
    true, found = _fronts(in_full), _fronts(chosen)
    differing = {
        name: [sorted(front - found.get(name, set())), sorted(found.get(name, set()) - front)]
        for name, front in true.items()
        if front != found.get(name, set())
    }
    well = [record for record in searched if record.status == "ok"]
    return Outcome(
        seed,
        len(well),
        len(set().union(*true.values())),
        len(chosen),
        rounds,
        differing,
        recommend(trials_table(in_full)).trial == recommend(trials_table(chosen)).trial,
        {name: sum(_lies_within(record, full[record.trial], name) for record in well) for name in SAMPLED},
        _seconds(in_full),
        _seconds(searched) + _seconds(chosen),
    )


def _fronts(records: Sequence[Record]) -> dict[str, set[str]]:
    table = trials_table(records)
    return {
        f"{method} {' '.join(plane)}": set(front_rows(rows, plane)["trial"])
        for method, rows in table.groupby("method", sort=False)
        for plane in PLANES
    }


def _lies_within(searched: Record, full: Record, name: str) -> bool:
    """Whether the value in full lies within the search's interval; one that was not measured has none to leave."""
    value = full.metrics.get(name)
    low, high = searched.replicates[0]["details"]["intervals"].get(name, (None, None))
    return value is None or low is None or low - 1e-9 <= value <= high + 1e-9


def _seconds(records: Sequence[Record]) -> float:
    return sum((record.cost.get(name) or 0.0) for record in records for name in ("unlearn_seconds", "evaluate_seconds"))


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    trials = sum(one.trials for one in outcomes)
    return {
        "seeds": len(outcomes),
        "equal": sum(one.equal for one in outcomes),
        "share_on_fronts": sum(one.on_fronts for one in outcomes) / trials,
        "share_confirmed": sum(one.confirmed for one in outcomes) / trials,
        "recommended_equal": sum(one.recommended for one in outcomes),
        "within": {name: sum(one.within[name] for one in outcomes) / trials for name in SAMPLED},
        "in_full_over_staged": statistics.median(one.in_full / one.staged for one in outcomes),
    }


def table_of(outcomes: Sequence[Outcome]) -> Table:
    table = Table(title="Fronts confirmed after a search on samples, beside those of every trial in full")
    for name in (
        "seed",
        "fronts",
        "recommended",
        "trials",
        "on fronts",
        "confirmed",
        "rounds",
        "all in full",
        "staged",
    ):
        table.add_column(name, justify="left" if name == "fronts" else "right")
    for one in outcomes:
        table.add_row(
            str(one.seed),
            "equal" if one.equal else f"{len(one.differing)} of 9 differ",
            "the same" if one.recommended else "another",
            str(one.trials),
            f"{one.on_fronts} ({one.on_fronts / one.trials:.0%})",
            f"{one.confirmed} ({one.confirmed / one.trials:.0%})",
            str(one.rounds),
            f"{one.in_full:.1f} s",
            f"{one.staged:.1f} s",
        )
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds of the search, from 0 on")
    parser.add_argument("--retain", type=int, default=200, help="retained images of a sample")
    parser.add_argument("--test", type=int, default=100, help="test images of a sample")
    parser.add_argument("--storage", type=Path, default=ROOT / "runs", help="where base models and Retrain are kept")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"), help="file of the results")
    return parser.parse_args()


def main() -> None:
    arguments, console = _arguments(), Console(width=130, highlight=False)
    space = space_of(arguments.retain, arguments.test)
    settings: Mapping[str, Any] = {"retain": arguments.retain, "test": arguments.test}
    known = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.json.exists() else {}
    outcomes = [Outcome(**one) for one in known.get("outcomes", ())] if known.get("settings") == settings else []
    outcomes = [one for one in outcomes if one.seed < arguments.seeds]
    tasks, session = Tasks(space, arguments.storage), Session(arguments.storage)
    for wanted in prerequisites_of(space):
        ensure(wanted, session.store, session.dataset(wanted.setting))
    for seed in sorted(set(range(arguments.seeds)) - {one.seed for one in outcomes}):
        outcomes.append(compare(seed, *run_seed(session, space, tasks, seed)))
        told = {"settings": settings, "summary": summary(outcomes), "outcomes": [asdict(one) for one in outcomes]}
        arguments.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        last = outcomes[-1]
        console.print(f"seed {seed}: {'equal' if last.equal else last.differing}, {last.confirmed} of {last.trials}")
    outcomes.sort(key=lambda one: one.seed)
    found = summary(outcomes)
    console.print(table_of(outcomes))
    within = ", ".join(f"{name} {share:.1%}" for name, share in found["within"].items())
    console.print(
        f"{found['equal']} of {found['seeds']} seeds equal, the same recommended in {found['recommended_equal']}; "
        f"{found['share_confirmed']:.1%} of the trials were confirmed, {found['share_on_fronts']:.1%} are on a front; "
        f"values in full in their intervals: {within}; "
        f"all in full takes {found['in_full_over_staged']:.2f} times as long (median)"
    )


if __name__ == "__main__":
    main()
