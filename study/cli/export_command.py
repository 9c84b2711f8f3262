"""`neglora export`: the model of a trial, checked against its record, as a folder; or a study's trials for Optuna."""

from __future__ import annotations

import argparse
import difflib
import shlex
import sys
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.cli.common import (
    UserError,
    add_storage_arguments,
    data_errors,
    data_of,
    fetch_study,
    forget_of,
    place_of,
    storage_of,
    user_errors,
)
from study.cli.terminal import Terminal
from study.place import SPACE, Place

if TYPE_CHECKING:
    from neglora.data import ForgetSet
    from neglora.lora import Adapter
    from neglora.record import Record
    from neglora.reproduce import Difference, Reproduced
    from neglora.session import Session
    from neglora.setting import Setting

EPILOG = """\
Adapters of trials on a front are kept and only merged again; other trials run again from their record. Either way the
model is measured and compared with the record, and nothing is written where they disagree: on the same device,
threads and versions every number has to be equal, elsewhere accuracies may differ by two images. --force writes it
anyway, and the card says so. Of a trial that was searched on subsets only, what is known of all forgotten images is
compared, and the card has the numbers in full.

examples:
  neglora export runs/quickstart --trial digits-tinyvit_nano-neglora-0007 --to unlearned/
  neglora export runs/photos --trial ID --forget cat --seed 1 --to unlearned/
  neglora export runs/photos --trial ID --forget '[cat, dog]' --to unlearned/
  neglora export runs/quickstart --optuna sqlite:///study.db        then: optuna-dashboard sqlite:///study.db
"""

#: Text with names and paths in it, as it is.
PLAIN: dict[str, Any] = {"highlight": False, "soft_wrap": True, "markup": False}
#: Of a record of subsets: what was measured on all images there are.
WHOLE = ("ua", "runner_up")
#: What follows from clocks.
CLOCKED = ("rte", "rte_epoch", "speedup")
#: The run did what it should, and the outcome is not what the record says.
DISAGREES = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study_dir", metavar="STUDY_DIR", help="the study's folder or URI")
    parser.add_argument("--trial", metavar="ID", help="of the ledger, such as the recommended one")
    parser.add_argument("--forget", metavar="CLASS", help="the replicate's forget set (default: the first replicate's)")
    parser.add_argument("--seed", type=int, metavar="S", help="the replicate's seed (default: the first that fits)")
    parser.add_argument("--to", type=Path, metavar="DIR", help="a new folder, or an earlier export")
    parser.add_argument(
        "--optuna", metavar="URL", help="instead of a model, write every cell's trials to this database for Optuna"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="write the model even if it is not as its record says; with --optuna, replace studies of the same names",
    )
    add_storage_arguments(parser, storage=None, said="the folder that holds STUDY_DIR")


