"""Audits: is a class gone, or only hidden? Each is the same for the unlearned model, its base and Retrain.

How an audit's number is to be read, and when not, is on the page docs/audits.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from neglora.audits import probe, relearn
from neglora.audits.features import penultimate_features
from neglora.audits.material import Images, Material, Pool, material_of, pool_of
from neglora.record import Measured

#: Why no audit takes a forget set that is a random share of all classes.
NOT_AUDITED = "audits ask whether a class is gone, and a random share has no class: leave `audits` out"


@dataclass(frozen=True)
class Audit:
    """One way of asking.

    Attributes:
        name: the key in spaces, records and `AUDITS`, and the name of its metric in `neglora.objectives.METRICS`.
        about: one sentence for people.
        look: `look(model, material, seed=, masks=, head=)`: what it found, as plain data for a record.
        value: its metric of that: a fraction, or None where it could not be measured.
    """

    name: str
    about: str
    look: Callable[..., dict[str, Any]]
    value: Callable[[Mapping[str, Any]], float | None]


AUDITS: dict[str, Audit] = {
    audit.name: audit
    for audit in (
        Audit(
            "relearn",
            "accuracy on unseen images of the forget class after a few steps on 1, 10 and 100 images of D_f",
            relearn.relearn,
            relearn.value,
        ),
        Audit(
            "probe",
            "accuracy on unseen images of the forget class of a linear probe on frozen penultimate features",
            probe.probe,
            probe.value,
        ),
    )
}


@dataclass(frozen=True)
class Audited:
    """What audits found of one model.

    Attributes:
        values: the metric of each, by name: fractions, None where it could not be measured.
        details: all that each found, by name.
    """

    values: Measured
    details: dict[str, dict[str, Any]]


def run_audits(
    names: Iterable[str],
    model: nn.Module,
    material: Material,
    *,
    seed: int = 0,
    masks: Mapping[str, Tensor] | None = None,
    head: str | None = None,
) -> Audited:
    """Ask of a model what the audits of these names ask; it is not modified.

    Raises:
        ValueError: there is no such audit, or the model has no head (`probe`).
    """
    names = list(names)
    unknown = [name for name in names if name not in AUDITS]
    if unknown:
        raise ValueError(f"unknown audit {unknown[0]!r}; audits are {', '.join(AUDITS)}")
    found = {name: AUDITS[name].look(model, material, seed=seed, masks=masks, head=head) for name in names}
    return Audited({name: AUDITS[name].value(details) for name, details in found.items()}, found)


def audit(
    model: nn.Module,
    *,
    forget: Images,
    retain: Images,
    test_forget: Images,
    test: Images | None = None,
    audits: Sequence[str] = tuple(AUDITS),
    seed: int = 0,
    masks: Mapping[str, Tensor] | None = None,
    head: str | None = None,
) -> Audited:
    """Audit any classifier. A number means something beside Retrain's: audit a model that never saw the class too.

    Args:
        model: `[b, c, h, w]` to logits `[b, classes]`; not modified.
        forget, retain: training images D_f and D_r, without augmentation, with their true labels: batches, such as a
            DataLoader's, or a pair of tensors. They are held in memory.
        test_forget: images of the forget class that no model was trained on.
        test: test images of the remaining classes, for the probe's `ta`; None to leave it out.
        audits: names of `AUDITS`.
        seed: of what is drawn. Give all models that are compared the same.
        masks: of a pruned model, by parameter name: pruned weights stay zero while it is fine-tuned.
        head: name of the module whose inputs are the features, for models whose last Linear it is not.

    Raises:
        ValueError: an unknown audit, a part without images, or no head.
        TypeError: the model returns something else than logits.
    """
    parts = {"forget": forget, "retain": retain, "test_forget": test_forget}
    pools = {name: pool_of(images, model) for name, images in parts.items()}
    empty = [name for name, pool in pools.items() if not len(pool)]
    if empty:
        raise ValueError(f"{empty[0]} has no images")
    material = Material(**pools, test=pool_of(test, model))
    return run_audits(audits, model, material, seed=seed, masks=masks, head=head)


__all__ = [
    "AUDITS",
    "Audit",
    "Audited",
    "Images",
    "Material",
    "Pool",
    "audit",
    "material_of",
    "penultimate_features",
    "run_audits",
]
