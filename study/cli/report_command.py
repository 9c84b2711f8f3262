"""`neglora report`: the report of one or several studies, made again from their ledgers."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from neglora.storage import StorageError
from study.cli.common import UserError, fetch_study, place_of, user_errors
from study.cli.outfile import checked, made, why, writing
from study.cli.terminal import Terminal
from study.dialed import fetch_dials
from study.place import LEDGER, Place

EPILOG = """\
examples:
  neglora report runs/quickstart
  neglora report runs/one runs/two -o reports/both.html
  neglora report runs/quickstart --watch                 while it runs, in another terminal
  neglora report runs/quickstart --figures paper/figures

--figures writes each figure of the page as DIR/ID.svg and DIR/ID.png, where ID is the figure's name in the page.
--watch ends when the study has all its trials and nobody writes it, or with Ctrl-C. A browser that shows the page
loads it anew meanwhile.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study_dirs", metavar="STUDY_DIR", nargs="+", help="studies' folders or URIs")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE.html",
        help="where to write it (default: report.html in the study's folder, reports/NAMES.html for several or a URI)",
    )
    parser.add_argument("--figures", type=Path, metavar="DIR", help="write its figures there too, as SVG and as PNG")
    parser.add_argument("--watch", action="store_true", help="write it again whenever a trial ends")
    parser.add_argument(
        "--every", type=float, default=5.0, metavar="SECONDS", help="how often --watch looks (default: 5)"
    )


def main(arguments: argparse.Namespace) -> int:
    from study.ledger import LedgerError

    console = Terminal()
    if not 0 < arguments.every < 86_400:
        raise UserError(f"--every {arguments.every:g}: expected seconds above 0, such as 5")
    places = [place_of(text) for text in arguments.study_dirs]
    out = _default(places) if arguments.output is None else checked(arguments.output)
    if arguments.figures is not None:
        made(arguments.figures, "--figures", "give another folder")
    with user_errors(LedgerError, StorageError):
        if arguments.watch:
            from study.cli.watching import watch

            with user_errors(OSError):
                watch(places, out, arguments.every, console)
        _write(places, out, console)
    return 0 if arguments.figures is None else _write_figures(out, arguments.figures, console)


def _default(places: list[Place]) -> Path:
    """Where the report goes. Of a URI's study nobody wants it in the working copy."""
    if len(places) == 1 and not places[0].is_remote:
        return places[0].folder / "report.html"
    return Path("reports") / f"{'+'.join(place.name for place in places)}.html"


def _write(places: list[Place], out: Path, console: Console) -> None:
    """Tables of each study into its place, then the report of all."""
    from study.report import write_report

    tables = {place: _tables(place, console) for place in places}
    with writing(out):
        write_report([place.folder for place in places], out)
        if len(places) == 1 and places[0].is_remote:
            copy = places[0].folder / "report.html"
            copy.write_bytes(out.read_bytes())
            tables[places[0]].append(copy)
    for place, files in tables.items():
        _publish(place, files, console)
    console.print(f"Report: {out}", highlight=False, soft_wrap=True)


def _tables(place: Place, console: Console) -> list[Path]:
    """Write a study's tables; whoever may only read its folder has the report all the same."""
    from study.aggregate import write_tables
    from study.ledger import read_ledger
    from study.papertable import write_paper_tables

    study, records = fetch_study(place, LEDGER), read_ledger(place.folder)
    fetch_dials(place)
    try:
        return write_tables(place.folder, records, study) + write_paper_tables(place.folder, records, study)
    except OSError as error:
        console.print(f"tables were not written to {place.folder}: {why(error)}", style="yellow", markup=False)
        return []


def _publish(place: Place, files: list[Path], console: Console) -> None:
    """Take what was made to the storage; whoever may only read there has the report all the same."""
    try:
        place.publish([file.relative_to(place.folder).as_posix() for file in files])
    except StorageError as error:
        console.print(f"tables and report were not written to the storage: {error}", style="yellow", markup=False)


def _write_figures(page: Path, folder: Path, console: Console) -> int:
    """Write every figure of the page; those of which there is no picture are named."""
    from rich.progress import track

    from neglora.synced import replace_synced
    from study.plots.picture import PictureError, picture_png, picture_svg
    from study.sections.figure import figures_of

    figures = figures_of(page.read_text(encoding="utf-8"))
    lost = 0
    for shown in track(figures, "Figures", console=console, transient=True, disable=not console.is_terminal):
        try:
            files = {".svg": picture_svg(shown.spec, shown.title).encode(), ".png": picture_png(shown.spec, scale=2)}
            for ending, content in files.items():
                replace_synced(folder / f"{shown.identifier}{ending}", content)
        except PictureError as error:
            lost += 1
            console.print(f"{shown.identifier} has no picture: {error}", style="yellow", markup=False)
        except OSError as error:
            raise UserError(f"--figures: {folder} cannot be written: {why(error)}; give another folder") from error
    number = len(figures) - lost
    console.print(
        f"Figures: {number} as SVG and PNG in {folder}" if figures else "Figures: the report has none yet",
        highlight=False,
        soft_wrap=True,
    )
    return 1 if lost else 0
