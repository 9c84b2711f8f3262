"""Recipes as data files, each with what it is for and where it comes from: `NAME.toml` beside this file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from neglora.recipe import Recipe, RecipeError

#: What models are trained with.
RECIPES = ("nano", "vit_paper", "resnet50", "resnet50_paper")
#: What trained models unlearn with.
UNLEARNING = ("lora_paper",)


@dataclass(frozen=True)
class RecipeEntry:
    """A recipe's file.

    Attributes:
        name: of the file.
        about: one sentence on what it is for.
        source: where its values come from, and what was filled in.
        recipe: the values.
    """

    name: str
    about: str
    source: str
    recipe: Recipe


@cache
def load_recipe(name: str) -> RecipeEntry:
    """The recipe of a name.

    Raises:
        RecipeError: there is none of that name.
    """
    if name not in RECIPES:
        raise RecipeError(f"unknown recipe {name!r}; recipes are {', '.join(RECIPES)}")
    about, source, values = _read(name, "recipe")
    return RecipeEntry(name, about, source, Recipe(**(values | {"betas": tuple(values["betas"])})))


def unlearning_settings(name: str) -> dict[str, Any]:
    """Settings of an unlearning method by parameter, as a file states them.

    Raises:
        RecipeError: there are none of that name.
    """
    if name not in UNLEARNING:
        raise RecipeError(f"unknown settings {name!r}; there are {', '.join(UNLEARNING)}")
    return _read(name, "unlearning")[2]


def _read(name: str, section: str) -> tuple[str, str, dict[str, Any]]:
    """`about`, `source` and the values of a section; a file of another form is a fault of this package."""
    held = tomllib.loads((resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8"))
    return held["about"], held["source"], dict(held[section])
