"""What a study is made of: data that should be on disk, options of models, and files of weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from neglora.models import MODELS, OPTIONS, ModelEntry, find_model
from neglora.setting import PRETRAINED
from study.space.draft import Draft
from study.space.fields import read_weights
from study.space.problems import Findings, Place, unknown_name


def check_data(draft: Draft, findings: Findings) -> None:
    """Datasets that are not where they should be, and numbers that do not fit their channels."""
    for name, error in draft.missing.items():
        findings.add(("datasets", draft.listed("datasets").index(name)), str(error), of_disk=True)
    for key in ("mean", "std"):
        given = getattr(draft.options, key)
        for dataset in draft.datasets:
            channels = draft.infos[dataset].channels
            if given is not None and len(given) != channels:
                findings.add(
                    ("data", key), f"expected {channels} numbers, one a channel of {dataset}, got {len(given)}"
                )


def check_architecture(draft: Draft, findings: Findings) -> None:
    for option, value in draft.section("architecture").items():
        place = ("architecture", option)
        if option not in OPTIONS or not isinstance(value, str):
            continue
        if value not in OPTIONS[option]:
            findings.add(place, unknown_name(value, OPTIONS[option], option))
        elif draft.models and not any(option in _entry(model).options for model in draft.models):
            takers = ", ".join(name for name, entry in MODELS.items() if option in entry.options)
            findings.add(place, f"none of this study's models has {option}: leave it out (it is for {takers})")


def check_weights(draft: Draft, findings: Findings) -> None:
    """Files that are missing, and weights for models that this study does not have."""
    given = draft.plain.get("weights")
    if isinstance(given, Mapping):
        for model, file in given.items():
            if model not in draft.listed("models"):
                findings.add(("weights", model), unknown_name(model, draft.models, "model of this study"))
            elif isinstance(file, str) and model in draft.models:
                _weights_of(model, file, ("weights", model), findings)
    elif isinstance(given, str):
        if given != PRETRAINED and len(draft.models) > 1:
            findings.add(
                ("weights",), f"one file fits one model: write a mapping of {' and '.join(draft.models)} to files"
            )
            return
        for model in draft.models:
            _weights_of(model, given, ("weights",), findings)


def _weights_of(model: str, file: str, place: Place, findings: Findings) -> None:
    if file == PRETRAINED:
        if _entry(model).pretrained is None:
            findings.add(place, f"there are no pretrained weights of {model}: leave it out, or give a file")
    elif file.strip() and not Path(read_weights(file)).is_file():
        findings.add(place, f"there is no file {read_weights(file)}", of_disk=True)


def _entry(model: str) -> ModelEntry:
    entry = find_model(model)
    if entry is None:
        raise LookupError(f"unknown model {model!r}")
    return entry
