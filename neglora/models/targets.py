"""The grammar of targets: which layers of a model `last.attn_out+head` means.

    targets = term ("+" term)*
    term    = ["last." | "last.block."] ("ffn" | "attn" | "attn_out" | "conv" | "head")
            | "paper_text" | "paper_counts" | "partial"

`last.` is the last stage (TinyViT, ResNet) or the last block (plain ViT), `last.block.` the last block everywhere. A
preset is what a family says that it is (`Family.presets`), `partial` what Partial NegGrad trains. A list of module
names is taken as it is. Grouped convolutions are left out: low-rank adapters do not factor them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace

from timm.models.resnet import ResNet
from timm.models.tiny_vit import TinyVit
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from neglora.models import resnet, tinyvit, vit
from neglora.models.model import Family

TARGETS: dict[str, str] = {
    "ffn": "both linear layers of every feed-forward network",
    "attn": "query-key-value and output projections of every attention",
    "attn_out": "output projection of every attention",
    "conv": "every convolution that is not grouped",
    "head": "the classifier",
}
#: Stands for the layers that Partial NegGrad trains where it is not told otherwise (`Family.partial`).
PARTIAL = "partial"

PRESETS: dict[str, str] = {
    "paper_text": "the layers that the paper's text names: feed-forward networks",
    "paper_counts": "the layers that the paper's parameter counts imply",
}


class TargetError(ValueError):
    """Targets that are not of the grammar or match no layer of the model."""


def _no_stages(model: nn.Module) -> str:
    raise TargetError(f"{type(model).__name__} is not a model whose stages are known: 'last.' means nothing there")


GENERIC = Family("other", {}, _no_stages, _no_stages, partial="conv+head", default_targets="conv+head")


def family_of(model: nn.Module) -> Family:
    """The family whose layer names a model has; `GENERIC` for one that is not known.

    There only `conv` and `head` mean anything, and a model without convolutions, or without a linear layer, is trained
    and adapted at the other.
    """
    if isinstance(model, TinyVit):
        return tinyvit.FAMILY
    if isinstance(model, ResNet):
        return resnet.FAMILY
    layers = adaptable_layers(model)
    # Some of timm's transformers of this class have blocks of another make.
    if isinstance(model, VisionTransformer) and all(
        _match_kind(vit.FAMILY, layers, kind) for kind in vit.FAMILY.layers
    ):
        return vit.FAMILY
    kinds = "+".join(kind for kind in ("conv", "head") if _match_kind(GENERIC, layers, kind))
    return replace(GENERIC, partial=kinds, default_targets=kinds) if kinds else GENERIC


def adaptable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Every Linear and every ungrouped Conv2d by module name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
    }


def match_targets(model: nn.Module, targets: str | Sequence[str]) -> list[str]:
    """The module names that `targets` means, in the model's order.

    Raises:
        TargetError: a term is unknown or matches no layer; the message says what the model has.
    """
    layers = adaptable_layers(model)
    if not isinstance(targets, str):
        return _match_names(model, layers, targets)
    chosen: set[str] = set()
    for term in targets.split("+"):
        chosen.update(_match_term(model, layers, term.strip()))
    return [name for name in layers if name in chosen]


def available_targets(model: nn.Module) -> list[str]:
    """The target names without prefix that match at least one layer of a model."""
    layers = adaptable_layers(model)
    return [name for name in TARGETS if _match_kind(family_of(model), layers, name)]


def _match_names(model: nn.Module, layers: dict[str, nn.Module], names: Sequence[str]) -> list[str]:
    for name in names:
        if name not in layers:
            close = difflib.get_close_matches(name, layers, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TargetError(f"{type(model).__name__} has no Linear or ungrouped Conv2d layer named {name!r}{hint}")
    return [name for name in layers if name in set(names)]


def _match_term(model: nn.Module, layers: dict[str, nn.Module], term: str) -> list[str]:
    if term == PARTIAL:
        return match_targets(model, family_of(model).partial)
    if term in PRESETS:
        return _match_preset(model, layers, term)
    found = re.fullmatch(r"(last\.block\.|last\.)?(\w+)", term)
    if not found or found[2] not in TARGETS:
        close = difflib.get_close_matches(term.rsplit(".", 1)[-1], [*TARGETS, *PRESETS, PARTIAL], n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise TargetError(
            f"unknown target {term!r}{hint}: targets are {', '.join(TARGETS)}, each optionally with 'last.' or "
            f"'last.block.' before it, and {', '.join([*PRESETS, PARTIAL])}, joined with '+'"
        )
    prefix, kind = found[1], found[2]
    family = family_of(model)
    names = _match_kind(family, layers, kind)
    if prefix and kind != "head":
        within = family.last_block(model) if prefix == "last.block." else family.last_stage(model)
        names = [name for name in names if name.startswith(within)]
    if not names:
        raise TargetError(
            f"target {term!r} matches no layer of {type(model).__name__}, which has "
            f"{', '.join(available_targets(model)) or 'no layer that can be adapted'}"
        )
    return names


def _match_preset(model: nn.Module, layers: dict[str, nn.Module], name: str) -> list[str]:
    family = family_of(model)
    preset = family.presets.get(name)
    if preset is None:
        raise TargetError(
            f"target {name!r} means nothing on {type(model).__name__}, which has "
            f"{', '.join([*available_targets(model), *family.presets]) or 'no layer that can be adapted'}"
        )
    chosen = {layer for layer in layers if re.fullmatch(preset.layers, layer)} if preset.layers else set()
    if preset.targets:
        chosen.update(match_targets(model, preset.targets))
    return [layer for layer in layers if layer in chosen]


def _match_kind(family: Family, layers: dict[str, nn.Module], kind: str) -> list[str]:
    if kind == "conv":
        return [name for name, module in layers.items() if isinstance(module, nn.Conv2d)]
    if kind in family.layers:
        return [name for name in layers if re.fullmatch(family.layers[kind], name)]
    if kind == "head":
        linear = [name for name, module in layers.items() if isinstance(module, nn.Linear)]
        return linear[-1:]
    return []
