"""What a model family is here: how to build it, and which of its layers each target name means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class Preset:
    """Layers that a published text or its parameter counts imply, under one name.

    Attributes:
        about: what was published, and how many parameters this comes to.
        rank: of the adapters, as published or implied.
        targets: a text of the target grammar; empty for none.
        layers: a regular expression that full-matches module names, for layers that the grammar does not name; empty
            for none. The preset is both together.
    """

    about: str
    rank: int
    targets: str = ""
    layers: str = ""


@dataclass(frozen=True)
class Step:
    """A part of a model's forward pass, which is run as a sequence of them.

    Attributes:
        modules: names of the modules that it calls, each with all below it, and of the model's own parameters that it
            reads.
        run: what it makes of what the step before it made. It looks layers up when it is called: they may have been
            replaced since.
    """

    modules: tuple[str, ...]
    run: Callable[[Tensor], Tensor]


def _no_steps(model: nn.Module) -> tuple[Step, ...]:
    return ()


@dataclass(frozen=True)
class Family:
    """Models that share layer names.

    Attributes:
        name: for messages.
        layers: for each target name of the grammar, a regular expression that full-matches module names.
        last_stage, last_block: prefixes of module names that `last.` and `last.block.` stand for, given the model.
        partial: targets that Partial NegGrad trains (every parameter of these layers).
        default_targets: what `neglora` adapts where the user does not say.
        working_targets: the same where the ascent is retracted, if that works better with fewer layers.
        presets: by name, of `neglora.models.targets.PRESETS`; a family may lack some.
        steps: a model's forward pass in parts: run in order they give its logits bit for bit, and every parameter and
            buffer belongs to exactly one. Empty for a model of which that is not known.
    """

    name: str
    layers: dict[str, str]
    last_stage: Callable[[nn.Module], str]
    last_block: Callable[[nn.Module], str]
    partial: str
    default_targets: str
    working_targets: str | None = None
    presets: Mapping[str, Preset] = field(default_factory=dict)
    steps: Callable[[nn.Module], Sequence[Step]] = _no_steps


#: What a study may choose about the way models are built, and between what; the first is the default. A model takes
#: those that its entry names.
OPTIONS: dict[str, tuple[str, ...]] = {
    "windows": ("clipped", "padded"),
    "stem": ("auto", "small", "plain"),
}


class ModelError(ValueError):
    """A model that cannot be built as asked; the message says why, and what would work."""


@dataclass(frozen=True)
class ModelEntry:
    """A line of the registry.

    Attributes:
        about: one sentence for `neglora list`.
        build: `build(num_classes, image_size, channels, **options)` draws weights from torch's generator. It is also
            called on torch's meta device, where only shapes are wanted. Raises ModelError. Where `pretrained` is not
            None it also takes `pretrained=True`, which loads timm's weights (and may need a network).
        options: which of `OPTIONS` it takes.
        recipe: what it is trained with unless a study says otherwise: a key of `neglora.recipes`.
        pretrained: name of the timm model whose pretrained weights fit; None where there are none.
    """

    about: str
    build: Callable[..., nn.Module]
    options: tuple[str, ...] = ()
    recipe: str = "nano"
    pretrained: str | None = None
