"""All drawn trials of a group as one compact table, from which the page makes hover texts, the panel and the lists.

Every text is written once and named by its place afterwards: at 2,000 trials a text repeats hundreds of times.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from neglora.intervals import wilson
from neglora.objectives import GAP_METRICS, METRICS, Metric
from neglora.record import Record, forget_title
from study.aggregate import reproduce_command, shown, spread
from study.plots.panels import NAMES
from study.plots.style import setting
from study.recommend import front_rows, stated
from study.sections.source import Group, Source
from study.sections.values import count, images, megabytes, seconds
from study.stages import one_per_trial

#: The fronts that a trial may be on, by the metrics that are compared.
FRONTS = {
    "UA and RA": ("ua", "ra"),
    "UA and TA": ("ua", "ta"),
    "UA and MIA-Efficacy": ("ua", "mia"),
    "UA, RA, TA and MIA-Efficacy together": GAP_METRICS,
}
#: What a row of the table holds, in this order.
TRIAL_KEYS = ("id", "method", "outcome", "words", "values", "costs", "fronts", "head")
COSTS = ("Unlearning took", "Measuring took", "Memory at its peak", "Trained parameters", "Measured on")


class Pool:
    """Each thing once, with its place."""

    def __init__(self, *first: Any) -> None:
        self.items: list[Any] = []
        self._places: dict[str, int] = {}
        for item in first:
            self(item)

    def __call__(self, item: Any) -> int:
        place = self._places.setdefault(repr(item), len(self.items))
        if place == len(self.items):
            self.items.append(item)
        return place


def trials_data(group: Group, source: Source) -> dict[str, Any]:
    """The group's drawn trials, each at its best measurement: in full, or else on subsets.

    Keys: `title`; `halves`: whether shown values are another half's than those that chose; `texts`, `words`
    ([parameter, value for people, word of the command, or 0 where that is `parameter=value`]) and `heads` ([command up
    to its first setting, the pair that it reproduces]) are pools; `tail`: the words that end every command; `metrics`:
    [short name, label, direction]; `costs`, `fronts`: names; `references`: [name, [its text for each metric]];
    `recommended`: a trial or null; `trials`: [id, method, outcome, words, for each metric (shown value, interval,
    spread, value on the selection half), costs, fronts, head or -1], places in these lists but for the id.
    """
    texts, words, heads = Pool(""), Pool(), Pool()
    records = _records(group, source)
    metrics = [
        metric
        for metric in METRICS.values()
        if any(shown(one.metrics, one.report, metric.name) is not None for one in records)
    ]
    fronts = _fronts(group)
    tail: list[int] = []
    rows = []
    for record in records:
        head, own, ends = _command(record, source.space)
        tail = tail or [words(["", "", word]) for word in ends]
        settings = [
            words([name, setting(value), 0 if word in (None, f"{name}={setting(value)}") else word])
            for (name, value), word in itertools.zip_longest(stated(record).items(), own)
        ]
        values = [texts(text) for metric in metrics for text in _value(record, metric)]
        costs = [texts(text) for text in _costs(record)]
        rows.append(
            [
                record.trial,
                texts(str(record.cell["method"])),
                texts(_outcome(record)),
                settings,
                values,
                costs,
                [place for place, trials in enumerate(fronts) if record.trial in trials],
                -1 if head is None else heads([head, _pair(record)]),
            ]
        )
    return {
        "title": group.title,
        "halves": source.reported_on == "report half",
        "texts": texts.items,
        "words": words.items,
        "heads": heads.items,
        "tail": tail,
        "metrics": [[NAMES.get(one.name, one.label), one.label, one.direction] for one in metrics],
        "costs": list(COSTS),
        "fronts": list(FRONTS),
        "references": _references(group, metrics),
        "recommended": group.recommendation.trial,
        "trials": rows,
    }


def _records(group: Group, source: Source) -> list[Record]:
    by_line = {(record.trial, record.fidelity): record for record in source.lines}
    rows = one_per_trial(group.table)
    pairs = zip(rows["trial"], rows["fidelity"], strict=True)
    return [by_line[trial, fidelity] for trial, fidelity in pairs if trial in group.drawn]


def _fronts(group: Group) -> list[set[str]]:
    return [
        {trial for _, rows in group.table.groupby("method", sort=False) for trial in front_rows(rows, names)["trial"]}
        for names in FRONTS.values()
    ]


def _command(record: Record, space: Mapping[str, Any]) -> tuple[str | None, list[str], list[str]]:
    """The command up to its first `--set`, the words of the configuration, and those of the study."""
    if not record.replicates:
        return None, [], []
    words = shlex.split(reproduce_command(record, space))
    first = words.index("--set") if "--set" in words else len(words)
    given = [shlex.quote(word) for word in words[first + 1 :: 2]]
    count = len(stated(record))
    return shlex.join(words[:first]), given[:count], given[count:]


def _pair(record: Record) -> str:
    first = record.replicates[0]
    return f"{forget_title(first['forget'])} with seed {first['seed']}"


def _value(record: Record, metric: Metric) -> tuple[str, str, str, str]:
    """As the decision's table writes it; empty where there is nothing."""
    value = shown(record.metrics, record.report, metric.name)
    chosen, n = record.metrics.get(metric.name), images(record, metric.name)
    deviation = spread(record, metric.name)
    interval = ""
    if value is not None and n is not None and metric.unit == "fraction":
        low, high = wilson(value, n)
        interval = f"{100 * low:.2f}–{100 * high:.2f}, n\u00a0{n:,}"
    return (
        _written(value, metric),
        interval,
        "" if deviation is None else f"± {_written(deviation, metric).rstrip('%')}",
        _written(None if chosen is None else float(chosen), metric),
    )


def _written(value: float | None, metric: Metric) -> str:
    if value is None:
        return ""
    return f"{100 * value:.2f}%" if metric.unit == "fraction" else f"{value:.3g}"


def _costs(record: Record) -> list[str]:
    cost = record.cost
    device = cost.get("device")
    threads = cost.get("threads")
    written = [
        seconds(cost["unlearn_seconds"]) if cost.get("unlearn_seconds") is not None else "",
        seconds(cost["evaluate_seconds"]) if cost.get("evaluate_seconds") is not None else "",
        megabytes(cost["peak_memory_bytes"]) if cost.get("peak_memory_bytes") is not None else "",
        count(cost["trainable_parameters"]) if cost.get("trainable_parameters") is not None else "",
        "" if device is None else f"{device}{'' if threads is None else f', {threads} thread' + 's' * (threads != 1)}",
    ]
    return [str(text) for text in written]


def _outcome(record: Record) -> str:
    if record.status != "ok":
        return f"{record.status}: {record.reason or 'no reason is recorded'}"
    where = "measured in full" if record.fidelity == "full" else "measured on subsets only"
    several = len(record.replicates)
    mean = f", mean of {several} replicates" if several > 1 else ""
    return f"{where}{mean}{f'; {record.reason}' if record.reason else ''}"


def _references(group: Group, metrics: Sequence[Metric]) -> list[list[Any]]:
    """Retrain, and the dense base, beside which a trial's numbers are read."""
    found: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = []
    if group.retrain is not None:
        found.append(("Retrain", group.retrain.metrics, group.retrain.report))
    found += [("Base", base.metrics, base.report) for base in group.bases if base.sparsity == 0]
    return [
        [name, [_written(shown(values, report, metric.name), metric) for metric in metrics]]
        for name, values, report in found
    ]
