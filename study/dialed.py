"""Dials that a study keeps beside its ledger, each whole or not there. No torch.

One file per replicate, `dials/TRIAL.forget-HASH.seed-S.json`, as the adapters are named.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from neglora.dial import Dial, DialError
from neglora.record import FORGET_MARK, replicate_name
from neglora.synced import replace_synced
from study.place import Place

logger = logging.getLogger(__name__)

#: The folder within a study's.
DIALS = "dials"
SUFFIX = ".json"
#: Bytes of a file that is read: some hundred points have a tenth of it.
LARGEST = 16 * 2**20


def dial_name(trial: str, forget: Any, seed: int) -> str:
    """The name of the dial of a replicate, within the study; `forget` as its record has it."""
    return f"{DIALS}/{replicate_name(trial, forget, seed)}{SUFFIX}"


def write_dial(place: Place, dial: Dial) -> str:
    """Keep a dial in a study, over an earlier one of the same replicate.

    Returns:
        Its name within the study.

    Raises:
        OSError: it cannot be written.
        StorageError: it cannot be taken to the storage.
    """
    name = dial_name(dial.trial, dial.forget, dial.seed)
    file = place.folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_synced(file, (json.dumps(dial.as_plain(), indent=1, allow_nan=False) + "\n").encode())
    place.publish([name])
    return name


def fetch_dials(place: Place) -> None:
    """Bring a study's dials to its folder. In a folder there is nothing to do.

    Raises:
        StorageError: the storage cannot be read.
    """
    if place.is_remote:
        place.fetch([name for name in place.published(DIALS) if _is_dial(name)])


def read_dials(study_dir: Path) -> list[Dial]:
    """The dials in a study's folder, by name. What is damaged is logged and left out."""
    folder = study_dir / DIALS
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    found = []
    for file in files:
        if not _is_dial(file.name):
            continue
        try:
            found.append(read_dial(file))
        except (OSError, DialError) as error:
            logger.warning("the dial %s is not used: %s", file, error)
    return found


def read_dial(file: Path) -> Dial:
    """The dial that a file holds.

    Raises:
        OSError: it cannot be read.
        DialError: it is no dial, or that of another replicate than its name says.
    """
    with file.open("rb") as stream:
        data = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise DialError(f"it is larger than {LARGEST >> 20} MiB")
    try:
        plain = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DialError(f"not JSON: {error}") from error
    dial = Dial.of(plain)
    if Path(dial_name(dial.trial, dial.forget, dial.seed)).name != file.name:
        raise DialError("it is that of another replicate than its name says")
    return dial


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a value that a dial holds")


def _is_dial(name: str) -> bool:
    """Whether a file is a dial, and not one that is being written or was never finished."""
    return name.endswith(SUFFIX) and FORGET_MARK in name and not Path(name).name.startswith(".")
