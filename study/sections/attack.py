"""The membership attack on the report half with each of its five features, for what is recommended."""

from __future__ import annotations

from typing import Any

from neglora.record import Record
from study.sections.html import Html, head_row, join, row, table, tag
from study.sections.source import Group, Source
from study.sections.values import missing, percent

#: The attack's features; the first is the paper's.
FEATURES = (
    ("mia", "Confidence"),
    ("mia_correctness", "Correctness"),
    ("mia_entropy", "Entropy"),
    ("mia_modified_entropy", "Modified entropy"),
    ("mia_full", "Full softmax"),
)


def attacked(group: Group, source: Source) -> list[tuple[str, Record]]:
    """Retrain (if it was made) and the recommended trial of each cell, with what they are called."""
    found = [] if group.retrain is None else [("Retrain", group.retrain)]
    for cell in group.cells:
        if cell.recommendation.trial is not None:
            found.append((cell.label, source.by_trial[cell.recommendation.trial]))
    return found


def attack_html(group: Group, source: Source) -> Html:
    head = head_row("Model", *(label for _, label in FEATURES), "Attack's accuracy", "Attack's AUC", "Signal")
    rows = [
        row(
            name,
            [tag("td", percent(_fraction(record.report.get(feature)))) for feature, _ in FEATURES],
            tag("td", percent(_fraction(record.report.get("mia_accuracy")))),
            tag("td", _auc(record)),
            tag("td", _signal(record)),
        )
        for name, record in attacked(group, source)
    ]
    if not rows:
        return tag("p", "Nothing is recommended yet, so that there is nothing to attack.")
    return join(
        table(head, rows, caption=f"Membership attack on the {source.reported_on}: {group.title}", class_="numbers"),
        tag(
            "p",
            "Each number is the share of the forgotten images that an attack using that feature calls 'not in the "
            "training set'. The attack's own accuracy and AUC say whether it can tell retained training images from "
            "test images at all; at 50% it cannot, and its verdict on the forgotten ones means nothing.",
            class_="note",
        ),
    )


def _fraction(value: float | bool | None) -> float | None:
    return None if value is None else float(value)


def _sides(record: Record) -> list[dict[str, Any]]:
    attacks = [((item.get("details") or {}).get("attack") or {}).get("report") for item in record.replicates]
    return [side for side in attacks if side]


def _auc(record: Record) -> Html:
    value = record.report.get("mia_auc")
    if value is None:
        return missing("not measured")
    sides = _sides(record)
    if len(sides) != 1 or sides[0].get("auc_low") is None or sides[0].get("auc_high") is None:
        return join(f"{value:.3f}")
    interval = f"{sides[0]['auc_low']:.3f} to {sides[0]['auc_high']:.3f}, n {sides[0].get('n_per_side')} per side"
    return join(f"{value:.3f}", tag("span", interval, class_="interval"))


def _signal(record: Record) -> Html:
    flags = [side.get("has_signal") for side in _sides(record)]
    if not flags or any(flag is None for flag in flags):
        return missing("not recorded")
    if len(flags) == 1:
        return join("yes" if flags[0] else "none")
    return join(f"{sum(map(bool, flags))} of {len(flags)} replicates")
