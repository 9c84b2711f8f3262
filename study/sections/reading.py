"""How each metric is to be read: what it is, which way is better, and what Retrain scores."""

from __future__ import annotations

from neglora.objectives import METRICS, Metric
from study.aggregate import shown
from study.sections.html import Html, head_row, row, table, tag
from study.sections.source import Group, Source
from study.sections.values import missing, percent, ratio

#: What the direction alone does not say.
HINTS = {
    "ua": "Higher forgets more; Retrain, which never saw the class, is the mark to reach.",
    "ra": "Higher keeps more of what should stay; Retrain's is what a clean model keeps.",
    "ta": "Higher generalizes better; it is measured without the forgotten class.",
    "mia": "Nearest to Retrain's is best. A model that stands out by more than Retrain gives its secret away too.",
    "ua_test": "Higher means that the class is gone for unseen images as well.",
    "runner_up": "Lower is better: a label that comes second is easily brought back.",
    "relearn": "Nearest to Retrain's is best: what is far above it comes back faster than it could be learned.",
    "probe": "Nearest to Retrain's is best: features of other classes may tell a class that was never seen.",
    "gap": "Lower is better; Retrain has 0.",
    "tow": "Higher is better; Retrain has 1, shown as 100%.",
    "rte": "Lower is faster; Retrain has 1.",
    "rte_epoch": "Lower is faster; Retrain has 1.",
    "speedup": "Higher is faster; Retrain has 1.",
}

_WORDS = [tag("th", text, scope="col", class_="prose") for text in ("What it is", "How to read it")]


def reading_html(source: Source) -> Html:
    groups = source.groups
    head = head_row("Metric", *_WORDS, *(f"Retrain: {group.title}" for group in groups))
    rows = [
        row(
            tag("th", metric.label, " ", tag("code", metric.name), scope="row"),
            tag("td", f"{metric.about[0].upper()}{metric.about[1:]}.", class_="prose"),
            tag("td", HINTS.get(metric.name, f"Better: {metric.direction}."), class_="prose"),
            [tag("td", _retrain(group, metric)) for group in groups],
        )
        for metric in METRICS.values()
    ]
    return table(head, rows, caption="How each metric is to be read", class_="numbers")


def _retrain(group: Group, metric: Metric) -> Html:
    if group.retrain is None:
        return missing("Retrain is missing")
    value = shown(group.retrain.metrics, group.retrain.report, metric.name)
    return percent(value) if metric.unit == "fraction" else ratio(value, "not measured")
