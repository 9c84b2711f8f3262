"""Accuracy by class before and after: which classes paid for what was forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from study.drops import LEVEL, fisher_drop, holm
from study.evidence import PARTS, RECOMMENDED, Seen, Witnesses

#: So many classes are drawn of those that stay, and of those that were forgotten.
MOST_KEPT, MOST_FORGOTTEN = 20, 6


@dataclass(frozen=True)
class Share:
    """Of `total` images over all replicates, `right` are called what they are; one replicate has `images`."""

    right: int
    total: int
    images: int

    @property
    def value(self) -> float:
        return self.right / self.total


@dataclass(frozen=True)
class ClassRow:
    """One class.

    Attributes:
        name: of the class.
        forgotten: whether these are the replicates that forgot it; others have a row of their own.
        shares: per part of the images (`PARTS`) and model, how often it was right; none for a part without images.
        p_values: per part, how likely chance makes such a drop from the base, adjusted for all that are compared; only
            of classes that stay.
    """

    name: str
    forgotten: bool
    shares: dict[str, dict[str, Share]]
    p_values: dict[str, float] = field(default_factory=dict)

    def drop(self, part: str, base: str) -> float | None:
        """How much lower the recommended model's accuracy is than the base's; None without images."""
        found = self.shares[part]
        return found[base].value - found[RECOMMENDED].value if found else None

    @property
    def paid(self) -> tuple[str, ...]:
        """The parts in which it fell by more than chance explains."""
        return tuple(part for part, p_value in self.p_values.items() if p_value <= LEVEL)


@dataclass(frozen=True)
class ClassesInfo:
    """What the figure shows.

    Attributes:
        base: the name of the model before.
        models: all names, the recommended one last.
        method: of the recommended trial.
        kept: the classes that stay, those that paid most first.
        forgotten: the forgotten ones, in the dataset's order; none of a random share.
        compared: how many drops were tested.
        of_share: whether any replicate forgot a random share, so that training images hold forgotten ones of every
            class: then only the test images are tested.
        replicates: over how many the shares are.
    """

    base: str
    models: tuple[str, ...]
    method: str
    kept: tuple[ClassRow, ...]
    forgotten: tuple[ClassRow, ...]
    compared: int
    of_share: bool
    replicates: int

    @property
    def drawn(self) -> tuple[ClassRow, ...]:
        """From the top: forgotten classes, then those that stay."""
        return (*self.forgotten[:MOST_FORGOTTEN], *self.kept[:MOST_KEPT])

    @property
    def paid(self) -> tuple[ClassRow, ...]:
        return tuple(row for row in self.kept if row.paid)

    @property
    def worst(self) -> tuple[ClassRow, str] | None:
        """The class with the largest drop and on which images; those that paid go first. None where none fell."""
        drops = [
            (bool(row.paid) and part in row.paid, drop, -place, row, part)
            for place, row in enumerate(self.kept)
            for part in PARTS
            if (drop := row.drop(part, self.base)) is not None and drop > 0
        ]
        return max(drops, key=lambda one: one[:3])[3:] if drops else None


def classes_info(seen: Witnesses) -> ClassesInfo | None:
    """Gather right answers by class; None where the base is not recorded, or it is not known which classes went."""
    gone = [seen.forgotten(one) for one in seen.recommended]
    if seen.base is None or any(classes is None for classes in gone):
        return None
    forgotten = [set(classes or ()) for classes in gone]
    of_share = any(not classes for classes in forgotten)
    rows = []
    for index, name in enumerate(seen.labels):
        for is_forgotten in (True, False):
            places = [place for place, classes in enumerate(forgotten) if (index in classes) is is_forgotten]
            shares = {
                part: _shares(
                    {model: [own[place] for place in places] for model, own in seen.models.items()}, part, index
                )
                for part in PARTS
            }
            if any(shares.values()):
                rows.append(ClassRow(name, is_forgotten, shares))
    kept = _tested([row for row in rows if not row.forgotten], seen.base, ("test",) if of_share else PARTS)
    return ClassesInfo(
        seen.base,
        tuple(seen.models),
        seen.method,
        tuple(sorted(kept, key=lambda row: _order(row, str(seen.base)))),
        tuple(row for row in rows if row.forgotten),
        sum(len(row.p_values) for row in kept),
        of_share,
        len(seen.recommended),
    )


def _shares(models: dict[str, list[Seen]], part: str, index: int) -> dict[str, Share]:
    """How often each model is right about a class; nothing where it has no images."""
    found = {}
    for model, several in models.items():
        totals = [one.total[part][index] for one in several]
        if not totals or not all(totals):
            return {}
        found[model] = Share(sum(one.right[part][index] for one in several), sum(totals), min(totals))
    return found


def _tested(rows: Sequence[ClassRow], base: str, parts: Sequence[str]) -> list[ClassRow]:
    """The rows with their p-values, all drops taken together."""
    asked = [(place, part) for place, row in enumerate(rows) for part in parts if row.shares[part]]
    p_values = holm([_p_value(rows[place].shares[part], base) for place, part in asked])
    found: list[dict[str, float]] = [{} for _ in rows]
    for (place, part), p_value in zip(asked, p_values, strict=True):
        found[place][part] = p_value
    return [ClassRow(row.name, row.forgotten, row.shares, own) for row, own in zip(rows, found, strict=True)]


def _p_value(shares: dict[str, Share], base: str) -> float:
    """Replicates share their images: those of one are counted, and the drop is rounded down to whole ones."""
    before, after = shares[base], shares[RECOMMENDED]
    images = min(before.images, after.images)
    return fisher_drop(
        (before.right * images // before.total, images), (-(-after.right * images // after.total), images)
    )


def _order(row: ClassRow, base: str) -> tuple[int, float, float]:
    drops = [row.drop(part, base) or 0.0 for part in reversed(PARTS)]
    return -len(row.paid), -max(drops), -sum(drops)
