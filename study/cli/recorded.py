"""A trial of a study found again by what people say of it: its record, its replicate, its surroundings, its adapter."""

from __future__ import annotations

import argparse
import difflib
import shlex
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.cli.common import UserError, data_of, forget_of
from study.place import SPACE, Place

if TYPE_CHECKING:
    from neglora.lora import Adapter
    from neglora.record import Record
    from neglora.reproduce import Difference
    from neglora.setting import Setting

#: Text with names and paths in it, as it is.
PLAIN: dict[str, Any] = {"highlight": False, "soft_wrap": True, "markup": False}
#: Of a record of subsets: what was measured on all images there are.
WHOLE = ("ua", "runner_up")
#: What records mean that do not say.
UNSAID: dict[str, Any] = {"retract": None}


def lines_of(records: list[Record], trial: str, place: Place) -> list[Record]:
    """The records of a trial that left a model: in full, or else on subsets, then that of unseen pairs.

    Raises:
        UserError: there is none.
    """
    if not records:
        raise UserError(f"{place.title} has no trials yet: there is no ledger in it, or an empty one")
    lines = {record.fidelity: record for record in records if record.trial == trial}
    if not lines:
        known = list(dict.fromkeys(record.trial for record in records))
        near = difflib.get_close_matches(trial, known, n=3, cutoff=0.5) or known[:3]
        raise UserError(f"{place.title} has no trial {trial!r}; the nearest are {', '.join(near)}")
    made = [record for record in lines.values() if any(one["status"] == "ok" for one in record.replicates)]
    if not made:
        last = list(lines.values())[-1]
        raise UserError(f"{trial} is {last.status} and left no model: {last.reason}")
    found = {record.fidelity: record for record in made}
    best = found.get("full") or found.get("search")
    return [record for record in (best, found.get("confirm")) if record is not None]


def setting_for(arguments: argparse.Namespace, study: Mapping[str, Any], record: Record) -> Setting:
    """The surroundings of a trial, with what the command line says about its data.

    Raises:
        UserError: the study's space is of another version.
    """
    from study.surroundings import setting_of

    try:
        setting = setting_of(study, record.cell["dataset"], record.cell["model"])
    except (KeyError, TypeError) as error:
        raise UserError(f"the space in {arguments.study_dir} was written by another version: {error}") from error
    return replace(setting, data=replace(setting.data, **data_of(arguments)))


def params_of(record: Record) -> dict[str, Any]:
    """The configuration of a trial; ledgers of versions that did not retract do not say that they did not."""
    from neglora.methods import METHODS

    known = {parameter.name for parameter in METHODS[record.cell["method"]].parameters}
    return {name: value for name, value in UNSAID.items() if name in known} | record.params


def adapter_for(place: Place, trial: str, replicate: Mapping[str, Any]) -> Adapter | None:
    """The adapter that the study has kept of a replicate; None where there is none."""
    from neglora.kept import adapter_file, kept_adapter

    with tempfile.TemporaryDirectory() as temporary:
        # Not from the working copy: a study that runs here may be about to publish what lies there.
        folder = Path(temporary) if place.is_remote else place.folder
        file = adapter_file(folder, trial, replicate["forget"], replicate["seed"])
        place.fetch([file.relative_to(folder).as_posix()], into=folder)
        return kept_adapter(file)


def replicate_for(arguments: argparse.Namespace, setting: Setting, lines: list[Record]) -> tuple[Record, int]:
    """The record and the number of the replicate that is asked for: the first that fits and is not diverged.

    Raises:
        UserError: there is none; the message lists those there are.
    """
    from neglora.data import parse_forget

    info = setting.dataset_info()
    asked = None if arguments.forget is None else parse_forget(info, forget_of(arguments.forget))
    for record in lines:
        for number, replicate in enumerate(record.replicates):
            fits = asked is None or parse_forget(info, replicate["forget"]) == asked
            if fits and arguments.seed in (None, replicate["seed"]) and replicate["status"] == "ok":
                return record, number
    listing = ", ".join(
        f"--forget {one['forget']} --seed {one['seed']}" + ("" if one["status"] == "ok" else f" ({one['status']})")
        for record in lines
        for one in record.replicates
    )
    raise UserError(f"{lines[0].trial} has no such replicate to export; it has {listing}")


def comparable(
    replicate: Mapping[str, Any], *, sampled: bool = False, without: Collection[str] = ()
) -> Mapping[str, Any]:
    """A replicate with those of its recorded values that can be compared.

    Args:
        replicate: as the record has it.
        sampled: it was measured on subsets. Then the values of all images are compared: D_f is whole.
        without: names of what is not measured again, such as audits.
    """
    halves = {half: replicate.get(half) or {} for half in ("metrics", "report")}
    if sampled:
        halves = {
            "metrics": {name: halves["metrics"][name] for name in WHOLE if name in halves["metrics"]},
            "report": {},
        }
    kept = {
        half: {name: value for name, value in values.items() if name not in without} for half, values in halves.items()
    }
    return {**replicate, **kept}


def verdict(found: list[Difference], changed: list[str]) -> str:
    why = f" ({'; '.join(changed)})" if changed else ""
    if not found:
        return "It measures exactly as its record says" + (f", although surroundings differ{why}" if changed else "")
    if all(difference.tolerated for difference in found):
        return f"It measures as its record says but for {len(found)} small differences, as other surroundings make{why}"
    likely = why or " (device, threads and versions are the same: was an artifact or the data changed?)"
    return f"It does not measure as its record says: {len(found)} values differ{likely}"


def making(command: str | None, place: Place, storage: str) -> str:
    if command is None:
        return shlex.join(["neglora", "run", str(place.folder / SPACE), "--storage", storage])
    return f"{command} --retrain {shlex.join(['--storage', storage])}"
