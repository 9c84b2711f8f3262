"""`neglora export`: the model of a trial, checked against its record, as a folder; or a study's trials for Optuna."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.cli.common import (
    UserError,
    add_storage_arguments,
    data_errors,
    fetch_study,
    place_of,
    storage_of,
    user_errors,
)
from study.cli.recorded import (
    PLAIN,
    adapter_for,
    comparable,
    lines_of,
    making,
    params_of,
    replicate_for,
    setting_for,
    verdict,
)
from study.cli.terminal import Terminal
from study.place import Place

if TYPE_CHECKING:
    from neglora.data import ForgetSet
    from neglora.line import Line
    from neglora.record import Record
    from neglora.reproduce import Reproduced
    from neglora.session import Session
    from neglora.setting import Setting

EPILOG = """\
Adapters of trials on a front are kept and only merged again; other trials run again from their record. Either way the
model is measured and compared with the record, and nothing is written where they disagree: on the same device,
threads and versions every number has to be equal, elsewhere accuracies may differ by two images. --force writes it
anyway, and the card says so. Of a trial that was searched on subsets only, what is known of all forgotten images is
compared, and the card has the numbers in full.

--scale S takes the model at another scale of the same ascent, from 0 (the base) to 1 (the full ascent): see neglora
dial. The recorded one is checked first; the card has the numbers of the model that is written.

examples:
  neglora export runs/quickstart --trial digits-tinyvit_nano-neglora-0007 --to unlearned/
  neglora export runs/photos --trial ID --forget cat --seed 1 --to unlearned/
  neglora export runs/photos --trial ID --forget '[cat, dog]' --to unlearned/
  neglora export runs/quickstart --trial ID --scale 0.25 --to unlearned/
  neglora export runs/quickstart --optuna sqlite:///study.db        then: optuna-dashboard sqlite:///study.db
"""

#: What follows from clocks.
CLOCKED = ("rte", "rte_epoch", "speedup")
#: The run did what it should, and the outcome is not what the record says.
DISAGREES = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study_dir", metavar="STUDY_DIR", help="the study's folder or URI")
    parser.add_argument("--trial", metavar="ID", help="of the ledger, such as the recommended one")
    parser.add_argument("--forget", metavar="CLASS", help="the replicate's forget set (default: the first replicate's)")
    parser.add_argument("--seed", type=int, metavar="S", help="the replicate's seed (default: the first that fits)")
    parser.add_argument("--scale", type=float, metavar="S", help="of the ascent's update (default: as recorded)")
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
    from neglora.line import ScaleError, checked
    from neglora.storage import StorageError
    from study.ledger import LedgerError

    _check(arguments)
    place = place_of(arguments.study_dir)
    study = fetch_study(place)
    with user_errors(LedgerError, StorageError):
        records = place.read_ledger()
    if arguments.optuna:
        return _export_optuna(arguments, place, study, records)
    lines = lines_of(records, arguments.trial, place)
    with user_errors(*data_errors(), StorageError, ExportError, Diverged, ScaleError):
        check_folder(arguments.to)
        if arguments.scale is not None:
            checked(arguments.scale)
        return _export(arguments, place, study, lines, records)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Raises:
        UserError: neither a whole trial nor a database was asked for, or both.
    """
    of_model = {name: getattr(arguments, name) for name in ("trial", "to", "forget", "seed", "scale")}
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


