"""What a trial's images go through: the base's frozen prefix, computed once for all trials, then the trial's model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from neglora.activations import ActivationBatches, Through
from neglora.data import Batches, Splits
from neglora.evaluation import DatasetOutputs, Outputs, infer
from neglora.methods import METHODS
from neglora.prefix import Cut, entered, find_cut
from neglora.seeds import derive_seed
from neglora.session import GIB, Kept, Session
from neglora.setting import Setting


class Trunk:
    """The images of one configuration on one base.

    Where the configuration leaves the first layers of the base as they are, its model is given the images' activations
    behind these, in the batches that the images would come in: the operations are the same, and so are the logits, bit
    for bit. The ascent draws its batches from D_f's activations, which differ by rounding from what the drawn images
    would have.

    Args:
        session: keeps activations from trial to trial, as far as the setting's `prefix_gib` goes.
        setting: the surroundings.
        base: what the trial starts from.
        method, params: the configuration.

    Attributes:
        cut: where the base is cut in two; None where a trial needs all of it.
        seconds: what computing the ascent's activations took, whichever trial did it first.
    """

    def __init__(self, session: Session, setting: Setting, base: Kept, method: str, params: Mapping[str, Any]) -> None:
        self.setting, self.base, self.method, self.params = setting, base, METHODS[method], params
        self.dataset = session.dataset(setting)
        self.cache = session.prefixes(setting)
        found = self._found_cut() if setting.prefix_gib > 0 else None
        self.cut: Cut | None = found[0] if found else None
        self._bytes = found[1] if found else 0
        self.seconds = 0.0

    def _found_cut(self) -> tuple[Cut, int] | None:
        """Where the base is cut, and the bytes of an image's activations there."""
        layers = self.method.changes(self.base.model, self.params)
        key = None if layers is None else tuple(layers), self.params.get("batchnorm", "frozen")
        if key not in self.base.cuts:
            cut = find_cut(self.base.model, layers, batchnorm=key[1])
            self.base.cuts[key] = None
            if cut is not None:
                one = self.dataset.train(torch.tensor([0]), batch_size=1)
                activations, _ = next(iter(Through(self.base.model, cut, one)))
                self.base.cuts[key] = cut, activations.nbytes
        return self.base.cuts[key]

    @contextmanager
    def ascending(self, model: nn.Module, splits: Splits, seed: int) -> Iterator[dict[str, Batches]]:
        """The data that the method declares, and nothing else, for a model that takes it within this block.

        Whether D_f is drawn from its activations follows from the setting alone: they have to fit into `prefix_gib`.
        """
        activations = self._forget_activations(splits.forget) if self.method.needs == ("forget",) else None
        size = self.params["batch_size"]
        if activations is None:
            yield {
                need: self.dataset.train(getattr(splits, need), batch_size=size, seed=derive_seed(seed, "order", need))
                for need in self.method.needs
            }
            return
        with self.entered(model):
            yield {
                "forget": ActivationBatches(*activations, batch_size=size, seed=derive_seed(seed, "order", "forget"))
            }

    @contextmanager
    def entered(self, model: nn.Module) -> Iterator[None]:
        """Within this block a model takes activations where there is a cut."""
        if self.cut is None:
            yield
            return
        with entered(model, self.cut):
            yield

    @contextmanager
    def left(self, model: nn.Module) -> Iterator[None]:
        """Within this block a model takes images, also one that was copied while it took activations."""
        entrance = vars(model).pop("forward", None) if self.cut is not None else None
        try:
            yield
        finally:
            if entrance is not None:
                vars(model)["forward"] = entrance

    def infer(self, model: nn.Module, train: Tensor | None = None, test: Tensor | None = None) -> DatasetOutputs:
        """A model's logits for some training and test images.

        Args:
            model: the base, or what the configuration made of it.
            train, test: which images, ascending indices; None for all.
        """
        return DatasetOutputs(self.infer_train(model, train), self._infer("test", model, test))

    def infer_train(self, model: nn.Module, rows: Tensor | None) -> Outputs:
        """A model's logits for some training images."""
        return self._infer("train", model, rows)

    def _infer(self, part: str, model: nn.Module, rows: Tensor | None) -> Outputs:
        with self.entered(model):
            outputs = infer(model, self._batches(part, rows))
        return Outputs(outputs.logits, outputs.labels, rows)

    def _batches(self, part: str, rows: Tensor | None) -> Batches:
        batches: Batches = getattr(self.dataset, part)(rows, batch_size=self.setting.batch_size)
        if self.cut is None:
            return batches
        return self.cache.batches(self._key(part, rows), self.base.model, self.cut, batches)

    def _key(self, part: str, rows: Tensor | None) -> tuple[object, ...]:
        digest = None if rows is None else hashlib.sha256(rows.numpy().tobytes()).hexdigest()
        return self.base.key, self.cut, part, digest, self.setting.batch_size

    def _forget_activations(self, index: Tensor) -> tuple[Tensor, Tensor] | None:
        """D_f's activations and labels in the dataset's order; None where they would not fit."""
        if self.cut is None or self._bytes * len(index) > self.setting.prefix_gib * GIB:
            return None
        parts = list(self._batches("train", index))
        self.seconds = self.cache.seconds(self._key("train", index))
        return torch.cat([inputs for inputs, _ in parts]), torch.cat([labels for _, labels in parts])
