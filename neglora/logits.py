"""What a classifier has to return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def as_logits(output: Any, labels: Tensor) -> Tensor:
    """A model's output, if it is logits `[b, classes]` for labels `[b]`.

    Raises:
        TypeError: it is something else; the message says what, and how to mend it.
    """
    if isinstance(output, Tensor) and output.ndim == 2 and len(output) == len(labels):
        return output
    raise TypeError(
        f"the model should return logits [b, classes], for these {len(labels)} images, got {_described(output)}: wrap "
        f"it in a module whose forward returns the logits alone"
    )


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor {list(output.shape)}"
    kind = type(output).__name__
    if isinstance(output, Mapping):
        return f"a {kind} with {', '.join(map(str, output))}"
    return f"a {kind} of {len(output)}" if isinstance(output, tuple | list) else f"a {kind}"
