"""Training and evaluation mode of a model, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put a model into one mode, and every module back into its own afterwards: they may differ from each other."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        # Through `train`, parents first: timm's attention forgets the biases that it cached when its mode is set.
        for module, mode in modes:
            module.train(mode)
