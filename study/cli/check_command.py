"""`neglora check`: every mistake in a search space, with its place in the file, without running anything."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from study.cli.common import UserError, add_data_arguments, data_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE.yaml", type=Path, nargs="+", help="search spaces")
    add_data_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    from study.space import SpaceError, load_space

    console = Console()
    problems = []
    for path in arguments.files:
        try:
            space = load_space(path, data=data_of(arguments))
        except SpaceError as error:
            problems.append(error)
            continue
        cells = space.cells()
        trials = sum(cell.trials for cell in cells)
        console.print(f"{path}: fine, {len(cells)} cells, {trials} trials", highlight=False, markup=False)
    if problems:
        raise UserError("\n".join(str(problem) for problem in problems))
    return 0
