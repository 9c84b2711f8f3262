"""`neglora unlearn`: one configuration, its metrics beside base and Retrain, and the model itself."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from study.cli.common import UserError, add_storage_arguments, storage_folder, user_errors

if TYPE_CHECKING:
    from neglora.prerequisites import Prerequisite, Setting
    from neglora.trial import Session

EPILOG = """\
--set takes the method's parameters (neglora list) and, with 'training.' before them, changes to the training recipe:
  neglora unlearn --dataset digits --model tinyvit_nano --method neglora --forget 3 \\
      --set lr=3e-3 --set targets=last.ffn --retrain --to unlearned/
"""

#: Metrics of the printed table, in the paper's order, then what the paper does not show.
SHOWN = ("ua", "mia", "ra", "ta", "ua_test", "runner_up", "gap", "tow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True, metavar="D")
    parser.add_argument("--model", required=True, metavar="M")
    parser.add_argument("--method", required=True, metavar="K")
    parser.add_argument("--forget", required=True, metavar="CLASS", help="class to forget, by name or index")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="fixes everything that is drawn (default: 0)")
    parser.add_argument("--retrain", action="store_true", help="make Retrain, the reference, where it is missing")
    parser.add_argument(
        "--holdout",
        type=float,
        default=0.0,
        metavar="H",
        help="measure on the share H of the test images, as a study's report does (default: 0, the whole test set)",
    )
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="a parameter; may be repeated")
    parser.add_argument("--to", type=Path, metavar="DIR", help="write the unlearned model there")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the computation (default: 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    add_storage_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    console = Console(stderr=arguments.json)
    from neglora.artifacts import ArtifactError
    from neglora.data import ForgetError
    from neglora.models import TargetError
    from neglora.train import TrainingDiverged

    setting, params = _settings(arguments)
    with user_errors(ForgetError, TargetError, ArtifactError, TrainingDiverged):
        return _unlearn(arguments, setting, params, console)


def _unlearn(arguments: argparse.Namespace, setting: Setting, params: dict[str, Any], console: Console) -> int:
    from neglora.data import parse_forget
    from neglora.hardware import use_threads
    from neglora.methods import METHODS
    from neglora.models import resolve_targets
    from neglora.prerequisites import base_of, retrain_of
    from neglora.trial import Session, measure_base, reference, run_replicate

    info = setting.dataset_info()
    forget = parse_forget(info, arguments.forget)
    if "targets" in params:
        resolve_targets(setting.model, params["targets"], num_classes=info.num_classes, image_size=info.image_size)
    if METHODS[arguments.method].starts_from == "fresh":
        raise UserError("retrain is the reference of every method: choose a method and give --retrain")
    storage = storage_folder(arguments.storage)
    if arguments.to:
        storage_folder(str(arguments.to))
    use_threads(setting.threads)
    session = Session(storage)
    wanted = [base_of(setting, arguments.seed, params["sparsity"])]
    if arguments.retrain:
        wanted.append(retrain_of(setting, arguments.seed, forget))
    _ensure(session, wanted, console)
    replicate, unlearned = run_replicate(session, setting, arguments.method, params, forget, arguments.seed)
    if unlearned is None:
        raise UserError(f"the ascent diverged: {replicate['reason']}; lower lr or epochs")
    base, _ = measure_base(session, setting, forget, arguments.seed, params["sparsity"])
    retrained = reference(session, setting, forget, arguments.seed)
    half = "report"
    result = {
        "metrics": replicate[half],
        "base": base[half],
        "retrain": retrained[0].report | {"gap": 0.0, "tow": 1.0} if retrained else None,
        "params": {"dataset": setting.dataset, "model": setting.model, "method": arguments.method}
        | {"forget": forget.plain, "seed": arguments.seed, "holdout": setting.holdout}
        | params,
        "cost": replicate["cost"],
        "selection": replicate["metrics"],
        "details": replicate["details"],
    }
    if arguments.to:
        _write_model(arguments.to, unlearned.model, result)
    if arguments.json:
        json.dump(result, sys.stdout, allow_nan=False)
        sys.stdout.write("\n")
    else:
        _print(console, result, arguments)
    return 0


def _settings(arguments: argparse.Namespace) -> tuple[Setting, dict[str, Any]]:
    """Setting and resolved parameters from the command line.

    Raises:
        UserError: every mistake in them at once.
    """
    from neglora.data import DataOptions, dataset_names, find_dataset
    from neglora.methods import METHODS
    from neglora.models import family_of, find_model, model_names, model_shape
    from neglora.prerequisites import Setting
    from study.space import training_problems, unknown_name

    problems = []
    finders: dict[str, tuple[Any, list[str]]] = {
        "dataset": (find_dataset, dataset_names()),
        "model": (find_model, model_names()),
        "method": (METHODS.get, list(METHODS)),
    }
    for kind, (find, known) in finders.items():
        name = getattr(arguments, kind)
        if find(name) is None:
            problems.append(f"--{kind}: {unknown_name(name, known)}")
    if not 0 <= arguments.holdout < 1:
        problems.append(f"--holdout: expected a share in [0, 1), got {arguments.holdout:g}")
    if arguments.threads < 1:
        problems.append(f"--threads: expected at least 1, got {arguments.threads}")
    params: dict[str, Any] = {}
    training: dict[str, Any] = {}
    selection: dict[str, Any] = {}
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals or not name:
            problems.append(f"--set {text}: expected key=value")
            continue
        place, _, field = name.rpartition(".")
        {"training": training, "selection": selection, "": params}.get(place, params)[
            field if place in ("training", "selection") else name
        ] = _value(value)
    problems += [f"--set training.{line}" for line in training_problems(training)]
    for name, value in selection.items():
        if name != "seed" or not isinstance(value, int):
            problems.append(f"--set selection.{name}={value}: only selection.seed, a whole number, can be set")
    if problems:
        raise UserError("\n".join(problems))
    method = METHODS[arguments.method]
    setting = Setting(
        dataset=arguments.dataset,
        model=arguments.model,
        data=DataOptions(root=arguments.data_root, verify=not arguments.no_verify),
        training=training,
        holdout=arguments.holdout,
        split_seed=selection.get("seed", 0),
        threads=arguments.threads,
    )
    if "targets" not in params and any(parameter.name == "targets" for parameter in method.parameters):
        info = setting.dataset_info()
        shape = model_shape(setting.model, num_classes=info.num_classes, image_size=info.image_size)
        params["targets"] = family_of(shape).default_targets
    with user_errors(ValueError):
        resolved = method.resolve(params)
    return setting, resolved


def _value(text: str) -> Any:
    """A value as in a search space: YAML, with numbers such as 3e-3 that YAML 1.1 takes for text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


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
    for name in SHOWN:
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
    if arguments.to:
        console.print(f"The unlearned model is in {arguments.to}", highlight=False, soft_wrap=True)


def _write_model(folder: Path, model: Any, result: Mapping[str, Any]) -> None:
    """`model.safetensors` and `card.json`, which says how it was made and how it measures."""
    import safetensors.torch

    from neglora.provenance import provenance

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    (folder / "model.safetensors").write_bytes(safetensors.torch.save(tensors))
    card = dict(result) | {"provenance": provenance()}
    (folder / "card.json").write_text(json.dumps(card, indent=1, allow_nan=False) + "\n", encoding="utf-8")
