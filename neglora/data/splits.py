"""Which images are forgotten, retained, searched on and reported on: index arrays, never changed labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neglora.data.dataset import ImageDataset
from neglora.data.forget import ForgetError, parse_forget
from neglora.record import forget_title
from neglora.seeds import derive_seed


@dataclass(frozen=True)
class Splits:
    """Indices into the training images (`forget`, `retain`) and into the test images (the rest).

    Attributes:
        forget: D_f, the training images of the forget classes, or the random share.
        retain: D_r, all other training images.
        test: test images of the remaining classes that the search sees; for a random share, of all classes.
        test_report: those that only the report sees; equal to `test` without a holdout.
        test_forget: test images of the forget classes; empty for a random share, which has no classes of its own.
    """

    forget: Tensor
    retain: Tensor
    test: Tensor
    test_report: Tensor
    test_forget: Tensor

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(getattr(self, name)) for name in ("forget", "retain", "test", "test_report", "test_forget")}


def split(dataset: ImageDataset, forget: Any, *, holdout: float = 0.0, seed: int = 0) -> Splits:
    """Split a dataset for forgetting.

    Args:
        dataset: the images.
        forget: what `parse_forget` takes: a class by index or name, several, or a random share.
        holdout: share of the test images, in [0, 1), that only the report sees; 0 leaves the test set whole.
        seed: of the test set's split; it does not depend on the forget set, so that halves are the same for all.

    Raises:
        ForgetError: see `parse_forget`; or a part that would be without images.
    """
    wanted = parse_forget(dataset.info, forget)
    train_labels, test_labels = dataset.train_labels.cpu(), dataset.test_labels.cpu()
    classes = torch.tensor(wanted.classes, dtype=train_labels.dtype)
    if wanted.share is None:
        is_forget = torch.isin(train_labels, classes)
    else:
        is_forget = _stratified_share(train_labels, wanted.share, derive_seed(wanted.seed, "forget"))
    is_test_forget = torch.isin(test_labels, classes)
    if not is_forget.any() or is_forget.all():
        raise ForgetError(
            f"{forget_title(wanted.named(dataset.info))} holds none or all of the {len(train_labels)} training images "
            f"of {dataset.info.name}"
            + (": a share is rounded to whole images of each class" if wanted.share is not None else "")
        )
    reported = _stratified_share(test_labels, holdout, derive_seed(seed, "holdout"))
    remaining = ~is_test_forget
    selection = remaining & ~reported if holdout > 0 else remaining
    report = remaining & reported if holdout > 0 else remaining
    if not selection.any() or not report.any():
        raise ForgetError(f"a holdout of {holdout} leaves one half of the test images of {dataset.info.name} empty")
    return Splits(
        forget=is_forget.nonzero().squeeze(1),
        retain=(~is_forget).nonzero().squeeze(1),
        test=selection.nonzero().squeeze(1),
        test_report=report.nonzero().squeeze(1),
        test_forget=is_test_forget.nonzero().squeeze(1),
    )


def _stratified_share(labels: Tensor, share: float, seed: int) -> Tensor:
    """A mask that holds `share` of every class, rounded to whole images."""
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1)
        order = torch.randperm(len(members), generator=generator)
        chosen[members[order[: round(share * len(members))]]] = True
    return chosen
