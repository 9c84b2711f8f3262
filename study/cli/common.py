"""What the commands share: errors of a user, options, reading a study's folder."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

#: What `neglora list --model` looks at a model with, where no dataset is named: the paper's ImageNet-100 and its rank.
CLASSES, IMAGE_SIZE, RANK = 100, 224, 16


class UserError(Exception):
    """A mistake that the user can mend: shown without a traceback, exit code 2."""


def add_storage_arguments(parser: argparse.ArgumentParser, storage: str | None = "runs", said: str = "runs") -> None:
    """The options of every command that makes or reads artifacts; `said` is what help calls the default storage."""
    parser.add_argument(
        "--storage", default=storage, metavar="DIR", help=f"folder of studies and artifacts (default: {said})"
    )
    add_data_arguments(parser)
    parser.add_argument(
        "--no-verify", action="store_true", help="accept dataset archives whose checksum is not the published one"
    )
    parser.add_argument("--download", action="store_true", help="fetch dataset archives that are missing")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """The option of every command that looks for datasets."""
    parser.add_argument("--data-root", metavar="DIR", help="folder of datasets that are read from disk")


def data_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the command line says about data: keys of a space's section `data`, where it says something."""
    said: dict[str, Any] = {}
    if arguments.data_root:
        said["root"] = str(Path(arguments.data_root).expanduser().resolve())
    if getattr(arguments, "no_verify", False):
        said["verify"] = False
    if getattr(arguments, "download", False):
        said["download"] = True
    return said


def data_errors() -> tuple[type[Exception], ...]:
    """What a user can mend in data, models, targets and weights."""
    from neglora.data import DataError, ForgetError
    from neglora.models import ModelError, TargetError, WeightsError

    return (DataError, ForgetError, ModelError, TargetError, WeightsError)


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


def forget_of(text: str) -> Any:
    """What a forget set is on the command line: a class by name or index, `[3, 5]` or `{random: 0.1, seed: 0}`."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError:
        # A class may have such a name.
        return text
    return given


@contextmanager
def user_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn exceptions whose message is meant for the user into `UserError`."""
    try:
        yield
    except kinds as error:
        raise UserError(str(error)) from error
