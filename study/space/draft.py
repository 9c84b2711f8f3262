"""A space that may still have mistakes, as its checks look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError
from torch import nn

from neglora.data import DataError, DataOptions, DatasetInfo, find_dataset
from neglora.models import OPTIONS, find_model, model_shape
from study.space.methods import Axes, Settings
from study.space.schema import Data


@dataclass(frozen=True)
class Draft:
    """A space that may still have mistakes.

    Attributes:
        plain: the file's data.
        methods, axes: these sections in canonical form, without what is wrong with them.
        overrides: plain data with methods in canonical form.
    """

    plain: Mapping[str, Any]
    methods: Settings
    axes: Axes
    overrides: list[Any]

    @cached_property
    def datasets(self) -> list[str]:
        return list(self.infos)

    @cached_property
    def infos(self) -> dict[str, DatasetInfo]:
        """What is known of each dataset that can be looked at."""
        return {name: info for name, info in self._looked_at.items() if isinstance(info, DatasetInfo)}

    @cached_property
    def missing(self) -> dict[str, DataError]:
        """Datasets that should be on disk and are not as they should be, with the reason."""
        return {name: error for name, error in self._looked_at.items() if isinstance(error, DataError)}

    @cached_property
    def _looked_at(self) -> dict[str, DatasetInfo | DataError]:
        found: dict[str, DatasetInfo | DataError] = {}
        for name in self.listed("datasets"):
            entry = find_dataset(name) if isinstance(name, str) else None
            if entry is None:
                continue
            try:
                found[name] = entry.info(self.options)
            except DataError as error:
                found[name] = error
        return found

    @cached_property
    def options(self) -> DataOptions:
        """How data is read; the defaults where the section has mistakes of its own."""
        try:
            return DataOptions.of(Data.model_validate(dict(self.section("data"))).model_dump(mode="json"))
        except ValidationError:
            return DataOptions()

    @cached_property
    def models(self) -> list[str]:
        """Every model that there is, once."""
        return [name for name in dict.fromkeys(self._names("models")) if find_model(name)]

    @cached_property
    def architecture(self) -> dict[str, str]:
        """Options of models, without those that are wrong."""
        return {
            name: value
            for name, value in self.section("architecture").items()
            if isinstance(value, str) and value in OPTIONS.get(name, ())
        }

    def shape(self, dataset: str, model: str) -> nn.Module:
        """A model for the images of a dataset, without weights.

        Raises:
            ModelError: it cannot be built for them.
        """
        info = self.infos[dataset]
        return model_shape(
            model,
            num_classes=info.num_classes,
            image_size=info.image_size,
            channels=info.channels,
            options=self.architecture,
        )

    def _names(self, key: str) -> list[str]:
        return [name for name in self.listed(key) if isinstance(name, str)]

    def listed(self, key: str, section: str | None = None) -> list[Any]:
        value = (self.section(section) if section else self.plain).get(key)
        return value if isinstance(value, list) else []

    def section(self, key: str) -> Mapping[str, Any]:
        value = self.plain.get(key)
        return value if isinstance(value, Mapping) else {}
