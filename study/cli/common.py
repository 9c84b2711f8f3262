"""What the commands share: errors of a user, options, reading a study's folder."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml


class UserError(Exception):
    """A mistake that the user can mend: shown without a traceback, exit code 2."""


def add_storage_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that makes or reads artifacts."""
    parser.add_argument(
        "--storage", default="runs", metavar="DIR", help="folder of studies and artifacts (default: runs)"
    )
    parser.add_argument("--data-root", metavar="DIR", help="folder of datasets that are read from disk")
    parser.add_argument(
        "--no-verify", action="store_true", help="accept dataset archives whose checksum is not the published one"
    )


def storage_folder(text: str) -> Path:
    """An absolute, writable storage folder, made if it is missing.

    Raises:
        UserError: it cannot be made or written, or is a URI, which this version does not open.
    """
    if "://" in text:
        raise UserError(f"--storage {text}: storage on a URI is not available in this version; give a folder")
    folder = Path(text).expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write to --storage {folder}: {error.strerror}; give another folder") from error
    return folder


def read_study(study_dir: Path) -> dict[str, Any]:
    """The resolved space that a study's folder holds.

    Raises:
        UserError: the folder holds no study.
    """
    path = study_dir / "study.yaml"
    try:
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{study_dir} holds no study: there is no {path.name} in it") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(study, dict):
        raise UserError(f"{path} is not a study's space")
    return study


@contextmanager
def user_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn exceptions whose message is meant for the user into `UserError`."""
    try:
        yield
    except kinds as error:
        raise UserError(str(error)) from error
