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


def sampled(splits: Splits, dataset: ImageDataset, *, retain: int | None, test: int | None, seed: int = 0) -> Splits:
    """A part of the splits that a search looks at: D_f whole, of the rest so many images, stratified by class.

    Args:
        splits: of the dataset.
        dataset: whose labels they are.
        retain: images of D_r; None, or as many as there are, for all.
        test: images of the selection half, and of the forget classes' test images.
        seed: every trial looks at the same images, so that trials are compared on them.

    Returns:
        Indices in ascending order; the report half is empty.
    """
    train_labels, test_labels = dataset.train_labels.cpu(), dataset.test_labels.cpu()
    return Splits(
        forget=splits.forget,
        retain=stratified(splits.retain, train_labels, retain, derive_seed(seed, "sample", "retain")),
        test=stratified(splits.test, test_labels, test, derive_seed(seed, "sample", "test")),
        test_report=splits.test_report[:0],
        test_forget=stratified(splits.test_forget, test_labels, test, derive_seed(seed, "sample", "test_forget")),
    )


def stratified(index: Tensor, labels: Tensor, count: int | None, seed: int) -> Tensor:
    """`count` of an index, from each class its share of them: whole images, the largest remainders rounded up."""
    if count is None or count >= len(index):
        return index
    generator = torch.Generator().manual_seed(seed)
    classes, members = labels[index].unique(return_counts=True)
    shares = members.double() * count / len(index)
    taken = shares.floor().long()
    # Where remainders are equal, chance decides and not the order of the classes.
    order = torch.randperm(len(classes), generator=generator)
    largest = order[(shares - taken)[order].argsort(descending=True, stable=True)]
    taken[largest[: count - int(taken.sum())]] += 1
    chosen = []
    for label, share in zip(classes.tolist(), taken.tolist(), strict=True):
        own = index[labels[index] == label]
        chosen.append(own[torch.randperm(len(own), generator=generator)[:share]])
    return torch.cat(chosen).sort().values


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