def main(arguments: argparse.Namespace) -> int:
    from neglora.ascend import Diverged
    from neglora.export import ExportError, check_folder
    from neglora.storage import StorageError
    from study.ledger import LedgerError

    _check(arguments)
    place = place_of(arguments.study_dir)
    study = fetch_study(place)
    with user_errors(LedgerError, StorageError):
        records = place.read_ledger()
    if arguments.optuna:
        return _export_optuna(arguments, place, study, records)
    lines = _lines(records, arguments.trial, place)
    with user_errors(*data_errors(), StorageError, ExportError, Diverged):
        check_folder(arguments.to)
        return _export(arguments, place, study, lines, records)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Raises:
        UserError: neither a whole trial nor a database was asked for, or both.
    """
    of_model = {name: getattr(arguments, name) for name in ("trial", "to", "forget", "seed")}
    if arguments.optuna:
        given = [f"--{name}" for name, value in of_model.items() if value is not None]
        if given:
            raise UserError(f"{', '.join(given)} and --optuna do not go together: --optuna writes all trials")
        return
    missing = [words for name, words in (("trial", "--trial ID"), ("to", "--to DIR")) if of_model[name] is None]
    if missing:
        raise UserError(f"say {' and '.join(missing)} for the model of a trial, or --optuna URL for all trials")


def _export_optuna(arguments: argparse.Namespace, place: Place, study: Mapping[str, Any], records: list[Record]) -> int:
    from study.optuna_export import OptunaExportError, export, shown
    from study.space.cells import cells_of

    if not records:
        raise UserError(f"{place.title} has no trials yet: there is no ledger in it, or an empty one")
    try:
        cells = cells_of(study)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"the space in {place.title} was written by another version: {error!r}") from error
    console = Terminal()
    with (
        user_errors(OptunaExportError),
        console.status("writing") if console.is_terminal else nullcontext(),
    ):
        written = export(study, cells, records, arguments.optuna, replace=arguments.force)
    trials = sum(one.trials for one in written)
    console.print(f"{len(written)} studies with {trials} trials are in {shown(arguments.optuna)}", **PLAIN)
    console.print(f"To look at them: optuna-dashboard {shlex.quote(shown(arguments.optuna))}", **PLAIN)
    return 0


def _lines(records: list[Record], trial: str, place: Place) -> list[Record]:
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


def _export(
    arguments: argparse.Namespace, place: Place, study: Mapping[str, Any], lines: list[Record], records: list[Record]
) -> int:
    from neglora.card import card, result_of
    from neglora.data import parse_forget
    from neglora.export import write_export
    from neglora.prerequisites import base_of, find
    from neglora.reproduce import changed_surroundings, differences, reproduce, reproduce_retrain
    from neglora.session import Session
    from study.recommend import reproduce_command

    console = Terminal()
    storage = storage_of(arguments.storage, writes=False) if arguments.storage else place.storage
    method = lines[0].cell["method"]
    setting = _setting(arguments, study, lines[0])
    record, number = _replicate(arguments, setting, lines)
    replicate = record.replicates[number]
    sampled = record.fidelity == "search"
    command = reproduce_command(record, study, number) if method != "retrain" else None
    session = Session(storage, commits=False)
    info = session.dataset(setting).info
    forget = parse_forget(info, replicate["forget"])
    try:
        if method == "retrain":
            again = reproduce_retrain(session, setting, replicate)
        else:
            adapter = _kept(place, record.trial, replicate)
            if adapter is None:
                console.print(f"{record.trial} has no kept adapter and runs again", **PLAIN)
            again = reproduce(session, setting, method, record.params, replicate, adapter)
        measured = _in_full(session, setting, forget, replicate, again) if sampled else _as_measured(replicate, again)
        result = result_of(session, setting, method, record.params, forget, measured)
    except LookupError as error:
        raise UserError(f"{error.args[0]}. This makes it again:\n  {_making(command, place, storage)}") from error
    changed = changed_surroundings(record, replicate, session, setting)
    recorded = _comparable(replicate) if sampled else replicate
    found = differences(recorded, again, exact=not changed and (again.from_kept or session.device.type == "cpu"))
    words = _verdict(found, changed)
    if sampled:
        words = f"Its record is of subsets, and was compared in what it says of all forgotten images. {words}"
    refused = any(not difference.tolerated for difference in found)
    for difference in found:
        print(f"neglora: {difference}", file=sys.stderr)
    if refused and not arguments.force:
        print(f"neglora: {words}. Nothing was written; --force writes the model as it is now", file=sys.stderr)
        return DISAGREES
    merge = record.params.get("merge")
    parts = again.adapter if merge == "dense" else None
    wanted = base_of(setting, replicate["seed"], record.params["sparsity"]) if method != "retrain" else None
    # A session holds no weights beside its models'.
    base = find(wanted, session.store, session.dataset(setting)) if wanted else None
    made = card(
        result
        | {"study": study["study"], "trial": record.trial, "command": command}
        | {"checked": {"words": words + ".", "changed": changed, "differences": [str(one) for one in found]}}
        | {"confirmed": _confirmed(record, records)},
        setting=setting,
        dataset=session.dataset(setting),
        forget=forget,
        base=base,
        adapter=again.adapter,
        merge=merge,
    )
    names = write_export(arguments.to, again.model, made, base=base.tensors if base else None, adapter=parts)
    console.print(f"{words}.", **PLAIN)
    console.print(f"{arguments.to} holds {', '.join(names)}", **PLAIN)
    return 0


def _setting(arguments: argparse.Namespace, study: Mapping[str, Any], record: Record) -> Setting:
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


def _kept(place: Place, trial: str, replicate: Mapping[str, Any]) -> Adapter | None:
    """The adapter that the study has kept of a replicate; None where there is none."""
    from neglora.kept import adapter_file, kept_adapter

    with tempfile.TemporaryDirectory() as temporary:
        # Not from the working copy: a study that runs here may be about to publish what lies there.
        folder = Path(temporary) if place.is_remote else place.folder
        file = adapter_file(folder, trial, replicate["forget"], replicate["seed"])
        place.fetch([file.relative_to(folder).as_posix()], into=folder)
        return kept_adapter(file)


def _replicate(arguments: argparse.Namespace, setting: Setting, lines: list[Record]) -> tuple[Record, int]:
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


def _confirmed(record: Record, records: list[Record]) -> dict[str, Any] | None:
    """What the trial came to on pairs that its search never saw; None where it was not tried on any."""
    from study.carried import RULE, as_plain, carried, in_words

    for one in carried(records, str(record.cell["dataset"]), str(record.cell["model"])):
        if one.trial == record.trial:
            return {"words": f"{in_words(one)} {RULE}", **as_plain(one)}
    return None


def _comparable(replicate: Mapping[str, Any]) -> dict[str, Any]:
    """A replicate that was measured on subsets, with those of its values that are of all images: D_f is whole."""
    whole = {name: value for name, value in replicate["metrics"].items() if name in WHOLE}
    return {**replicate, "metrics": whole, "report": {}}


def _in_full(
    session: Session, setting: Setting, forget: ForgetSet, replicate: Mapping[str, Any], again: Reproduced
) -> dict[str, Any]:
    """A replicate that was measured on subsets as it is in full; its clocks stay as they were recorded."""
    from neglora.evaluation import with_reference
    from neglora.replicate import reference

    retrained = reference(session, setting, forget, replicate["seed"])
    oracle = retrained[0] if retrained else None
    timed = {name: replicate["metrics"].get(name) for name in CLOCKED}
    details = {name: value for name, value in replicate["details"].items() if name not in ("intervals", "attack")}
    return {
        **replicate,
        "metrics": with_reference(again.metrics, oracle.metrics if oracle else None) | timed,
        "report": with_reference(again.report, oracle.report if oracle else None) | timed,
        "details": details | {"counts": again.counts},
    }


def _as_measured(replicate: Mapping[str, Any], again: Reproduced) -> dict[str, Any]:
    """The recorded replicate with what was measured now; what follows from clocks stays as it was recorded."""
    return {
        **replicate,
        "metrics": {**replicate["metrics"], **again.metrics},
        "report": {**replicate["report"], **again.report},
    }


def _verdict(found: list[Difference], changed: list[str]) -> str:
    why = f" ({'; '.join(changed)})" if changed else ""
    if not found:
        return "It measures exactly as its record says" + (f", although surroundings differ{why}" if changed else "")
    if all(difference.tolerated for difference in found):
        return f"It measures as its record says but for {len(found)} small differences, as other surroundings make{why}"
    likely = why or " (device, threads and versions are the same: was an artifact or the data changed?)"
    return f"It does not measure as its record says: {len(found)} values differ{likely}"


def _making(command: str | None, place: Place, storage: str) -> str:
    if command is None:
        return shlex.join(["neglora", "run", str(place.folder / SPACE), "--storage", storage])
    return f"{command} --retrain {shlex.join(['--storage', storage])}"
