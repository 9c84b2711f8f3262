"""Files that a user names to be written: looked at before, and said with what to do where they cannot be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.cli.common import UserError


def checked(out: Path) -> Path:
    """A file that can be written: looked at before, since a report takes its time.

    Raises:
        UserError: it cannot.
    """
    if out.is_dir():
        raise UserError(f"-o {out} is a folder: name a file in it, such as {out / 'report.html'}")
    made(out.parent, f"-o {out}", "give another file")
    if not os.access(out.parent, os.W_OK):
        raise UserError(f"-o {out}: the folder {out.parent} cannot be written; give another file")
    return out


def made(folder: Path, option: str, remedy: str) -> None:
    """Make a folder.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{option}: the folder {folder} cannot be made: {why(error)}; {remedy}") from error


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """The page is written here; where it cannot be, that is said with what to do.

    Raises:
        UserError: it cannot.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"the report cannot be written to {out}: {why(error)}; give another file with -o") from error


def why(error: OSError) -> str:
    """What the system says, in words that fit a file that cannot be written."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "there is a file where a folder should be"
    return error.strerror or str(error)
