"""The paper's figure of Sparse NegLoRA: UA, RA, TA and MIA against the sparsity of the base, a panel for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from neglora.record import Record
from study.aggregate import shown, spread
from study.levels import at_sparsity, sparsities
from study.plots.panels import NAMES, PANELS, axes_of, panels, span
from study.plots.style import BASE_MARK, RETRAIN_MARK, Mark, layout, method_mark, plain, setting
from study.recommend import Constraints, recommend
from study.references import Base

#: The base has not forgotten: where its UA and MIA stand is known, and would flatten what is to be compared.
_BASE_PANELS = ("ra", "ta")


@dataclass(frozen=True)
class Level:
    """What one method reaches from a base of one sparsity: the values that are shown (report half), fractions.

    Attributes:
        trial: the recommended configuration among those tried at this sparsity.
        values, errors: by metric; errors are standard deviations over replicates or None.
    """

    sparsity: float
    trial: str
    values: dict[str, float | None]
    errors: dict[str, float | None]
    params: dict[str, Any]
    replicates: int


@dataclass(frozen=True)
class SparsityInfo:
    """What the figure shows.

    Attributes:
        sparsities: every level that was tried, ascending.
        methods: per method its levels, in the study's order.
        missing: for levels that were tried without a recommendation, (method, sparsity, why).
        retrain: Retrain's values by metric; None where it is missing.
        bases: RA and TA of the bases before unlearning, by sparsity.
    """

    sparsities: tuple[float, ...]
    methods: dict[str, tuple[Level, ...]]
    missing: tuple[tuple[str, float, str], ...]
    retrain: dict[str, float | None] | None
    bases: dict[float, dict[str, float | None]]

    @property
    def drawable(self) -> bool:
        """Whether there are values at two levels or more: one level is no comparison."""
        return len({level.sparsity for levels in self.methods.values() for level in levels}) > 1

    @property
    def finding(self) -> str:
        """For each method, which metric changes most from its least to its most sparse base, in a sentence."""
        changes = [text for method, levels in self.methods.items() if (text := _change(method, levels))]
        if not changes:
            return "No method has values at two levels of sparsity."
        return f"From the least to the most sparse base, {'; '.join(changes)}."


def sparsity_info(
    table: pd.DataFrame,
    records: Sequence[Record],
    *,
    retrain: Record | None = None,
    bases: Sequence[Base] = (),
    constraints: Constraints | None = None,
) -> SparsityInfo:
    """Gather the levels of one dataset x model. Of each method and sparsity, whatever its number of epochs, the
    configuration that `recommend` chooses is shown.

    Args:
        table: rows of `trials_table` of this dataset and model without Retrain.
        records: where the configurations and values come from.
        retrain: the group's oracle, which is dense.
        bases: models before unlearning.
        constraints: those of the study.
    """
    by_trial = {record.trial: record for record in records if record.fidelity == "full"}
    tried = sparsities(table)
    methods: dict[str, tuple[Level, ...]] = {}
    missing: list[tuple[str, float, str]] = []
    for method in dict.fromkeys(table["method"]):
        levels = []
        for sparsity in tried:
            rows = at_sparsity(table[table["method"] == method], sparsity)
            if rows.empty:
                continue
            choice = recommend(rows, constraints)
            if choice.trial is None:
                missing.append((str(method), sparsity, choice.reason))
            else:
                levels.append(_level(by_trial[choice.trial], sparsity))
        methods[str(method)] = tuple(levels)
    return SparsityInfo(
        tuple(tried),
        methods,
        tuple(missing),
        None if retrain is None else {name: shown(retrain.metrics, retrain.report, name) for name in PANELS},
        {
            base.sparsity: {name: shown(base.metrics, base.report, name) for name in _BASE_PANELS}
            for base in bases
            if base.sparsity in tried
        },
    )


def _change(method: str, levels: Sequence[Level]) -> str | None:
    """ "neglora changes most in TA: 95.1% (0% sparse) to 96.0% (90% sparse)"; None without two levels."""
    if len(levels) < 2:
        return None
    first, last = levels[0], levels[-1]
    found = {
        metric: (before, after)
        for metric in PANELS
        if (before := first.values[metric]) is not None and (after := last.values[metric]) is not None
    }
    if not found:
        return None
    metric, (before, after) = max(found.items(), key=lambda item: abs(item[1][1] - item[1][0]))
    return (
        f"{method} changes most in {NAMES[metric]}: {100 * before:.1f}% ({first.sparsity * 100:g}% sparse) to "
        f"{100 * after:.1f}% ({last.sparsity * 100:g}% sparse)"
    )


def _level(record: Record, sparsity: float) -> Level:
    return Level(
        sparsity,
        record.trial,
        {name: shown(record.metrics, record.report, name) for name in PANELS},
        {name: spread(record, name) for name in PANELS},
        record.params,
        len(record.replicates),
    )


def sparsity_figure(info: SparsityInfo) -> go.Figure:
    """Draw it in percent, two panels beside and two below. Levels are spaced evenly, since .9 and .95 are hard to tell
    apart on a scale, and methods stand beside one another, since they often have the same value."""
    figure = go.Figure(layout=layout("", "", percent=True))
    levels = {
        "tickvals": list(range(len(info.sparsities))),
        "ticktext": [f"{level * 100:g}" for level in info.sparsities],
        "range": [-0.4, len(info.sparsities) - 0.6],
    }
    figure.update_layout(
        height=640,
        legend={"y": -0.12},
        **panels(levels, "sparsity of the base, %", [span(_ends(info, metric)) for metric in PANELS]),
    )
    for index, metric in enumerate(PANELS):
        for trace in (_retrain(info, metric), _bases(info, metric), *_methods(info, metric)):
            if trace is not None:
                figure.add_trace(trace.update(**axes_of(index), showlegend=_legend(trace, metric)))
    return figure


def _legend(trace: go.Scatter, metric: str) -> bool:
    """One legend for all panels: each name is taken from the first panel that has it."""
    return metric == ("ra" if trace.legendgroup == "base" else PANELS[0])


def _ends(info: SparsityInfo, metric: str) -> list[float]:
    """Every value of a panel, with its error above and below."""
    ends: list[float] = []
    for level in (level for levels in info.methods.values() for level in levels):
        value, error = level.values[metric], level.errors[metric] or 0.0
        ends += [] if value is None else [value - error, value + error]
    references = [info.retrain or {}, *(info.bases.values() if metric in _BASE_PANELS else ())]
    return ends + [value for found in references if (value := found.get(metric)) is not None]


def _retrain(info: SparsityInfo, metric: str) -> go.Scatter | None:
    value = None if info.retrain is None else info.retrain[metric]
    if value is None:
        return None
    return go.Scatter(
        x=[-0.4, len(info.sparsities) - 0.6],
        y=[100 * value] * 2,
        mode="lines",
        line={"color": RETRAIN_MARK.color, "dash": "dash", "width": 1.5},
        name="Retrain (dense)",
        legendgroup="retrain",
        hoverinfo="text",
        hovertext=[f"<b>Retrain</b> (dense)<br>{100 * value:.2f}%"] * 2,
    )


def _bases(info: SparsityInfo, metric: str) -> go.Scatter | None:
    if metric not in _BASE_PANELS or not info.bases:
        return None
    values = [info.bases.get(level, {}).get(metric) for level in info.sparsities]
    return _line("Base before unlearning", "base", BASE_MARK, [*range(len(values))], values, dash="dot").update(
        hovertext=[
            "" if value is None else f"<b>Base</b>, {level * 100:g}% sparse<br>{100 * value:.2f}%"
            for level, value in zip(info.sparsities, values, strict=True)
        ]
    )


def _methods(info: SparsityInfo, metric: str) -> list[go.Scatter]:
    traces = []
    names = list(info.methods)
    for place, (method, levels) in enumerate(info.methods.items()):
        by_sparsity = {level.sparsity: level for level in levels}
        found = [by_sparsity.get(sparsity) for sparsity in info.sparsities]
        mark = method_mark(method, names)
        beside = 0.36 / max(len(names), 3) * (place - (len(names) - 1) / 2)
        trace = _line(
            method,
            f"method {method}",
            mark,
            [index + beside for index in range(len(found))],
            [None if level is None else level.values[metric] for level in found],
        )
        errors = [None if level is None else level.errors[metric] for level in found]
        if any(error is not None for error in errors):
            array = [None if error is None else 100 * error for error in errors]
            trace.update(error_y={"type": "data", "array": array, "color": mark.color, "thickness": 1, "width": 3})
        trace.update(hovertext=["" if level is None else _hover(method, level, metric) for level in found])
        traces.append(trace)
    return traces


def _line(
    name: str, group: str, mark: Mark, x: list[float], values: Sequence[float | None], dash: str = "solid"
) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=[None if value is None else 100 * value for value in values],
        mode="lines+markers",
        line={"color": mark.color, "width": 1.5, "dash": dash},
        marker={"color": mark.color, "symbol": mark.symbol, "size": 8},
        name=plain(name),
        legendgroup=plain(group),
        hoverinfo="text",
    )


def _hover(method: str, level: Level, metric: str) -> str:
    value, error = level.values[metric], level.errors[metric]
    lines = [f"<b>{plain(method)}</b>  {plain(level.trial)}"]
    if value is not None:
        lines.append(f"{NAMES[metric]} {100 * value:.2f}%")
    if error is not None:
        lines.append(f"± {100 * error:.2f} over {level.replicates} replicates")
    lines += [f"{plain(name)}: {plain(setting(value))}" for name, value in level.params.items()]
    return "<br>".join(lines)


def missing_in_words(missing: Sequence[tuple[str, float, str]]) -> list[str]:
    """ "neggrad at 90%: every trial diverged or failed"; for a caption."""
    return [f"{method} at {sparsity * 100:g}%: {why}" for method, sparsity, why in missing]
