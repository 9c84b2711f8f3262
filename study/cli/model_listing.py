"""`neglora list --model NAME`: a model's target sets, with their layers and the parameters of adapters on them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from neglora.data import DataError, DataOptions, dataset_names, find_dataset
from neglora.lora import adapter_size
from neglora.models import (
    OPTIONS,
    TARGETS,
    ModelError,
    TargetError,
    family_of,
    find_model,
    match_targets,
    model_names,
    model_shape,
    nearest_model,
)
from study.cli.common import CLASSES, IMAGE_SIZE, RANK, UserError, user_errors
from study.space import unknown_name


@dataclass(frozen=True)
class TargetSet:
    """One set of layers.

    Attributes:
        targets: every text that means it, shortest first.
        layers: module names, in the model's order.
        rank: of the adapters that `parameters` counts.
        parameters: trained ones, over all layers.
        about: of a preset; empty for others.
    """

    targets: tuple[str, ...]
    layers: tuple[str, ...]
    rank: int
    parameters: int
    about: str = ""


@dataclass(frozen=True)
class ModelListing:
    """What a model is when built for some images.

    Attributes:
        name, about, family, recipe: of the model.
        images: what it was built for, in words.
        parameters: all of them.
        default_targets: what NegLoRA adapts unless a study says otherwise.
        partial: what Partial NegGrad trains, as targets; `partial_parameters` counts its weights and biases.
        sets, presets: target sets.
    """

    name: str
    about: str
    family: str
    recipe: str
    images: str
    parameters: int
    default_targets: str
    partial: str
    partial_parameters: int
    sets: tuple[TargetSet, ...]
    presets: tuple[TargetSet, ...]


def list_model(arguments: argparse.Namespace, console: Console) -> None:
    """
    Raises:
        UserError: a name is unknown, an option has no such value, or the model cannot be built so.
    """
    classes, image_size, channels = _images(arguments)
    if arguments.rank is not None and arguments.rank < 1:
        raise UserError(f"--rank: expected at least 1, got {arguments.rank}")
    with user_errors(ModelError):
        listing = listing_of(
            arguments.model,
            classes=classes,
            image_size=image_size,
            channels=channels,
            rank=arguments.rank,
            options=_options(arguments),
        )
    _show(listing, console)


def listing_of(
    name: str, *, classes: int, image_size: int, channels: int, rank: int | None, options: dict[str, str]
) -> ModelListing:
    """Everything that is shown of a model. `rank` None is 16, and a preset's own rank for presets.

    Raises:
        ModelError: there is no such model, or it cannot be built so.
    """
    entry = find_model(name)
    if entry is None:
        close = nearest_model(name)
        raise ModelError(
            f"unknown model {name!r}; did you mean {close!r}?" if close else unknown_name(name, model_names())
        )
    for option in options:
        if option not in entry.options:
            raise ModelError(f"{name} has no option {option!r}; it has {', '.join(entry.options) or 'none'}")
    model = model_shape(name, num_classes=classes, image_size=image_size, channels=channels, options=options)
    family = family_of(model)

    by_layers: dict[tuple[str, ...], list[str]] = {}
    for targets in [prefix + kind for kind in TARGETS for prefix in ("", "last.", "last.block.")]:
        try:
            by_layers.setdefault(tuple(match_targets(model, targets)), []).append(targets)
        except TargetError:
            continue  # this model has no such layers
    sets = [
        # A prefix changes nothing where it means the same layers, as it does of the head.
        TargetSet(tuple(texts[:1] if texts[0] in TARGETS else texts), layers, size, adapter_size(model, layers, size))
        for layers, texts in by_layers.items()
        for size in [rank or RANK]
    ]
    presets = []
    for preset_name, preset in family.presets.items():
        layers, size = tuple(match_targets(model, preset_name)), rank or preset.rank
        presets.append(TargetSet((preset_name,), layers, size, adapter_size(model, layers, size), preset.about))
    partial = [p for layer in match_targets(model, family.partial) for p in model.get_submodule(layer).parameters()]
    return ModelListing(
        name=name,
        about=entry.about,
        family=family.name,
        recipe=entry.recipe,
        images=f"{classes} classes, images of {image_size} pixels",
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        default_targets=family.default_targets,
        partial=family.partial,
        partial_parameters=sum(parameter.numel() for parameter in partial),
        sets=tuple(sets),
        presets=tuple(presets),
    )


def _images(arguments: argparse.Namespace) -> tuple[int, int, int]:
    """Classes, image size and channels."""
    if arguments.dataset is None:
        given = {"--classes": (arguments.classes, CLASSES), "--image-size": (arguments.image_size, IMAGE_SIZE)}
        sizes = {option: default if size is None else size for option, (size, default) in given.items()}
        for option, size in sizes.items():
            if size < 1:
                raise UserError(f"{option}: expected at least 1, got {size}")
        return sizes["--classes"], sizes["--image-size"], 3
    if arguments.classes is not None:
        raise UserError("--classes is known from --dataset; give one of them")
    entry = find_dataset(arguments.dataset)
    if entry is None:
        raise UserError(f"--dataset: {unknown_name(arguments.dataset, dataset_names())}")
    with user_errors(DataError):
        info = entry.info(DataOptions(root=arguments.data_root, image_size=arguments.image_size))
    return info.num_classes, info.image_size, info.channels


def _options(arguments: argparse.Namespace) -> dict[str, str]:
    options = {}
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals or name not in OPTIONS:
            raise UserError(f"--set {text}: expected OPTION=VALUE, options are {', '.join(OPTIONS)}")
        if value not in OPTIONS[name]:
            raise UserError(f"--set {text}: {name} is one of {', '.join(OPTIONS[name])}")
        options[name] = value
    return options


def _show(listing: ModelListing, console: Console) -> None:
    console.print(f"[bold]{listing.name}[/bold]: {listing.about}", highlight=False)
    facts = Table(box=None, padding=(0, 2, 0, 2), show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column()
    for fact, value in (
        ("built for", listing.images),
        ("parameters", f"{listing.parameters:,}"),
        ("family", listing.family),
        ("recipe", listing.recipe),
        ("NegLoRA adapts", f"{listing.default_targets} (unless a study says otherwise)"),
        ("Partial NegGrad trains", f"{listing.partial}: {listing.partial_parameters:,} parameters"),
    ):
        facts.add_row(fact, value)
    console.print(facts)
    rank = listing.sets[0].rank if listing.sets else RANK
    console.print(f"\n[bold]targets[/bold], with adapters of rank {rank}", highlight=False)
    console.print(_table(listing.sets))
    if listing.presets:
        console.print("\n[bold]presets[/bold]", highlight=False)
        console.print(_table(listing.presets, ranks=True))
        for preset in listing.presets:
            console.print(Padding(f"{preset.targets[0]}: {preset.about}", (0, 2)), style="dim", highlight=False)


def _table(sets: Sequence[TargetSet], *, ranks: bool = False) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="dim")
    table.add_column("target", style="bold", no_wrap=True)
    if ranks:
        table.add_column("rank", justify="right")
    table.add_column("trained", justify="right", no_wrap=True)
    table.add_column("layers", justify="right")
    table.add_column("from, to", overflow="fold")
    for row in sets:
        names = [row.layers[0], row.layers[-1]] if len(row.layers) > 1 else list(row.layers)
        rank = [str(row.rank)] if ranks else []
        table.add_row("\n".join(row.targets), *rank, f"{row.parameters:,}", str(len(row.layers)), "\n".join(names))
    return table
