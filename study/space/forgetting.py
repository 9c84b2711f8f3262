"""What forget sets of a space are: of every dataset, each once, and those of `confirm` none that the search sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import PydanticCustomError

from neglora.data import ForgetError, ForgetSet, parse_forget
from study.space.draft import Draft
from study.space.fields import read_forget
from study.space.numbers import as_number
from study.space.problems import Findings, shown

#: Of `replicates` and of `confirm` alike.
DEFAULT_SEEDS = (0,)


def check_forget_sets(draft: Draft, findings: Findings) -> None:
    """Every forget set is one of each dataset, and no two of a section are the same."""
    for dataset in draft.datasets:
        for section in ("replicates", "confirm"):
            first: dict[ForgetSet, Any] = {}
            for place, given in enumerate(draft.listed("forget", section)):
                where = (section, "forget", place)
                try:
                    forget, wanted = _read(draft, dataset, given)
                    other = first.setdefault(wanted, forget)
                except PydanticCustomError:
                    # It is no forget set of any dataset, which has been noted.
                    continue
                except ForgetError as error:
                    findings.add(where, str(error))
                    continue
                if other != forget:
                    findings.add(where, f"{shown(forget)} and {shown(other)} are one forget set of {dataset}")


def check_unseen(draft: Draft, findings: Findings) -> None:
    """No pair of `confirm` is one that the search sees."""
    for dataset in draft.datasets:
        searched = {wanted: forget for _, forget, wanted in _wanted(draft, dataset, "replicates")}
        seeds = [seed for seed in _seeds(draft, "confirm") if seed in _seeds(draft, "replicates")]
        for place, forget, wanted in _wanted(draft, dataset, "confirm"):
            if wanted in searched and seeds:
                with_seeds = f"seed{'s' if len(seeds) > 1 else ''} {' and '.join(map(str, seeds))}"
                findings.add(
                    ("confirm", "forget", place),
                    f"{shown(forget)} with {with_seeds} is what the search sees (`replicates`): "
                    "give confirm.seeds that it does not have, or forget something else",
                )


def _wanted(draft: Draft, dataset: str, section: str) -> Iterator[tuple[int, Any, ForgetSet]]:
    """The forget sets of a section without what is wrong with them, each with its place in the list."""
    for place, given in enumerate(draft.listed("forget", section)):
        try:
            yield place, *_read(draft, dataset, given)
        except (PydanticCustomError, ForgetError):
            continue


def _read(draft: Draft, dataset: str, given: Any) -> tuple[Any, ForgetSet]:
    forget = read_forget(given)
    return forget, parse_forget(draft.infos[dataset], forget)


def _seeds(draft: Draft, section: str) -> list[Any]:
    if "seeds" not in draft.section(section):
        return list(DEFAULT_SEEDS)
    return [as_number(seed) for seed in draft.listed("seeds", section)]
