"""An unlearned model as a folder: merged weights, the base and its adapter in peft's own format, and a card."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from neglora.card import card_markdown
from neglora.lora import Adapter
from neglora.prerequisites import MASK

MODEL = "model.safetensors"
BASE = "base.safetensors"
ADAPTER = "adapter/"
CARD = "card.json"
README = "README.md"

_ABOUT = {
    MODEL: "the unlearned model, merged",
    BASE: "the model before unlearning, which the adapter belongs to",
    ADAPTER: "the adapter in peft's format",
    CARD: "everything on this page, and more, as JSON",
}


class ExportError(ValueError):
    """A folder that is not written to, or cannot be; the message says why."""


def check_folder(folder: Path) -> None:
    """Refuse a place that holds something else than an earlier export.

    Raises:
        ExportError: it is a file, or a folder with other things in it.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ExportError(f"{folder} is a file: give a folder")
    names = {path.name for path in folder.iterdir()}
    own = {MODEL, BASE, ADAPTER.rstrip("/"), CARD, README}
    if names and (CARD not in names or names - own):
        others = ", ".join(sorted(names - own)[:3])
        raise ExportError(
            f"{folder} holds {others or 'a part of an export'} and is not overwritten: give a new folder, or empty it"
        )


def write_export(
    folder: Path,
    model: nn.Module,
    card: Mapping[str, Any],
    *,
    base: Mapping[str, Tensor] | None,
    adapter: Adapter | None,
) -> list[str]:
    """Write a model and what belongs to it; the folder appears whole or not at all.

    Args:
        folder: where; an earlier export there is replaced.
        model: unlearned and merged.
        card: from `neglora.card.card`; checksums of the files are added.
        base: the weights that the adapter belongs to, with or without masks; None to leave them out.
        adapter: written where it and `base` together are the model; None to leave it out.

    Returns:
        The names of what was written.

    Raises:
        ExportError: see `check_folder`, or the place cannot be written.
    """
    folder = folder.expanduser().resolve()
    check_folder(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise ExportError(f"cannot write beside {folder}: {error.strerror}") from error
    try:
        names = _write(draft, model, card, base, adapter)
        draft.chmod(0o755)
        _put(draft, folder)
    except OSError as error:
        raise ExportError(f"cannot write {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return names


def _write(
    draft: Path,
    model: nn.Module,
    card: Mapping[str, Any],
    base: Mapping[str, Tensor] | None,
    adapter: Adapter | None,
) -> list[str]:
    _save(draft / MODEL, model.state_dict())
    names = [MODEL]
    if base is not None:
        _save(draft / BASE, {name: tensor for name, tensor in base.items() if not name.startswith(MASK)})
        names.append(BASE)
    if adapter is not None:
        place = draft / ADAPTER
        place.mkdir()
        config = adapter.config
        # For those who load it: adapters are frozen until training is asked for.
        config.inference_mode = True
        config.save_pretrained(str(place))
        _save(place / "adapter_model.safetensors", adapter.tensors)
        names.append(ADAPTER)
    names.append(CARD)
    files = {name: _ABOUT[name] for name in names}
    sums = {
        str(path.relative_to(draft)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(draft.rglob("*.safetensors"))
    }
    _write_text(draft / CARD, json.dumps({**card, "sha256": sums}, indent=1, allow_nan=False) + "\n")
    _write_text(draft / README, card_markdown(card, files))
    return [*names, README]


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    # Cloned, since safetensors refuses tensors that share memory, as tied weights do.
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    data = safetensors.torch.save(plain, metadata={"format": "pt"})
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _put(draft: Path, folder: Path) -> None:
    """Rename the draft into its place; an earlier export is moved out of the way first and removed last."""
    if not folder.exists():
        draft.rename(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    earlier = folder.rename(aside / folder.name)
    try:
        draft.rename(folder)
    except OSError:
        earlier.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)
