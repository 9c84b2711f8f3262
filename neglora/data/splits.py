"""Which images are forgotten, retained, searched on and reported on: index arrays, never changed labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neglora.data.dataset import DatasetInfo, ImageDataset
from neglora.seeds import derive_seed


class ForgetError(ValueError):
    """A forget class that the dataset does not have, or the only one it has."""


@dataclass(frozen=True)
class Splits:
    """Indices into the training images (`forget`, `retain`) and into the test images (the rest).

    Attributes:
        forget: D_f, the training images of the forget class.
        retain: D_r, all other training images.
        test: test images of the remaining classes that the search sees.
        test_report: test images of the remaining classes that only the report sees; equal to `test` without a holdout.
        test_forget: test images of the forget class.
    """

    forget: Tensor
    retain: Tensor
    test: Tensor
    test_report: Tensor
    test_forget: Tensor

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(getattr(self, name)) for name in ("forget", "retain", "test", "test_report", "test_forget")}


def forget_class(info: DatasetInfo, forget: int | str) -> int:
    """The index of the class to forget, given by index or by name.

    A text is a class name first; a text of digits that is no name is an index, since a command line has only texts.

    Raises:
        ForgetError: there is no such class, or no other class would be left.
    """
    if isinstance(forget, bool) or not isinstance(forget, int | str):
        raise ForgetError(f"forget should be a class index or name, got {forget!r}")
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


def _listing(info: DatasetInfo) -> str:
    names = ", ".join(info.classes[:12]) + (", ..." if info.num_classes > 12 else "")
    return f"{info.num_classes} classes, 0 to {info.num_classes - 1}: {names}"


def split(dataset: ImageDataset, forget: int | str, *, holdout: float = 0.0, seed: int = 0) -> Splits:
    """Split a dataset for forgetting one class.

    Args:
        dataset: the images.
        forget: the class, by index or name.
        holdout: share of the test images, in [0, 1), that only the report sees; 0 leaves the test set whole.
        seed: of the test set's split; it does not depend on the forget class, so that halves are the same for all.

    Raises:
        ForgetError: see `forget_class`; or a half that would be without images.
    """
    index = forget_class(dataset.info, forget)
    is_forget = dataset.train_labels.cpu() == index
    is_test_forget = dataset.test_labels.cpu() == index
    if not is_forget.any() or is_forget.all():
        raise ForgetError(f"class {forget!r} holds none or all of the training images of {dataset.info.name}")
    reported = _stratified_share(dataset.test_labels.cpu(), holdout, seed)
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
    generator = torch.Generator().manual_seed(derive_seed(seed, "holdout"))
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1)
        order = torch.randperm(len(members), generator=generator)
        chosen[members[order[: round(share * len(members))]]] = True
    return chosen
