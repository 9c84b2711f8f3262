"""What audits say of a model, in words: whether its class is gone, or only hidden. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from neglora.intervals import wilson

#: A model that still names more than this share of D_f has forgotten nothing that an audit could look for.
FORGOTTEN = 0.95
#: So far above Retrain's an audit's value has to be at least, whatever the number of images: two trainings of Retrain
#: differ from each other, too, which no interval of one of them knows.
LEAST = 0.1

Says = Literal["hidden", "clear", "unknown"]

WORDS: dict[Says, str] = {
    "hidden": "forgets at the output, not in the features",
    "clear": "no trace found by these audits",
    "unknown": "cannot be said",
}


@dataclass(frozen=True)
class Verdict:
    """What audits say.

    Attributes:
        says: `hidden`, `clear` or `unknown`.
        because: the numbers that it follows from, or what was missing, in words.
    """

    says: Says
    because: str

    @property
    def words(self) -> str:
        return WORDS[self.says]


def verdict(
    *,
    ua: float | None,
    ra: float | None,
    audits: Mapping[str, float | None],
    retrain: Mapping[str, float | None],
    test_images: int,
) -> Verdict:
    """Compare a model's audits with Retrain's.

    A model that forgets at its output (UA of at least `FORGOTTEN`) hides the class if any audit's value is above
    Retrain's by at least `LEAST` and by more than chance allows: the difference's 95% interval (Newcombe's, of both
    Wilson intervals) lies above 0. Otherwise no trace was found, if every audit was measured on both models,
    and if the model still works: one that is ruined (RA below Retrain's by `LEAST` or more) relearns nothing at once,
    whatever it holds.

    Args:
        ua, ra: of the model, fractions.
        audits: its values by the audit's name, accuracies on test images of the forget class.
        retrain: Retrain's under the same protocol, and its `ra`.
        test_images: on how many test images the values were measured, each image counted once.

    Source: Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10.
    """
    if ua is None:
        return Verdict("unknown", "UA was not measured")
    if ua < FORGOTTEN:
        return Verdict("unknown", f"it still names {1 - ua:.0%} of D_f: nothing is forgotten that could be hidden")
    if not audits:
        return Verdict("unknown", "no audit was asked for")
    if test_images < 1:
        return Verdict("unknown", "there are no test images of the forget class")
    above: list[str] = []
    level: list[str] = []
    missing: list[str] = []
    for name, value in audits.items():
        mark = retrain.get(name)
        if value is None or mark is None:
            missing.append(f"{name} was not measured {'on it' if value is None else 'on Retrain'}")
            continue
        told = f"{name} {value:.1%} beside Retrain's {mark:.1%}"
        (above if is_above(value, mark, test_images) else level).append(told)
    if above:
        return Verdict("hidden", "; ".join(above))
    if missing:
        return Verdict("unknown", "; ".join(missing + level))
    whole = retrain.get("ra")
    if ra is None or whole is None:
        return Verdict("unknown", f"RA was not measured {'on it' if ra is None else 'on Retrain'}; {'; '.join(level)}")
    if whole - ra >= LEAST:
        ruined = (
            f"it names {ra:.0%} of the retained images, Retrain {whole:.0%}: what is ruined relearns nothing at once"
        )
        return Verdict("unknown", "; ".join([ruined, *level]))
    return Verdict("clear", "; ".join(level))


def is_above(value: float, mark: float, test_images: int) -> bool:
    """Whether a share is above another by at least `LEAST` and more than chance allows, each of so many images."""
    difference = value - mark
    low, high = wilson(value, test_images)[0], wilson(mark, test_images)[1]
    return difference >= LEAST and difference > math.hypot(value - low, high - mark)
