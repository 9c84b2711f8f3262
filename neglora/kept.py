"""Adapters of trials, kept beside a study's ledger, so that a trial can be exported without being run again.

One safetensors file per replicate, `TRIAL.forget-HASH.seed-S.safetensors`, whose header says what peft has to know.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from neglora.lora import Adapter
from neglora.record import FORGET_MARK, replicate_name

logger = logging.getLogger(__name__)

#: The folder within a study's.
ADAPTERS = "adapters"
SUFFIX = ".safetensors"
_HEADER = "adapter"


def adapter_name(trial: str, forget: Any, seed: int) -> str:
    """The name of the file of a replicate's adapter; `forget` as its record has it."""
    return replicate_name(trial, forget, seed) + SUFFIX


def adapter_file(study_dir: Path, trial: str, forget: Any, seed: int) -> Path:
    """Where the adapter of a replicate is kept; `forget` as its record has it."""
    return study_dir / ADAPTERS / adapter_name(trial, forget, seed)


def trial_of(file: Path) -> str | None:
    """The trial that a kept adapter belongs to; None for any other file, such as one that was never finished."""
    trial, found, _ = file.name.rpartition(FORGET_MARK)
    return trial if found and file.suffix == SUFFIX and not trial.startswith(".") else None


def adapter_bytes(adapter: Adapter) -> bytes:
    """What the file of an adapter holds."""
    header = {name: getattr(adapter, name) for name in ("layers", "rank", "alpha", "dropout", "scale")}
    return safetensors.torch.save(adapter.tensors, metadata={_HEADER: json.dumps(header)})


def keep_adapters(study_dir: Path, files: Mapping[str, bytes]) -> None:
    """Write files of adapters, by name, each whole or not at all. What cannot be written is logged.

    A trial without its adapter can still be run again. Attempts at one trial write the same names, and the last stays.
    """
    for name, data in files.items():
        if Path(name).name != name or trial_of(Path(name)) is None:
            logger.warning("%r is no name of an adapter's file, and it is not kept", name)
            continue
        try:
            _write(study_dir / ADAPTERS / name, data)
        except OSError as error:
            logger.warning("the adapter %s could not be kept in %s: %s", name, study_dir / ADAPTERS, error)


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def kept_adapter(file: Path) -> Adapter | None:
    """The adapter that a file holds; None where there is none, or it is damaged, which is logged."""
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            header = json.loads((opened.metadata() or {})[_HEADER])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        # Files of versions that did not retract say no scale.
        numbers = {name: float(header[name]) for name in ("alpha", "dropout")}
        numbers["scale"] = float(header.get("scale", 1))
        return Adapter(tensors, tuple(header["layers"]), int(header["rank"]), **numbers)
    except FileNotFoundError:
        return None
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        logger.warning("the kept adapter %s is damaged and not used: %s", file, error)
        return None
