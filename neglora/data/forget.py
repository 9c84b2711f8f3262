"""What is to be forgotten: one class, several, or a random share of the training images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neglora.data.dataset import DatasetInfo


class ForgetError(ValueError):
    """A forget set that the dataset cannot have, or that would leave nothing to retain."""


@dataclass(frozen=True)
class ForgetSet:
    """A forget set of one dataset. Either classes or a share.

    Attributes:
        classes: indices of the classes whose training images are forgotten, ascending; empty for a random share.
        share: of the training images, stratified by class, in (0, 1); None for classes.
        seed: of the random share.
    """

    classes: tuple[int, ...] = ()
    share: float | None = None
    seed: int = 0

    @property
    def plain(self) -> int | list[int] | dict[str, float | int]:
        """As JSON holds it, the same for equal sets."""
        if self.share is not None:
            return {"random": self.share, "seed": self.seed}
        return self.classes[0] if len(self.classes) == 1 else list(self.classes)

    def named(self, info: DatasetInfo) -> str | list[str] | dict[str, float | int]:
        """As people name it: classes by their names in the dataset."""
        if self.share is not None:
            return {"random": self.share, "seed": self.seed}
        names = [info.classes[index] for index in self.classes]
        return names[0] if len(names) == 1 else names


def parse_forget(info: DatasetInfo, given: Any) -> ForgetSet:
    """The forget set that a user named.

    Args:
        info: of the dataset.
        given: a class by index or name; a list of such; or `{random: SHARE, seed: SEED}`. A `ForgetSet` stays itself.

    Raises:
        ForgetError: there is no such class, a class is named twice, or nothing would be left to retain.
    """
    if isinstance(given, ForgetSet):
        return given
    if isinstance(given, Mapping):
        return _random_share(given)
    named = list(given) if isinstance(given, list | tuple) else [given]
    if not named:
        raise ForgetError("forget names no class: expected at least one")
    classes = [forget_class(info, one) for one in named]
    twice = next((one for place, one in enumerate(named) if classes.index(classes[place]) != place), None)
    if twice is not None:
        raise ForgetError(f"the class {info.classes[forget_class(info, twice)]!r} is named twice in {given!r}")
    if len(classes) >= info.num_classes:
        raise ForgetError(f"{given!r} are all classes of {info.name}: nothing would be retained")
    return ForgetSet(tuple(sorted(classes)))


def forget_class(info: DatasetInfo, forget: int | str) -> int:
    """The index of the class to forget, given by index or by name.

    A text is a class name first; a text of digits that is no name is an index, since a command line has only texts. A
    number that is also the name of another class is refused.

    Raises:
        ForgetError: there is no such class, it may be either of two, or no other class would be left.
    """
    if isinstance(forget, bool) or not isinstance(forget, int | str):
        raise ForgetError(f"forget should be a class index or name, got {forget!r}")
    if isinstance(forget, int) and str(forget) in info.classes and info.classes.index(str(forget)) != forget:
        raise ForgetError(
            f"{forget} is the name of a class of {info.name}, but not its index, which is "
            f'{info.classes.index(str(forget))}: quote the name, "{forget}", or name the class that is meant; it has '
            f"{_listing(info)}"
        )
    if isinstance(forget, str) and forget in info.classes:
        index = info.classes.index(forget)
    elif isinstance(forget, str) and not forget.isdecimal():
        raise ForgetError(f"{info.name} has no class {forget!r}; it has {_listing(info)}")
    else:
        index = int(forget)
    if not 0 <= index < info.num_classes:
        raise ForgetError(f"{info.name} has no class {forget!r}; it has {_listing(info)}")
    if info.num_classes < 2:
        raise ForgetError(f"{info.classes[index]!r} is the only class of {info.name}: nothing would be retained")
    return index


def _random_share(given: Mapping[str, Any]) -> ForgetSet:
    share, seed = given.get("random"), given.get("seed", 0)
    unknown = [str(key) for key in given if key not in ("random", "seed")]
    if unknown:
        raise ForgetError(f"a random forget set has 'random' and 'seed', got {', '.join(unknown)} too")
    if isinstance(share, bool) or not isinstance(share, int | float) or not math.isfinite(share) or not 0 < share < 1:
        raise ForgetError(f"random should be a share of the training images in (0, 1), got {share!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ForgetError(f"seed of a random forget set should be a whole number >= 0, got {seed!r}")
    return ForgetSet(share=float(share), seed=seed)


def _listing(info: DatasetInfo) -> str:
    names = ", ".join(info.classes[:12]) + (", ..." if info.num_classes > 12 else "")
    return f"{info.num_classes} classes, 0 to {info.num_classes - 1}: {names}"
