"""`neglora unlearn`: one configuration, its metrics beside base and Retrain, and the model itself."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from neglora.objectives import AUDIT_METRICS
from study.cli.common import UserError, add_storage_arguments, data_errors, storage_of, user_errors
from study.cli.settings import settings_of
from study.cli.terminal import Terminal

if TYPE_CHECKING:
    from neglora.data import ForgetSet
    from neglora.methods import Unlearned
    from neglora.prerequisites import Prerequisite
    from neglora.session import Session
    from neglora.setting import Setting

EPILOG = """\
Unless told otherwise the ascent goes too far on purpose and is then retracted to
the smallest share of its update that still forgets (--set retract=null keeps all).
--set takes the method's parameters (neglora list) and, before a dot, sections of a search space: training, data,
architecture, evaluation and selection. --to writes the merged model, its base, the adapter in peft's format, and a
card that says how to load them.

examples:
  neglora unlearn --dataset digits --model tinyvit_nano --method neglora --forget 3 \\
      --retrain --to unlearned/
  neglora unlearn --dataset imagefolder:photos --model resnet50 --weights mine.safetensors --method neglora \\
      --forget cat --set lr=1e-3 --set data.image_size=64 --to unlearned/
  neglora unlearn --dataset digits --model tinyvit_nano --method neglora --paper --forget '[3, 5]'
  neglora unlearn --dataset digits --model tinyvit_nano --method neggrad --forget '{random: 0.1, seed: 0}'
