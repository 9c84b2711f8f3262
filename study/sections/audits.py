"""Whether the class is gone or only hidden: the audits of what is recommended, beside Retrain and base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neglora.objectives import AUDIT_METRICS
from neglora.record import Record
from neglora.verdict import Verdict, verdict
from study.aggregate import shown
from study.sections.html import Html, head_row, join, row, table, tag
from study.sections.source import Group, Source
from study.sections.values import bullets, images, missing, percent

_BESIDE = ("ua_test", "runner_up")
_LABELS = {
    "relearn": "Relearnt from 10",
    "probe": "Linear probe",
    "ua_test": "UA on test images",
    "runner_up": "Second",
}


@dataclass(frozen=True)
class Audited:
    """A model's row: its values by metric, fractions; None where not measured; and what they say of it."""

    name: str
    values: dict[str, float | None]
    says: Verdict | None


def audited(group: Group, source: Source) -> list[Audited]:
    """What is recommended in each cell, then Retrain and the dense base; empty where nothing was audited."""
    names = (*AUDIT_METRICS, *_BESIDE)
    retrain = {} if group.retrain is None else _values(group.retrain.metrics, group.retrain.report, (*names, "ra"))
    found = []
    for cell in group.cells:
        if cell.recommendation.trial is None:
            continue
        record = source.by_trial[cell.recommendation.trial]
        values = _values(record.metrics, record.report, names)
        found.append(Audited(cell.label, values, _says(record, values, retrain)))
    if not any(one.values[name] is not None for one in found for name in AUDIT_METRICS):
        return []
    if group.retrain is not None:
        found.append(Audited("Retrain", {name: retrain[name] for name in names}, None))
    found += [
        Audited("Base", _values(base.metrics, base.report, names), None) for base in group.bases if base.sparsity == 0
    ]
    return found


def _values(metrics: Mapping[str, Any], report: Mapping[str, Any], names: Sequence[str]) -> dict[str, float | None]:
    return {name: shown(metrics, report, name) for name in names}


def _says(record: Record, values: Mapping[str, float | None], retrain: Mapping[str, float | None]) -> Verdict:
    asked = {name: values[name] for name in AUDIT_METRICS if values[name] is not None}
    return verdict(
        ua=shown(record.metrics, record.report, "ua"),
        ra=shown(record.metrics, record.report, "ra"),
        audits=asked,
        retrain=retrain,
        test_images=images(record, "ua_test") or 0,
    )


def audits_html(group: Group, source: Source) -> Html | None:
    """The audits as a table, with what they say in words; None where the study asked for none."""
    found = audited(group, source)
    if not found:
        return None
    names = [name for name in (*AUDIT_METRICS, *_BESIDE) if any(one.values[name] is not None for one in found)]
    rows = [
        row(
            one.name,
            [tag("td", percent(one.values[name])) for name in names],
            tag("td", missing("it is what the others are compared with") if one.says is None else one.says.words,
                class_="prose"),
        )
        for one in found
    ]  # fmt: skip
    head = head_row("Model", *(_LABELS[name] for name in names), tag("th", "In words", scope="col", class_="prose"))
    because = [f"{one.name}: {one.says.words} ({one.says.because})." for one in found if one.says is not None]
    return join(
        tag("h4", "Is the class gone, or only hidden?"),
        bullets(because),
        table(head, rows, caption=f"Audits on unseen images of what was forgotten: {group.title}", class_="numbers"),
        tag(
            "p",
            "Accuracies on test images of the forgotten class, which no model was trained on: after a few steps on ten "
            "forgotten images, and of a linear probe on the features before the classifier. Lower is better, and "
            "Retrain's value is the mark: what it shows can be had without having known the class. 'Second' is how "
            "often a forgotten image's own label comes second.",
            class_="note",
        ),
    )
