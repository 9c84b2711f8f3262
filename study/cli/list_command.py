"""`neglora list`: what names there are."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def main(arguments: argparse.Namespace) -> int:
    from neglora.data import DATASETS
    from neglora.methods import METHODS
    from neglora.models import MODELS, TARGETS
    from neglora.objectives import METRICS
    from study.samplers import SAMPLERS

    console = Console()
    _section(console, "datasets", {name: entry.about for name, entry in DATASETS.items()})
    _section(console, "models", {name: entry.about for name, entry in MODELS.items()})
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
        TARGETS,
        "joined with '+', each optionally after 'last.' (last stage) or 'last.block.'; grouped convolutions are left "
        "out, since low-rank adapters do not factor them; a list of module names works as well",
    )
    _section(
        console,
        "metrics",
        {name: f"{metric.about}; {metric.direction}" for name, metric in METRICS.items()},
    )
    _section(console, "samplers", {name: sampler.about for name, sampler in SAMPLERS.items()})
    return 0


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