"""

#: Metrics of the printed table, in the paper's order, then what the paper does not show.
SHOWN = ("ua", "mia", "ra", "ta", "ua_test", "runner_up", "gap", "tow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True, metavar="D")
    parser.add_argument("--model", required=True, metavar="M")
    parser.add_argument("--method", required=True, metavar="K")
    parser.add_argument(
        "--forget", required=True, metavar="CLASS", help="class by name or index, '[3, 5]' or '{random: 0.1}'"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="fixes everything that is drawn (default: 0)")
    parser.add_argument(
        "--weights", metavar="FILE", help="start from this model's weights instead of training a base; or 'pretrained'"
    )
    parser.add_argument("--paper", action="store_true", help="the paper's settings (its Table 4), not retracted")
    parser.add_argument("--retrain", action="store_true", help="make Retrain, the reference, where it is missing")
    parser.add_argument(
        "--holdout",
        type=float,
        default=0.0,
        metavar="H",
        help="measure on the share H of the test images, as a study's report does (default: 0, the whole test set)",
    )
    parser.add_argument(
        "--audit",
        action="append",
        default=[],
        metavar="NAME",
        help="ask whether the class is gone or only hidden: relearn or probe (neglora list); may be repeated",
    )
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="a parameter; may be repeated")
    parser.add_argument("--to", type=Path, metavar="DIR", help="write the unlearned model there")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the computation (default: 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    add_storage_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    console = Terminal(stderr=arguments.json)
    from neglora.artifacts import ArtifactError
    from neglora.export import ExportError, check_folder
    from neglora.storage import StorageError
    from neglora.train import TrainingDiverged

    with user_errors(*data_errors(), ArtifactError, StorageError, TrainingDiverged, ExportError):
        if arguments.to:
            check_folder(arguments.to)
        return _unlearn(arguments, console)


def _unlearn(arguments: argparse.Namespace, console: Console) -> int:
    from neglora.card import result_of
    from neglora.data import parse_forget
    from neglora.hardware import use_threads
    from neglora.prerequisites import base_of, retrain_of
    from neglora.replicate import run_replicate
    from neglora.session import Session

    setting, params, given = settings_of(arguments)
    forget = parse_forget(setting.dataset_info(), given)
    session = Session(storage_of(arguments.storage))
    use_threads(setting.threads)
    if damage := session.dataset(setting).damage:
        console.print(damage, style="yellow", highlight=False, markup=False)
    wanted = [base_of(setting, arguments.seed, params["sparsity"])]
    if arguments.retrain:
        wanted.append(retrain_of(setting, arguments.seed, forget))
    _ensure(session, wanted, console)
    replicate, unlearned = run_replicate(session, setting, arguments.method, params, given, arguments.seed)
    if unlearned is None:
        raise UserError(f"the ascent diverged: {replicate['reason']}; lower lr or epochs")
    result = result_of(session, setting, arguments.method, params, forget, replicate)
    if arguments.to:
        _write(arguments.to, session, setting, forget, unlearned, result)
    if arguments.json:
        json.dump(result, sys.stdout, allow_nan=False)
        sys.stdout.write("\n")
    else:
        _print(console, result, arguments)
    return 0


def _write(
    folder: Path,
    session: Session,
    setting: Setting,
    forget: ForgetSet,
    unlearned: Unlearned,
    result: Mapping[str, Any],
) -> None:
    """The same files as `neglora export` writes."""
    from neglora.card import card
    from neglora.export import write_export
    from neglora.line import lets_statistics_go
    from neglora.prerequisites import base_of, ensure

    params = result["params"]
    # There by now; the session holds no weights beside its models'.
    base = ensure(base_of(setting, params["seed"], params["sparsity"]), session.store, session.dataset(setting))
    made = card(
        result,
        setting=setting,
        dataset=session.dataset(setting),
        forget=forget,
        base=base,
        adapter=unlearned.adapter,
        merge=params.get("merge"),
    )
    # A peft adapter says nothing of masks, nor of running statistics.
    whole = params.get("merge") == "dense" and not lets_statistics_go(unlearned.model, params)
    adapter = unlearned.adapter if whole else None
    write_export(folder, unlearned.model, made, base=base.tensors, adapter=adapter)


def _ensure(session: Session, wanted: Sequence[Prerequisite], console: Console) -> None:
    """Make what is missing, with a bar each."""
    from neglora.prerequisites import ensure
    from neglora.train import Epoch

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("epoch {task.completed}/{task.total}"),
        console=console,
    ) as bars:
        for one in wanted:
            for needed in (one.needs, one):
                if needed is None or session.find(needed):
                    continue
                if needed.given:
                    console.print(f"reading {needed.title} from {needed.given}", highlight=False, soft_wrap=True)
                    ensure(needed, session.store, session.dataset(needed.setting))
                    continue
                bar = bars.add_task(f"making {needed.title}", total=None)

                def on_epoch(epoch: Epoch, epochs: int, bar: Any = bar) -> None:
                    bars.update(bar, completed=epoch.epoch, total=epochs)

                ensure(needed, session.store, session.dataset(needed.setting), on_epoch)


def _print(console: Console, result: Mapping[str, Any], arguments: argparse.Namespace) -> None:
    retrain = result["retrain"]
    table = Table(box=None, padding=(0, 2))
    table.add_column("%")
    for title in ("base", arguments.method, "Retrain"):
        table.add_column(title, justify="right")
    audited = [name for name in AUDIT_METRICS if name in result["metrics"]]
    for name in (*SHOWN, *audited):
        row = [result["base"].get(name), result["metrics"].get(name), retrain.get(name) if retrain else None]
        table.add_row(name.upper(), *("-" if value is None else f"{100 * value:.2f}" for value in row))
    console.print(table)
    cost = result["cost"]
    console.print(
        f"{cost['unlearn_seconds']:.2f} s of unlearning, {cost['trainable_parameters']:,} trained parameters, "
        f"{cost['device']}",
        highlight=False,
    )
    speedup = result["metrics"].get("speedup")
    if speedup:
        console.print(f"{speedup:,.0f} times faster than retraining", highlight=False)
    if retrain is None:
        console.print("No Retrain to compare with: add --retrain to make it.", highlight=False)
    if not result["metrics"].get("mia_has_signal"):
        console.print(
            "MIA is noise here: the attack cannot tell retained from test images (its AUC's interval holds 0.5).",
            highlight=False,
        )
    if (retraction := result["details"].get("retraction")) is not None:
        console.print(_retracted(retraction, bool(audited)), highlight=False)
    if audited:
        console.print(f"The audits: {_verdict(result, audited)}.", highlight=False)
    if arguments.to:
        console.print(f"The unlearned model is in {arguments.to}", highlight=False, soft_wrap=True)


def _retracted(found: Mapping[str, Any], audited: bool) -> str:
    """How far the ascent was scaled back, or why it was not; and what that leaves open, unless audits asked."""
    aim = f"{found['target']:.0%}"
    if found["already"]:
        return f"Not retracted: the base itself gets {aim} of the images to forget wrong already."
    if not found["reached"]:
        return f"Not retracted: the ascent never got {aim} of the images to forget wrong; raise lr or epochs."
    again = "" if found["monotone"] else "; UA fell on the way, so that less of it may do as well"
    told = f"Retracted to {found['scale']:.3g} of the ascent, which keeps UA at {aim} or more{again}."
    return told if audited else f"{told}\nSuch a model may still hold the class: --audit relearn --retrain asks."


def _verdict(result: Mapping[str, Any], audited: Sequence[str]) -> str:
    from neglora.verdict import verdict

    metrics, count = result["metrics"], result["details"]["counts"]["test_forget"]
    said = verdict(
        ua=metrics["ua"],
        ra=metrics["ra"],
        audits={name: metrics[name] for name in audited},
        retrain=result["retrain"] or {},
        test_images=count,
    )
    return f"{said.words} ({said.because})"
