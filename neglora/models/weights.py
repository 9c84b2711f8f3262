"""Weights that somebody else trained: from a file, without running what is in it, or timm's own."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from neglora.models.model import ModelError

#: Where training scripts put the state dict inside a checkpoint.
NESTS = ("state_dict", "model_state_dict", "model")
#: What wrappers of a model put before every name.
WRAPPERS = ("module.", "_orig_mod.")
SHOWN = 10


class WeightsError(ModelError):
    """Weights that cannot be had, read or fitted into the model."""


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    Args:
        path: a `.safetensors` file, or what `torch.save` wrote of a state dict, also inside a checkpoint under
            `state_dict`, `model_state_dict` or `model`. The prefixes of DataParallel and torch.compile are taken off.

    Raises:
        WeightsError: there is no such file, it holds something else, or it is a pickle that would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights: there is no file {path}")
    content: Any
    try:
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            with warnings.catch_warnings():
                # Of torch, on pickles and scripted models that it then refuses, which is said below.
                warnings.simplefilter("ignore", UserWarning)
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"weights: {path} holds more than tensors, such as a whole model, and reading it would run its code; save "
            f"the state dict alone, torch.save(model.state_dict(), FILE), or a .safetensors file"
        ) from error
    except OSError as error:
        raise WeightsError(f"weights: {path} cannot be read: {error.strerror or error}") from error
    except (
        *(safetensors.SafetensorError, RuntimeError, EOFError, ValueError, TypeError),
        *(LookupError, AttributeError, AssertionError),  # of an unpickler that is fed with a text
    ) as error:
        raise WeightsError(
            f"weights: {path} is damaged, or neither a .safetensors file nor a state dict saved by torch: "
            f"{str(error).split('. ')[0].splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    return _unwrapped(_state_dict(content, path))


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        nest = next((name for name in NESTS if isinstance(content.get(name), Mapping)), None)
        if nest is None:
            break
        content = content[nest]
    if not isinstance(content, Mapping):
        raise WeightsError(f"weights: {path} holds a {type(content).__name__}, expected tensors by name (a state dict)")
    others = [str(name) for name, value in content.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if others or not content:
        found = f"beside tensors it holds {_listed(others)}" if content else "it is empty"
        raise WeightsError(
            f"weights: {path} is no state dict: {found}; expected tensors by name, at the top or under "
            f"{', '.join(NESTS)}"
        )
    return dict(content)


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in tensors):
            return _unwrapped({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return tensors


def fit_weights(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load tensors into a model, in place: every one of its weights and buffers, and nothing else.

    Args:
        model: built for the dataset.
        tensors: from `load_weights`.
        source: what they are, for messages.

    Raises:
        WeightsError: names or shapes differ, with each of them, or a weight is infinite or NaN.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in tensors]
    unexpected = [name for name in tensors if name not in own]
    shaped = [name for name in own if name in tensors and tensors[name].shape != own[name].shape]
    shapes = [f"{name} is {_shape(tensors[name])}, expected {_shape(own[name])}" for name in shaped]
    if missing or unexpected or shaped:
        parts = [
            f"{len(names)} {what}: {_listed(names, separator)}"
            for what, names, separator in (
                ("missing", missing, ", "),
                ("unexpected", unexpected, ", "),
                ("of another shape", shapes, "; "),
            )
            if names
        ]
        raise WeightsError(
            f"the weights of {source} do not fit {type(model).__name__}: {'. '.join(parts)}"
            f"{_hint(model, tensors, shaped)}"
        )
    spoiled = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if spoiled:
        raise WeightsError(f"the weights of {source} are infinite or NaN in {len(spoiled)}: {_listed(spoiled)}")
    model.load_state_dict(dict(tensors))


def _hint(model: nn.Module, tensors: Mapping[str, Tensor], shaped: Sequence[str]) -> str:
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    head = f"{linear[-1]}.weight" if linear else ""
    if head in shaped:
        ours, theirs = len(model.get_parameter(head)), len(tensors[head])
        return f". The file's classifier has {theirs} classes, the dataset {ours}"
    if any(name.endswith(("pos_embed", "attention_biases")) for name in shaped):
        return ". The file is of another image size or attention window: see image_size and architecture"
    return ""


def _shape(tensor: Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "a number"


def _listed(names: Sequence[str], separator: str = ", ") -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return separator.join(names[:SHOWN]) + more


def weights_digest(path: str | Path) -> str:
    """SHA-256 of a file of weights, in hexadecimal. A file that has not changed is not read twice.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        stat = Path(path).stat()
        return _digest(str(path), stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise WeightsError(f"weights: {path} cannot be read: {error.strerror or error}") from error


@lru_cache(maxsize=16)
def _digest(path: str, changed: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def fetching(model: str, name: str) -> Iterator[None]:
    """While timm fetches the pretrained weights `name`: whatever goes wrong says what to do instead."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # of the network, of the hub's client, or of weights that do not fit
        said = " ".join(str(error).split()).rstrip(".")[:300] or type(error).__name__
        raise WeightsError(
            f"timm's pretrained weights of {model} ({name}) cannot be had here: {said}. They are downloaded when first "
            f"used: build the model once where there is a network and copy that machine's Hugging Face cache "
            f"(HF_HOME), or give a file of weights, or leave 'weights' out to train a base"
        ) from error
