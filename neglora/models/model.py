"""What a model family is here: how to build it, and which of its layers each target name means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Family:
    """Models that share layer names.

    Attributes:
        name: for messages.
        layers: for each target name of the grammar, a regular expression that full-matches module names.
        last_stage, last_block: prefixes of module names that `last.` and `last.block.` stand for, given the model.
        partial: targets that Partial NegGrad trains (every parameter of these layers).
        default_targets: what `neglora` adapts where the user does not say.
    """

    name: str
    layers: dict[str, str]
    last_stage: Callable[[nn.Module], str]
    last_block: Callable[[nn.Module], str]
    partial: str
    default_targets: str


@dataclass(frozen=True)
class ModelEntry:
    """A line of the registry: `build(num_classes, image_size, channels)` draws weights from torch's generator."""

    about: str
    build: Callable[[int, int, int], nn.Module]
