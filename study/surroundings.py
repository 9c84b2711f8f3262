"""The surroundings of a cell's trials, as a study's space says them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neglora.data import DataOptions
from neglora.setting import Setting


def setting_of(study: Mapping[str, Any], dataset: str, model: str) -> Setting:
    """Everything that trials of a dataset and model share.

    Args:
        study: the resolved space, as `Space.resolved` gives it and `study.yaml` holds it.
        dataset, model: of the study.
    """
    selection, evaluation = study["selection"], study["evaluation"]
    return Setting(
        dataset=dataset,
        model=model,
        data=DataOptions.of(study["data"]),
        architecture=dict(study["architecture"]),
        weights=weights_of(study, model),
        training={name: value for name, value in study["training"].items() if value is not None},
        holdout=selection["holdout"],
        split_seed=selection["seed"],
        batch_size=evaluation["batch_size"],
        attacks=evaluation["attacks"],
        # Studies of earlier versions do not say.
        audits=tuple(study.get("audits") or ()),
        retain_samples=evaluation.get("retain_samples"),
        test_samples=evaluation.get("test_samples"),
        probe_samples=evaluation.get("probe_samples"),
        prefix_gib=evaluation.get("prefix_gib", 0.0),
        threads=max(1, int(study["resources"]["cpus"])),
    )


def weights_of(study: Mapping[str, Any], model: str) -> str | None:
    """The weights that a model's trials start from: a space has one file for all models, or one for each."""
    given = study["weights"]
    return given.get(model) if isinstance(given, Mapping) else given
