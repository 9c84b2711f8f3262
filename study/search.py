"""The search over one cell: which configuration trial n gets, and when it may be asked for.

Trial n follows from the cell's trials 0..n-batch and from nothing that depends on time, so that it is the same for one
worker or twenty and after a kill. The trials between n-batch and n count as running for the sampler, whether they have
ended or not.

A run of several epochs passes through runs of fewer. Where these are trials too they ride along: configurations that
were listed and differ in `epochs` alone; and, where snapshots are asked for, the fewer epochs that the space lists, as
the trials n+1, n+2, ... behind trial n. Such a trial is known with the one that it rides in, and counts as any other:
in the budget, and in the batch, of which a run of two trials takes two places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from optuna.trial import TrialState

from neglora.objectives import METRICS
from neglora.record import Record, Status, configuration_key
from neglora.seeds import derive_seed
from study.dimensions import Choice, point, shuffled, size_of
from study.samplers import OF_STUDY, SAMPLERS, ask
from study.suggestions import Counts, Finished, SearchedCell, SearchError, Suggestion, Waiting
from study.told import Constraints, KnownTrial, is_of, known_trial, outside, searched_records, told_trial

#: How often a sampler that repeats itself is asked, and how often chance is then, where the space is continuous; in a
#: finite one the first new point of a seeded order is as random and found at once.
ASKS, DRAWS = 11, 100


class CellSearch:
    """Hands out the trials of one cell in the order of their numbers.

    Args:
        cell: what is searched.
        sampler: a key of SAMPLERS.
        objectives: names of metrics, each searched in its own direction.
        constraints: bounds on metrics, `{"ua": {"min": 0.95}}`.
        seed: the seed of the search, the same for all cells.
        batch: trial n follows from trials 0..n-batch: at least this many can run at once.
        budget: trials of the cell, explicit and failed ones too; that of the cell if None.
        snapshots: a suggested trial brings along those of fewer epochs that the space lists and that are new.

    Raises:
        SearchError: an unknown sampler or metric, a batch or budget below 1, a grid over a continuous range, a list
            that repeats a value, an explicit configuration that leaves a dimension open or has an unknown parameter.
    """

    def __init__(
        self,
        cell: SearchedCell,
        *,
        sampler: str,
        objectives: Sequence[str],
        constraints: Constraints,
        seed: int,
        batch: int,
        budget: int | None = None,
        snapshots: bool = False,
    ) -> None:
        self.cell = cell
        self.budget = cell.trials if budget is None else budget
        self._sampler_name = sampler
        self._objectives = tuple(objectives)
        self._constraints = {name: dict(bounds) for name, bounds in constraints.items()}
        self._seed = seed
        self._batch = batch
        self._snapshots = snapshots
        self._size = size_of(cell.dimensions)
        self._check()
        self._explicit = self._distinct(cell.configurations)
        # Numbers of explicit configurations that differ in epochs alone.
        self._families: dict[str, list[int]] = {}
        for number, params in enumerate(self._explicit):
            self._families.setdefault(self._family(params), []).append(number)
        # By trial number: what has been handed out or stands in the ledger, and what has ended.
        self._params: dict[int, dict[str, Any]] = {}
        self._noted: dict[int, dict[str, Any]] = {}
        self._told: dict[int, KnownTrial] = {}
        self._status: dict[int, Status] = {}
        # The first number of every configuration that was ever known, by key; keys of those that are of the space.
        self._holder: dict[str, int] = {}
        self._covered: set[str] = set()
        # Everything below has been handed out, has been told, is held by a trial: so that nothing is counted twice.
        self._next = self._prefix = self._place = 0
        # The first suggested trial of which it is not settled yet which ones behind it ride along.
        self._leader = len(self._explicit)

    def restore(self, records: Iterable[Record]) -> None:
        """Take up what a ledger holds of this cell, in any order and with any gaps; the rest is left out."""
        for record in searched_records(self.cell.id, records):
            self._take(record)

    def suggest(self) -> Suggestion | Waiting | Finished:
        """The next trial to run, the lowest number that is neither in the ledger nor handed out, with those in its run.

        Of a run's trials the one of most epochs is the suggestion, and the others are its `passing`.
        """
        number = self._next_number()
        if number >= self.budget:
            return Finished(f"all {self.budget} trials of the budget were handed out", exhausted=False)
        if self._is_explicit(number):
            return self._hand_out(self._listed_with(number))
        leader = self._leader_of(number)
        if leader < number:
            return self._hand_out(self._riding(leader, self._params[leader], self._noted[leader]))
        if self.exhausted:
            return Finished(f"all {self._size} configurations of the space were handed out", exhausted=True)
        if self._told_prefix() < self._known_before(number):
            return Waiting(number, until=number - self._batch)
        searched, noted = self._derive(number)
        own = Suggestion(number, {**self.cell.fixed, **searched}, noted)
        return self._hand_out([own, *self._riding(number, own.params, noted)])

    def tell(self, record: Record) -> None:
        """Take up the record of a trial that was handed out.

        Raises:
            SearchError: a record of another cell, a confirmation, or a trial that was not handed out or already told.
        """
        number = record.number
        if not is_of(self.cell.id, record):
            raise SearchError(f"{record.trial} ({record.fidelity}) is no search trial of cell {self.cell.id}")
        if number not in self._params or number in self._told:
            raise SearchError(f"{record.trial} was {'told before' if number in self._told else 'never handed out'}")
        self._take(record)

    @property
    def exhausted(self) -> bool:
        """The space is finite, every configuration of it was handed out, and the budget has not been reached."""
        number = self._next_number()
        if number >= self.budget or self._is_explicit(number):
            return False
        return self._size is not None and len(self._covered) >= self._size

    @property
    def done(self) -> bool:
        """Whatever was handed out has been told, and nothing more will come."""
        return len(self._told) == len(self._params) and (self._next_number() >= self.budget or self.exhausted)

    @property
    def counts(self) -> Counts:
        statuses = list(self._status.values())
        running = len(self._params) - len(self._told)
        return Counts(self.budget, statuses.count("ok"), statuses.count("diverged"), statuses.count("failed"), running)

    def _check(self) -> None:
        if self._sampler_name not in SAMPLERS:
            raise SearchError(f"unknown sampler {self._sampler_name!r}, expected one of {', '.join(SAMPLERS)}")
        if not self._objectives:
            raise SearchError("a search needs at least one objective")
        unknown = [name for name in (*self._objectives, *self._constraints) if name not in METRICS]
        if unknown:
            raise SearchError(f"unknown metric {unknown[0]!r}, expected one of {', '.join(METRICS)}")
        if self._batch < 1 or self.budget < 1:
            raise SearchError(f"batch and trials should be 1 or more, got {self._batch} and {self.budget}")
        for name, dimension in self.cell.dimensions.items():
            if isinstance(dimension, Choice) and [*map(dimension.index, dimension.values)] != [*range(dimension.size)]:
                raise SearchError(f"the list of {name} in {self.cell.id} repeats a value: {list(dimension.values)}")
        if self._sampler_name == "grid" and self._size is None:
            ranges = [name for name, dimension in self.cell.dimensions.items() if dimension.size is None]
            raise SearchError(f"a grid needs lists, but {', '.join(ranges)} of {self.cell.id} is a continuous range")

    def _distinct(self, configurations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        distinct: dict[str, dict[str, Any]] = {}
        for configuration in configurations:
            missing = [name for name in self.cell.dimensions if name not in configuration]
            if missing:
                raise SearchError(f"a configuration of {self.cell.id} says nothing about {', '.join(missing)}")
            unknown = [name for name in configuration if name not in {**self.cell.dimensions, **self.cell.fixed}]
            if unknown:
                raise SearchError(f"a configuration of {self.cell.id} gives unknown {', '.join(unknown)}")
            params = {**self.cell.fixed, **configuration}
            distinct.setdefault(self._key(params), params)
        return list(distinct.values())

    def _key(self, params: Mapping[str, Any]) -> str:
        """Equal for equal configurations, whatever else a record may hold."""
        return configuration_key({name: params.get(name) for name in (*self.cell.dimensions, *self.cell.fixed)})

    def _know(self, number: int, params: dict[str, Any], noted: dict[str, Any]) -> None:
        self._params[number], self._noted[number] = params, noted
        key = self._key(params)
        self._holder[key] = min(number, self._holder.get(key, number))
        if not outside(self.cell, params):
            self._covered.add(key)

    def _take(self, record: Record) -> None:
        # What the ledger says was run counts, even where another version of Optuna would suggest something else.
        self._know(record.number, record.params, record.sampler)
        self._status[record.number] = record.status
        self._told[record.number] = told_trial(record, self.cell, self._objectives, self._constraints)

    def _next_number(self) -> int:
        while self._next in self._params:
            self._next += 1
        return self._next

    def _told_prefix(self) -> int:
        while self._prefix in self._told:
            self._prefix += 1
        return self._prefix

    def _known_before(self, number: int) -> int:
        """How many trials, from 0 on, the suggestion of trial `number` follows from."""
        return max(0, number - self._batch + 1) if SAMPLERS[self._sampler_name].learns else 0

    def _is_explicit(self, number: int) -> bool:
        return number < len(self._explicit) and self._key(self._explicit[number]) not in self._holder

    def _hand_out(self, run: Sequence[Suggestion]) -> Suggestion:
        """The trials of one run as one suggestion; those that are known already are left out."""
        new = [trial for trial in run if trial.number not in self._params]
        for trial in new:
            self._know(trial.number, trial.params, trial.system_attrs)
        copies = [Suggestion(trial.number, dict(trial.params), dict(trial.system_attrs)) for trial in new]
        *passing, own = sorted(copies, key=lambda trial: trial.params.get("epochs", 0))
        return replace(own, passing=tuple(passing))

    def _listed_with(self, number: int) -> list[Suggestion]:
        """Explicit configurations that differ from that of trial `number` in epochs alone, and itself."""
        return [
            Suggestion(other, self._explicit[other], self._first_notes(other))
            for other in self._families[self._family(self._explicit[number])]
            if other < self.budget and self._is_explicit(other)
        ]

    def _family(self, params: Mapping[str, Any]) -> str:
        return self._key({**params, "epochs": None})

    def _leader_of(self, number: int) -> int:
        """The trial in whose run trial `number` is, or itself; all trials before it are known."""
        while self._leader < number:
            leader = self._leader
            last = leader + len(self._riding(leader, self._params[leader], self._noted[leader]))
            if number <= last:
                return leader
            self._leader = last + 1
        return number

    def _riding(self, number: int, params: Mapping[str, Any], noted: Mapping[str, Any]) -> list[Suggestion]:
        """The trials behind suggested trial `number` that ride in its run, known ones too, as far as the budget goes.

        They are of its generation, where the sampler notes one.
        """
        listed = self.cell.dimensions.get("epochs")
        if not self._snapshots or number < len(self._explicit) or not isinstance(listed, Choice):
            return []
        if not listed.contains(params.get("epochs")):
            return []
        riding: list[Suggestion] = []
        for epochs in sorted(value for value in listed.values if value < params["epochs"]):
            place, passed = number + 1 + len(riding), {**params, "epochs": epochs}
            holder = self._holder.get(self._key(passed))
            if holder is None and (place in self._params or place >= self.budget):
                break
            if holder in (None, place):
                own = {name: note for name, note in noted.items() if not name.startswith(OF_STUDY)}
                riding.append(Suggestion(place, passed, own))
        return riding

    def _first_notes(self, number: int) -> dict[str, Any]:
        """What a sampler notes about a trial before it knows any: NSGA counts it to its first generation."""
        if SAMPLERS[self._sampler_name].make is None:
            return {}
        return self._ask(self._sampler_name, [], number, "explicit")[1]

    def _derive(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The suggestion for trial `number`: the first configuration that the cell has not had.

        Configurations of later trials, which a ledger holds when earlier ones were lost or set aside, are avoided too.
        That changes no suggestion: the later ones were chosen to differ from this one.
        """
        noted: dict[str, Any] = {}
        if SAMPLERS[self._sampler_name].make is not None:
            trials = self._trials_before(number)
            for attempt in range(ASKS):
                searched, noted = self._ask(self._sampler_name, trials, number, attempt)
                if self._is_new(searched):
                    return searched, noted
        if self._size is not None:
            return self._first_unseen(self._size), noted
        for draw in range(DRAWS):
            searched, _ = self._ask("random", [], number, "draw", draw)
            if self._is_new(searched):
                return searched, noted
        raise SearchError(f"{ASKS + DRAWS} suggestions in a row for {self.cell.id} were not new: widen its ranges")

    def _first_unseen(self, size: int) -> dict[str, Any]:
        """The first new point in the cell's own seeded order; there is one, for the space is not exhausted."""
        order = derive_seed(self._seed, self.cell.id, "order")
        while True:
            searched = point(self.cell.dimensions, shuffled(self._place, size, order))
            if self._is_new(searched):
                return searched
            self._place += 1

    def _trials_before(self, number: int) -> list[KnownTrial]:
        if not SAMPLERS[self._sampler_name].learns:
            return []
        told = self._known_before(number)
        running = [
            known_trial(self._params[earlier], self.cell.dimensions, TrialState.RUNNING, self._noted[earlier])
            for earlier in range(told, number)
        ]
        return [self._told[earlier] for earlier in range(told)] + running

    def _ask(
        self, sampler: str, trials: Sequence[KnownTrial], number: int, *stream: object
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        seed = derive_seed(self._seed, self.cell.id, number, *stream)
        return ask(SAMPLERS[sampler], self.cell.dimensions, self._objectives, trials, seed=seed, budget=self.budget)

    def _is_new(self, searched: Mapping[str, Any]) -> bool:
        return self._key({**self.cell.fixed, **searched}) not in self._holder
