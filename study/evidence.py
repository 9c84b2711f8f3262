"""What records keep of single images: of a trial, and of the base and the Retrain that it is compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neglora.record import Record
from study.references import base_name

#: The sides of a histogram of confidences: D_f, D_r, and the report half.
SIDES = ("forget", "retain", "test")
#: The images that right answers are counted on.
PARTS = ("train", "test")

#: No dataset has more images: a count beyond is none.
MOST_IMAGES = 10**9

Counts = tuple[int, ...]
Stretches = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Seen:
    """What one model does with single images, in one measurement in full.

    Attributes:
        forget, seed: of the replicate, as it names them.
        right, total: images by class that are called what they are, and that there are; for each of `PARTS`.
        called: what D_f's images are called, by class.
        confidences: for each of `SIDES`, how many images are in each of equal bins of the true label's confidence.
        non_member: the stretches of confidence that the attack calls non-members; None where that is not recorded.
        has_signal: whether the attack tells training images from others at all; None where that is not recorded.
    """

    forget: Any
    seed: Any
    right: dict[str, Counts]
    total: dict[str, Counts]
    called: Counts
    confidences: dict[str, Counts]
    non_member: Stretches | None
    has_signal: bool | None


@dataclass(frozen=True)
class Witnesses:
    """What the models that are compared did, replicate for replicate.

    Attributes:
        names: of the classes.
        models: by name, of Base, Retrain and Recommended those that are recorded for every replicate, in this order;
            the same replicates for each.
        base: the name of the base, the last one's start; None where it is not recorded.
        method: of the recommended trial.
        unseen: how many replicates of the trial are left out, since they say nothing of single images.
    """

    names: tuple[str, ...]
    models: dict[str, tuple[Seen, ...]]
    base: str | None
    method: str
    unseen: int

    @property
    def recommended(self) -> tuple[Seen, ...]:
        return self.models[RECOMMENDED]

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes as people read them: a number says that it is one."""
        return tuple(f"class {name}" if name.isdecimal() else name for name in self.names)

    def forgotten(self, seen: Seen) -> tuple[int, ...] | None:
        """The classes that were forgotten; none of a random share, and None where they cannot be told."""
        return _forgotten(seen.forget, self.names)


RETRAIN, RECOMMENDED = "Retrain", "Recommended"


def witnesses(record: Record, retrain: Record | None) -> Witnesses | None:
    """What a trial's record and Retrain's keep of single images; None where the trial's keeps nothing.

    Args:
        record: of a trial in full.
        retrain: the group's Retrain, in whose replicates the bases are; None where it is missing.
    """
    found = [_seen(item, item.get("details")) for item in record.replicates]
    own = tuple(seen for seen in found if seen is not None)
    if not own or len({len(seen.called) for seen in own}) > 1:
        return None
    sparsity = record.params.get("sparsity", 0.0)
    base = base_name(float(sparsity)) if isinstance(sparsity, int | float) else "Base"
    oracles = {_pair(item): item for item in (retrain.replicates if retrain else [])}
    beside: dict[str, list[Seen | None]] = {base: [], RETRAIN: []}
    for seen in own:
        oracle = oracles.get(_pair({"forget": seen.forget, "seed": seen.seed}), {})
        bases = [one for one in oracle.get("bases") or [] if one and one.get("sparsity") == sparsity]
        beside[base].append(_seen(oracle, bases[0].get("details")) if bases else None)
        beside[RETRAIN].append(_seen(oracle, oracle.get("details")))
    models = {}
    for name, column in beside.items():
        whole = tuple(seen for seen in column if seen is not None and len(seen.called) == len(own[0].called))
        if len(whole) == len(own):
            models[name] = whole
    return Witnesses(
        _names(retrain, len(own[0].called)),
        models | {RECOMMENDED: own},
        base if base in models else None,
        str(record.cell["method"]),
        len(found) - len(own),
    )


def agreed(several: Sequence[Stretches]) -> Stretches:
    """Where all of several sets of stretches lie over one another; none for none."""
    common = several[0] if several else ()
    for other in several[1:]:
        pairs = ((max(a, c), min(b, d)) for a, b in common for c, d in other)
        common = tuple((low, high) for low, high in pairs if low < high)
    return common


def _pair(replicate: Mapping[str, Any]) -> str:
    return json.dumps([replicate.get("forget"), replicate.get("seed")], sort_keys=True)


def _names(retrain: Record | None, classes: int) -> tuple[str, ...]:
    for replicate in retrain.replicates if retrain else []:
        names = (replicate.get("details") or {}).get("class_names")
        if names and len(names) == classes:
            return tuple(names)
    return tuple(f"class {index}" for index in range(classes))


def _forgotten(forget: Any, names: Sequence[str]) -> tuple[int, ...] | None:
    """As the library reads a forget set: a text is a name first, then an index."""
    if isinstance(forget, Mapping):
        return ()
    found = []
    for one in forget if isinstance(forget, list | tuple) else [forget]:
        if isinstance(one, str) and one in names:
            found.append(names.index(one))
        elif isinstance(one, int | str) and str(one).isdecimal() and int(one) < len(names):
            found.append(int(one))
        else:
            return None
    return tuple(found)


def _seen(replicate: Mapping[str, Any], details: Mapping[str, Any] | None) -> Seen | None:
    """What the details of a measurement say; None where they lack a part of it or do not fit together."""
    details = details or {}
    classes, bins = details.get("classes") or {}, details.get("confidences") or {}
    called = _counts(details.get("called"))
    right = {part: _counts((classes.get(part) or {}).get("right")) for part in PARTS}
    total = {part: _counts((classes.get(part) or {}).get("total")) for part in PARTS}
    confidences = {side: _counts(bins.get(side)) for side in SIDES}
    if not called or any(len(counts) != len(called) for counts in (*right.values(), *total.values())):
        return None
    if any(r > t for part in PARTS for r, t in zip(right[part], total[part], strict=True)):
        return None
    if len(set(map(len, confidences.values()))) > 1 or not all(map(sum, (called, *confidences.values()))):
        return None
    side = (details.get("attack") or {}).get("report") or {}
    return Seen(
        replicate.get("forget"),
        replicate.get("seed"),
        right,
        total,
        called,
        confidences,
        _stretches(side.get("non_member")),
        side.get("has_signal"),
    )


def _counts(given: Any) -> Counts:
    """Counts as they are; none where any is not one."""
    return tuple(given) if given and all(type(value) is int and 0 <= value <= MOST_IMAGES for value in given) else ()


def _stretches(given: Any) -> Stretches | None:
    """Ascending stretches of [0, 1]; None where they are not that."""
    if given is None or any(ends is None or len(ends) != 2 or None in ends for ends in given):
        return None
    found = tuple((float(low), float(high)) for low, high in given)
    ends = [end for stretch in found for end in stretch]
    return found if ends == sorted(ends) and all(0 <= end <= 1 for end in ends) else None
