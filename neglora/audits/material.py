"""The images that audits draw from: labelled, by place, whether of a dataset or a user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from neglora.data import Batches, ImageDataset, Splits, stratified

#: Labelled images: batches that can be iterated, or a pair of tensors (inputs, labels).
Images = Iterable[tuple[Tensor, Tensor]] | tuple[Tensor, Tensor]

#: Images in a batch where nobody says otherwise.
BATCH_SIZE = 64


@dataclass(frozen=True)
class Pool:
    """Labelled images, of which any can be had.

    Attributes:
        labels: int64 on the CPU, `[n]`.
        take: batches of the images at some places, `[m]`, in that order.
    """

    labels: Tensor
    take: Callable[[Tensor], Batches]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def all(self) -> Batches:
        """Batches of every image."""
        return self.take(torch.arange(len(self)))

    def drawn(self, count: int, seed: int) -> Batches:
        """Batches of `count` images at random, of all where there are fewer. A larger draw holds the smaller ones."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.take(order[:count])

    def sample(self, count: int, seed: int) -> Pool:
        """`count` of the images, stratified by label; all of them where there are fewer."""
        places = stratified(torch.arange(len(self)), self.labels, count, seed)
        return Pool(self.labels[places], lambda wanted: self.take(places[wanted]))


@dataclass(frozen=True)
class Material:
    """What an audit may look at.

    Attributes:
        forget: D_f, training images.
        retain: D_r, training images.
        test_forget: test images of the forget class, which no model was trained on; may be empty.
        test: test images of the remaining classes; may be empty.
    """

    forget: Pool
    retain: Pool
    test_forget: Pool
    test: Pool


def material_of(dataset: ImageDataset, splits: Splits, batch_size: int) -> Material:
    """The splits of a forget set; as `test` the half of the test images that a report shows."""

    def pool(part: Callable[..., Batches], labels: Tensor, index: Tensor) -> Pool:
        return Pool(labels.cpu()[index], lambda places: part(index[places], batch_size=batch_size))

    return Material(
        forget=pool(dataset.train, dataset.train_labels, splits.forget),
        retain=pool(dataset.train, dataset.train_labels, splits.retain),
        test_forget=pool(dataset.test, dataset.test_labels, splits.test_forget),
        test=pool(dataset.test, dataset.test_labels, splits.test_report),
    )


def pool_of(images: Images | None, model: nn.Module) -> Pool:
    """A user's images as a pool, held in memory and moved to where the model wants them; None as an empty one."""
    if images is None:
        return Pool(torch.empty(0, dtype=torch.int64), lambda places: iter(()))
    if isinstance(images, tuple):
        inputs, labels = images
    else:
        parts = list(images)
        if not parts:
            return pool_of(None, model)
        inputs = torch.cat([inputs for inputs, _ in parts])
        labels = torch.cat([labels for _, labels in parts])
    if len(inputs) != len(labels):
        raise ValueError(f"{len(inputs)} inputs but {len(labels)} labels")
    return Pool(labels.cpu(), lambda places: _Held(inputs, labels, places, model))


class _Held:
    """Batches of tensors, moved as they come."""

    def __init__(self, inputs: Tensor, labels: Tensor, places: Tensor, model: nn.Module) -> None:
        self.inputs, self.labels, self.places, self.model = inputs, labels, places, model

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        first = next(parameter for parameter in self.model.parameters() if parameter.is_floating_point())
        for places in self.places.split(BATCH_SIZE):
            inputs, labels = self.inputs[places.to(self.inputs.device)], self.labels[places.to(self.labels.device)]
            dtype = first.dtype if inputs.is_floating_point() else None
            yield inputs.to(first.device, dtype), labels.to(first.device)
