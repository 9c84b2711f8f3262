"""A report that follows its studies: written again whenever one of their ledgers grew."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from neglora.storage import StorageError
from study.aggregate import write_atomically
from study.cli.common import UserError, read_study
from study.cli.outfile import writing
from study.ledger import read_ledger
from study.place import LEDGER, SPACE, Place
from study.progress import StudyProgress, summarize

#: Seconds after which an open page loads itself anew, at least: who reads it wants to get somewhere.
LEAST_AGAIN = 10.0


def watch(places: Sequence[Place], out: Path, every: float, console: Console) -> None:
    """Write the report again and again, until all studies have all their trials and nobody writes them.

    The page that is there afterwards is written by whoever calls this. Where this is interrupted, the one that is there
    no longer loads itself anew.

    Args:
        places: of the studies; one that is not there yet is waited for.
        out: the page.
        every: seconds between two looks.
        console: told what there is, a line each time.

    Raises:
        UserError, LedgerError: a study or its ledger cannot be read, or the page not be written.
        StorageError: a storage cannot be read the first time; later ones are told and tried again.
        OSError: nobody can tell who writes a study.
    """
    seen: list[object] | None = None
    complete = written = False
    waiting = ""
    try:
        while True:
            try:
                missing = ", ".join(_bring(places))
            except StorageError as error:
                if seen is None:
                    raise
                console.print(f"{error}; trying again", style="yellow", markup=False)
                time.sleep(every)
                continue
            if missing and missing != waiting:
                console.print(f"Waiting for a study in {missing} (Ctrl-C ends this)", markup=False, soft_wrap=True)
            waiting = missing
            now = None if missing else [_stamp(place) for place in places]
            changed = now is not None and now != seen
            states = [_progress(place) for place in places] if changed else []
            if changed:
                complete = all(state.left == 0 for state in states)
            if not missing and complete and all(place.holder() is None for place in places):
                return
            if changed:
                written = True
                _write(places, out, max(every, LEAST_AGAIN))
                console.print(_line(places, states), markup=False, highlight=False, soft_wrap=True)
                if seen is None:
                    console.print(f"Report: {out}", markup=False, highlight=False, soft_wrap=True)
                seen = now
            time.sleep(every)
    finally:
        if written and out.is_file():
            _settle(out)


def _write(places: Sequence[Place], out: Path, again: float) -> None:
    from study.report import write_report

    with writing(out):
        write_report([place.folder for place in places], out, again=again)


def _bring(places: Sequence[Place]) -> list[str]:
    """Fetch what lives on a URI; the titles of studies that are not there yet."""
    for place in places:
        place.fetch([SPACE, LEDGER])
    return [place.title for place in places if not (place.folder / SPACE).exists()]


def _stamp(place: Place) -> object:
    """What changes whenever the ledger does. A working copy is written anew at every look: its time says nothing."""
    ledger = place.folder / LEDGER
    if not ledger.exists():
        return None
    state = ledger.stat()
    return state.st_size if place.is_remote else (state.st_size, state.st_mtime_ns)


def _progress(place: Place) -> StudyProgress:
    """How far a study is.

    Raises:
        UserError: its space is none.
        LedgerError: its ledger cannot be read.
    """
    from study.again import outstanding
    from study.asked import asked_trials

    study, records = read_study(place.folder, place.title), read_ledger(place.folder)
    try:
        return summarize(records, asked_trials(study), outstanding(records, study))
    except (KeyError, TypeError) as error:
        raise UserError(f"{place.title}/{SPACE} is not a study's space: {error!r}") from error


def _line(places: Sequence[Place], states: Sequence[StudyProgress]) -> str:
    """`12:03:05  quickstart: 23 of 49 trials (21 ok, 2 diverged)`."""
    parts = []
    for place, state in zip(places, states, strict=True):
        names = ("done", "total", "diverged", "failed")
        counts = {name: sum(getattr(cell, name) for cell in state.cells) for name in names}
        counts["ok"] = counts["done"] - counts["diverged"] - counts["failed"]
        told = ", ".join(f"{counts[name]} {name}" for name in ("ok", "diverged", "failed") if counts[name])
        again = "".join(f", {again}" for again in state.again)
        told = f" ({told})" if told else ""
        parts.append(f"{place.name}: {counts['done']} of {counts['total']} trials{told}{again}")
    return f"{time.strftime('%H:%M:%S')}  {'; '.join(parts)}"


def _settle(out: Path) -> None:
    """Have the page that is there stay as it is: nobody writes it any more."""
    page = out.read_text(encoding="utf-8")
    still = re.sub(r'<meta http-equiv="refresh" content="[^"]*">', "", page, count=1)
    if still != page:
        write_atomically(out, still)
