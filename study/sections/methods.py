"""The method table in the paper's shape: for each method what one and two epochs of unlearning reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from neglora.record import Measured, Record
from study.aggregate import shown
from study.plots.tradeoff import base_name
from study.recommend import candidates, recommend
from study.sections.html import Html, join, row, table, tag
from study.sections.source import Group, Source
from study.sections.values import DASH, count, measured_briefly, missing, percent, ratio

#: The paper's columns, in its order, and the epochs it shows.
METRIC_COLUMNS = (("ua", "UA"), ("mia", "MIA-Efficacy"), ("ra", "RA"), ("ta", "TA"))
EPOCHS = (1, 2)
_NO_CLOCK = "not measured on the device and with the threads of Retrain"


@dataclass(frozen=True)
class ReferenceRow:
    """Base or Retrain: one value for every number of epochs."""

    name: str
    metrics: Measured
    report: Measured
    parameters: int | None
    rte_epoch: float | None


@dataclass(frozen=True)
class MethodRow:
    """A method on bases of one sparsity: per number of epochs the trial nearest to Retrain, or why there is none."""

    method: str
    sparsity: float
    chosen: Mapping[int, Record | str]


def method_rows(group: Group, source: Source) -> list[ReferenceRow | MethodRow]:
    """The table's rows: base, Retrain and methods on the dense base, then base and methods at each other sparsity.

    A trial is chosen by the rule of the recommendations, among those of its method, epochs and sparsity.
    """
    rows: list[ReferenceRow | MethodRow] = []
    sparsities = group.table.get("param_sparsity")
    levels = {0.0} if sparsities is None else {0.0, *(float(value) for value in sparsities.dropna())}
    for level in sorted(levels):
        rows += [
            ReferenceRow(base_name(level), base.metrics, base.report, base.parameters, None)
            for base in group.bases
            if base.sparsity == level
        ]
        if level == 0 and group.retrain is not None:
            cost = group.retrain.cost.get("trainable_parameters")
            rows.append(ReferenceRow("Retrain", group.retrain.metrics, group.retrain.report, cost, 1.0))
        for method in dict.fromkeys(group.table["method"]):
            chosen = {epochs: _choose(group, source, method, level, epochs) for epochs in EPOCHS}
            # A level of its own is shown only for the methods that were tried at it.
            if level == 0 or any(choice != _NONE_TRIED for choice in chosen.values()):
                rows.append(MethodRow(str(method), level, chosen))
    return rows


_NONE_TRIED = "none was tried"


def _choose(group: Group, source: Source, method: str, level: float, epochs: int) -> Record | str:
    rows = group.table[group.table["method"] == method]
    if "param_epochs" not in rows:
        return _NONE_TRIED
    rows = rows[rows["param_epochs"] == epochs]
    if "param_sparsity" in rows:
        rows = rows[rows["param_sparsity"].fillna(0.0) == level]
    if rows.empty:
        return _NONE_TRIED
    measured_rows = candidates(rows).dropna(subset=["gap"])
    if not measured_rows.empty:
        nearest = measured_rows.sort_values(["gap", "trial"], kind="stable").iloc[0]
        return source.by_trial[nearest["trial"]]
    choice = recommend(rows)
    return choice.reason if choice.trial is None else source.by_trial[choice.trial]


def methods_html(group: Group, source: Source) -> Html:
    """The table with its note."""
    head = [
        tag(
            "tr",
            tag("th", "Method", rowspan=2, scope="col"),
            tag("th", "Trained parameters", rowspan=2, scope="col"),
            [tag("th", label, colspan=2, scope="colgroup") for _, label in METRIC_COLUMNS],
            tag("th", "RTE per epoch", colspan=2, scope="colgroup"),
        ),
        tag("tr", [tag("th", _epochs(e), scope="col") for _ in range(5) for e in EPOCHS]),
    ]
    body = []
    for entry in method_rows(group, source):
        body.append(_reference(entry) if isinstance(entry, ReferenceRow) else _method(entry))
    return join(
        table(head, body, caption=f"Methods in the paper's shape: {group.title}", class_="numbers paper"),
        tag(
            "p",
            "In each field, with Wilson's 95% interval below, the trial nearest to Retrain among those with that "
            "number of epochs; hover for the trial and the number n of images. RTE per epoch is the time of an "
            "unlearning epoch over that of a retraining epoch. ",
            f"{DASH} means that none was tried, or none was measured.",
            class_="note",
        ),
    )


def _epochs(number: int) -> str:
    return "1 epoch" if number == 1 else f"{number} epochs"


def _reference(entry: ReferenceRow) -> Html:
    return row(
        entry.name,
        tag("td", count(entry.parameters)),
        [tag("td", percent(shown(entry.metrics, entry.report, name)), colspan=2) for name, _ in METRIC_COLUMNS],
        tag("td", ratio(entry.rte_epoch, "nothing was unlearned"), colspan=2),
    )


def _method(entry: MethodRow) -> Html:
    name = entry.method if entry.sparsity == 0 else f"{entry.method}, {entry.sparsity * 100:g}% sparse base"
    parameters = [
        count(choice.cost.get("trainable_parameters"))
        for choice in entry.chosen.values()
        if not isinstance(choice, str)
    ]
    distinct = list(dict.fromkeys(parameters))
    cells = []
    for metric, _ in METRIC_COLUMNS:
        cells += [_field(choice, metric) for choice in entry.chosen.values()]
    for choice in entry.chosen.values():
        if isinstance(choice, str):
            cells.append(tag("td", missing(choice)))
        else:
            cells.append(tag("td", ratio(shown(choice.metrics, choice.report, "rte_epoch"), _NO_CLOCK)))
    # Where the rank differs between the two, so does the number of parameters: both are shown.
    counts = [part for number in distinct for part in (" / ", number)][1:] or [missing(_NONE_TRIED)]
    return row(name, tag("td", counts), cells)


def _field(choice: Record | str, metric: str) -> Html:
    if isinstance(choice, str):
        return tag("td", missing(choice))
    return tag("td", measured_briefly(choice, metric))
