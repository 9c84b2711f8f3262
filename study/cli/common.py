"""What the commands share: errors of a user, options, reading a study's folder or URI."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from neglora.storage import ObjectStorage, StorageError, is_uri
from study.cli.studyfile import parse_study
from study.ledger import LedgerError
from study.place import SPACE, Place

#: What `neglora list --model` looks at a model with, where no dataset is named: the paper's ImageNet-100 and its rank.
CLASSES, IMAGE_SIZE, RANK = 100, 224, 16

#: What begins a URI: a folder of such a name is a mistake of slashes.
_SCHEMES = frozenset({"s3", "gs", "gcs", "abfs", "abfss", "file"})


class UserError(Exception):
    """A mistake that the user can mend: shown without a traceback, exit code 2."""


def add_storage_arguments(parser: argparse.ArgumentParser, storage: str | None = "runs", said: str = "runs") -> None:
    """The options of every command that makes or reads artifacts; `said` is what help calls the default storage."""
    parser.add_argument(
        "--storage",
        default=storage,
        metavar="DIR_OR_URI",
        help=f"folder of studies and artifacts, or a URI such as s3://BUCKET/runs (default: {said})",
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


def storage_of(text: str, *, writes: bool = True) -> str:
    """A storage: an absolute folder, made if it is missing, or a URI.

    Args:
        text: what people write.
        writes: whether it must be possible to write to a URI.

    Raises:
        UserError: it cannot be made or written.
    """
    if not is_uri(text):
        scheme, colon, rest = text.partition(":")
        if colon and scheme in _SCHEMES:
            begin = "file:///" if scheme == "file" else f"{scheme}://"
            raise UserError(f"--storage {text}: expected {begin}{rest.lstrip('/')}")
        return str(_storage_folder(text))
    place, mark, options = text.partition("?")
    uri = place.rstrip("/") + mark + options
    with user_errors(StorageError):
        storage = ObjectStorage(uri)
        if writes:
            storage.check_writable()
    return uri


def _storage_folder(text: str) -> Path:
    folder = Path(text).expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write to --storage {folder}: {error.strerror}; give another folder") from error
    return folder


def place_of(text: str) -> Place:
    """A study's place: its folder, or its URI.

    Raises:
        UserError: a URI that names no study.
    """
    with user_errors(ValueError, StorageError):
        return Place.of(text)


def fetch_study(place: Place, *names: str) -> dict[str, Any]:
    """The resolved space that a study's place holds, brought to its folder with other files of these names.

    Raises:
        UserError: there is no study, or it cannot be read.
    """
    with user_errors(StorageError, LedgerError):
        place.fetch([SPACE, *names])
    return read_study(place.folder, place.title)


def read_study(study_dir: Path, title: str | None = None) -> dict[str, Any]:
    """The resolved space that a study's folder holds.

    Args:
        study_dir: the folder.
        title: what people call it, if not by its path.

    Raises:
        UserError: the folder holds no study.
    """
    path, title = study_dir / SPACE, title or str(study_dir)
    try:
        return parse_study(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{title} holds no study: there is no {SPACE} in it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{title}/{SPACE} cannot be read: {error}") from error


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
