"""`neglora list`: what names there are; `neglora list --model NAME`: what each target set is on one model."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from study.cli.common import CLASSES, IMAGE_SIZE, RANK, UserError
from study.cli.terminal import Terminal

EPILOG = """\
examples:
  neglora list
  neglora list --model resnet50 --rank 8
  neglora list --model tinyvit_21m --dataset cifar10 --set windows=padded
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="NAME", help="show this model's layers and adapters instead")
    parser.add_argument("--dataset", metavar="D", help="as built for this dataset")
    parser.add_argument("--data-root", metavar="DIR", help="folder of datasets that are read from disk")
    parser.add_argument("--classes", type=int, metavar="N", help=f"as built for N classes (default: {CLASSES})")
    parser.add_argument(
        "--image-size", type=int, metavar="S", help=f"as built for images of S pixels (default: {IMAGE_SIZE})"
    )
    parser.add_argument("--rank", type=int, metavar="R", help=f"of the adapters (default: {RANK})")
    parser.add_argument(
        "--set", action="append", default=[], metavar="OPTION=VALUE", help="of the architecture, such as stem=plain"
    )


def main(arguments: argparse.Namespace) -> int:
    if arguments.model is not None:
        from study.cli.model_listing import list_model

        list_model(arguments, Terminal())
        return 0
    given = [
        name for name in ("dataset", "classes", "image_size", "rank", "set", "data_root") if getattr(arguments, name)
    ]
    if given:
        raise UserError(f"--{given[0].replace('_', '-')} goes with --model NAME")
    _list_names(Terminal())
    return 0


def _list_names(console: Console) -> None:
    from neglora.audits import AUDITS
    from neglora.data import dataset_names, find_dataset
    from neglora.methods import METHODS
    from neglora.models import PRESETS, TARGETS, find_model, model_names
    from neglora.objectives import METRICS
    from neglora.recipes import RECIPES, load_recipe
    from study.samplers import SAMPLERS

    datasets = {name: find_dataset(name) for name in dataset_names()}
    _section(console, "datasets", {name: entry.about if entry else "" for name, entry in datasets.items()})
    models = {name: find_model(name) for name in model_names()}
    _section(
        console,
        "models",
        {name: entry.about if entry else "any image classifier that timm builds" for name, entry in models.items()},
        "neglora list --model NAME shows a model's layers and adapters",
    )
    _section(console, "recipes", {name: load_recipe(name).about for name in RECIPES})
    _section(
        console,
        "methods",
        {name: f"{method.about} (sees: {' and '.join(method.needs)})" for name, method in METHODS.items()},
    )
    parameters = {
        parameter.name: f"{parameter.about}; {parameter.expected}, default {parameter.default}"
        for method in METHODS.values()
        for parameter in method.parameters
    }
    _section(console, "parameters", parameters)
    _section(
        console,
        "targets",
        TARGETS | PRESETS,
        "joined with '+', all but the presets (paper_...) optionally after 'last.' (last stage) or 'last.block.'; "
        "grouped convolutions are left out, since low-rank adapters do not factor them; a list of module names works "
        "as well",
    )
    _section(
        console,
        "metrics",
        {name: f"{metric.about}; {metric.direction}" for name, metric in METRICS.items()},
    )
    _section(console, "audits", {name: audit.about for name, audit in AUDITS.items()})
    _section(console, "samplers", {name: sampler.about for name, sampler in SAMPLERS.items()})


def _section(console: Console, title: str, rows: dict[str, str], note: str | None = None) -> None:
    table = Table(box=None, padding=(0, 2, 0, 2), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, about in rows.items():
        table.add_row(name, about)
    console.print(f"[bold]{title}[/bold]")
    console.print(table)
    if note:
        console.print(f"  {note}", style="dim", highlight=False)
    console.print()