def _export(
    arguments: argparse.Namespace, place: Place, study: Mapping[str, Any], lines: list[Record], records: list[Record]
) -> int:
    from neglora.card import card, result_of
    from neglora.data import parse_forget
    from neglora.export import write_export
    from neglora.line import lets_statistics_go, line_of, recorded_scale
    from neglora.prerequisites import base_of, find
    from neglora.reproduce import changed_surroundings, differences, reproduce, reproduce_along, reproduce_retrain
    from neglora.session import Session
    from study.recommend import reproduce_command

    console = Terminal()
    storage = storage_of(arguments.storage, writes=False) if arguments.storage else place.storage
    method = lines[0].cell["method"]
    params = params_of(lines[0])
    setting = setting_for(arguments, study, lines[0])
    record, number = replicate_for(arguments, setting, lines)
    replicate = record.replicates[number]
    sampled = record.fidelity == "search"
    command = reproduce_command(record, study, number) if method != "retrain" else None
    session = Session(storage, commits=False)
    info = session.dataset(setting).info
    forget = parse_forget(info, replicate["forget"])
    line: Line | None = None
    try:
        if method == "retrain":
            if arguments.scale is not None:
                raise UserError("Retrain is trained without D_f: it has no update, and no --scale")
            again = reproduce_retrain(session, setting, replicate)
        else:
            adapter = adapter_for(place, record.trial, replicate)
            if adapter is None:
                console.print(f"{record.trial} has no kept adapter and runs again", **PLAIN)
            if arguments.scale is None:
                again = reproduce(session, setting, method, params, replicate, adapter)
            else:
                line = line_of(session, setting, method, params, replicate, adapter)
                again, _ = reproduce_along(line, recorded_scale(replicate))
        measured = _in_full(session, setting, forget, replicate, again) if sampled else _as_measured(replicate, again)
    except LookupError as error:
        raise UserError(f"{error.args[0]}. This makes it again:\n  {making(command, place, storage)}") from error
    changed = changed_surroundings(record, replicate, session, setting)
    # Audits take longer than the rest, and a model at another scale is not audited.
    unasked = (study.get("audits") or ()) if line is not None else ()
    compared = comparable(replicate, sampled=sampled, without=unasked)
    found = differences(compared, again, exact=not changed and (again.from_kept or session.device.type == "cpu"))
    words = verdict(found, changed)
    if sampled:
        words = f"Its record is of subsets, and was compared in what it says of all forgotten images. {words}"
    refused = any(not difference.tolerated for difference in found)
    for difference in found:
        print(f"neglora: {difference}", file=sys.stderr)
    if refused and not arguments.force:
        print(f"neglora: {words}. Nothing was written; --force writes the model as it is now", file=sys.stderr)
        return DISAGREES
    extra: dict[str, Any] = {"confirmed": _confirmed(record, records)}
    if line is not None:
        again, details = reproduce_along(line, arguments.scale)
        measured = _in_full(session, setting, forget, replicate, again) | {"details": _rescaled(replicate, details)}
        recorded = recorded_scale(replicate)
        words = f"At its recorded scale of {recorded:g}: {words[0].lower()}{words[1:]}"
        command = _command(arguments, place, replicate)
        # What was tried on unseen pairs is the configuration as it was recorded.
        extra = {"confirmed": None, "scale": {"written": arguments.scale, "recorded": recorded}}
    result = result_of(session, setting, method, params, forget, measured)
    merge = params.get("merge")
    wanted = base_of(setting, replicate["seed"], params["sparsity"]) if method != "retrain" else None
    # A session holds no weights beside its models'.
    base = find(wanted, session.store, session.dataset(setting)) if wanted else None
    # Base and adapter together are the model, unless something beside the adapter changes it.
    whole = merge == "dense" and not lets_statistics_go(again.model, params)
    parts = again.adapter if whole else None
    made = card(
        result
        | {"study": study["study"], "trial": record.trial, "command": command}
        | {"checked": {"words": words + ".", "changed": changed, "differences": [str(one) for one in found]}}
        | extra,
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


def _rescaled(replicate: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
    """Details of a replicate's model at another scale; what is of the ascent itself stays as it was recorded."""
    then = replicate["details"]
    ascent = {name: then[name] for name in ("loss_before", "steps", "epochs") if name in then}
    return ascent | dict(details) | {"sparsity": {**(then.get("sparsity") or {}), **details["sparsity"]}}


def _command(arguments: argparse.Namespace, place: Place, replicate: Mapping[str, Any]) -> str:
    """The command that makes the model at this scale again."""
    words = ["neglora", "export", place.title, "--trial", arguments.trial]
    words += ["--forget", arguments.forget] if arguments.forget is not None else []
    words += ["--seed", str(replicate["seed"]), "--scale", repr(arguments.scale), "--to", str(arguments.to)]
    for name in ("storage", "data_root"):
        given = getattr(arguments, name)
        words += [f"--{name.replace('_', '-')}", given] if given else []
    return shlex.join(words)


def _confirmed(record: Record, records: list[Record]) -> dict[str, Any] | None:
    """What the trial came to on pairs that its search never saw; None where it was not tried on any."""
    from study.carried import RULE, as_plain, carried, in_words

    for one in carried(records, str(record.cell["dataset"]), str(record.cell["model"])):
        if one.trial == record.trial:
            return {"words": f"{in_words(one)} {RULE}", **as_plain(one)}
    return None


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
