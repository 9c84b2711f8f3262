"""What the settings do: which of them matter, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from neglora.objectives import GAP_METRICS, METRICS
from neglora.parameters import PARAMETERS
from study.confirming import PLANES
from study.effects import effect
from study.importance import Importance, Share, importance
from study.plots.effects import EffectsInfo, effects_figure, effects_info
from study.plots.importance import importance_figure, importance_info
from study.plots.maps import PAIRS, map_figure, map_info
from study.plots.panels import NAMES
from study.plots.parallel import parallel_figure, parallel_info
from study.plots.style import method_mark
from study.recommend import candidates, front_rows
from study.response import LEAST_R2, LEAST_TRIALS, MOST_TRIALS, Response, fit
from study.sections.figure import figure_html, figures_html
from study.sections.html import Html, head_row, join, row, table, tag
from study.sections.source import Group, Source, slug
from study.sections.sparsity import sparsity_html
from study.sections.values import missing
from study.varied import Varied, varied

_GAP = "gap to Retrain"


@dataclass(frozen=True)
class Understood:
    """One method of a group.

    Attributes:
        rows: its candidates.
        parameters: in what they differ.
        response: the forest of `metric`; None where there is none.
        claimed: how the differences in `metric` divide, or why nothing is claimed.
        others: the same for UA, RA, TA and MIA, where a forest could be fitted to them.
    """

    rows: pd.DataFrame
    parameters: list[Varied]
    response: Response | None
    claimed: Importance
    others: dict[str, Importance]


def understanding_html(group: Group, source: Source) -> Html | None:
    """Settings against what comes of them; None where nothing varied.

    Figures: `importance-SLUG`, `effects-METHOD-SLUG`, `map-ACROSS-UP-SLUG`, `parallel-SLUG`, `sparsity-SLUG`.
    """
    rows = candidates(group.table)
    values = shown_values(rows)
    metric = "gap" if values["gap"].notna().any() else "ua"
    methods = {
        str(method): _understood(own, values, source, metric) for method, own in rows.groupby("method", sort=False)
    }
    varying = {method: own for method, own in methods.items() if own.parameters}
    sparse = sparsity_html(group, source)
    if not varying:
        return None if sparse is None else join(tag("h4", "What the settings do"), sparse)
    label = _GAP if metric == "gap" else NAMES[metric]
    return join(
        tag("h4", "Which settings matter"),
        _about(group, source, metric),
        _importance(group, varying, label),
        _effects(group, varying, values, metric, label),
        _folded("Two settings together", _maps(group, varying, values)) if metric == "gap" else None,
        _folded("Every trial as a line through its settings and results", _parallel(group, source, rows)),
        _folded("What pruning the model beforehand changes", sparse),
    )


def shown_values(rows: pd.DataFrame) -> pd.DataFrame:
    """Gap, UA, RA, TA and MIA as people are shown them: of the report half, or of the selection half without it."""
    return pd.DataFrame({name: rows[f"report_{name}"].fillna(rows[name]) for name in ("gap", *GAP_METRICS)})


def _understood(rows: pd.DataFrame, values: pd.DataFrame, source: Source, metric: str) -> Understood:
    own = fit(rows, source.space, (metric,), values)
    if isinstance(own, str):
        claimed, response = Importance(metric, int(values.loc[rows.index, metric].notna().sum()), None, (), own), None
    else:
        claimed = importance(own, metric)
        response = own if claimed.shares else None
    measured = [name for name in GAP_METRICS if name != metric and values.loc[rows.index, name].notna().any()]
    together = fit(rows, source.space, measured, values) if measured else "nothing was measured"
    others = {} if isinstance(together, str) else {name: importance(together, name) for name in measured}
    return Understood(rows, varied(rows, source.space), response, claimed, others)


def _about(group: Group, source: Source, metric: str) -> Html:
    what = (
        "The gap to Retrain is the mean distance of UA, RA, TA and MIA to those of a model that never saw the "
        "forgotten images: 0% is as good as retraining, lower is better."
        if metric == "gap"
        else "Without Retrain there is no gap to it, so that UA is taken: the share of the forgotten images that the "
        "model no longer recognizes, higher is better."
    )
    rest = []
    if (group.table["status"] == "diverged").any():
        rest.append("Trials that diverged have no value: a setting that makes them diverge looks less important here.")
    if source.staged:
        rest.append(
            "Only trials measured in full are used. The search kept its better ones for that, so that a setting that "
            "ruins trials looks less important here."
        )
    return tag("p", " ".join([what, *rest]), class_="note")


def _importance(group: Group, methods: Mapping[str, Understood], label: str) -> Html | None:
    info = importance_info({method: own.claimed for method, own in methods.items()})
    silent = [f"{method}: {own.claimed.reason}" for method, own in methods.items() if not own.claimed.shares]
    reasons = tag("p", f"No importance is claimed for {'; '.join(silent)}.", class_="note") if silent else None
    if not info.methods:
        return reasons
    caption = (
        f"How the differences in {label} between trials divide among the settings, by method. The whole bar is what a "
        "setting makes alone and together with others, so that bars may add up to more than 100%; its full-coloured "
        "part is what it makes alone. The line at its end is where 95% of forests on resampled trials lie."
    )
    figure = figure_html(
        f"importance-{group.slug}", "Which setting matters", caption, importance_figure(info), finding=info.finding
    )
    shares = tag("div", _shares(group, methods, label), reasons)
    return tag("div", figures_html(figure), shares, class_="importance")


def _shares(group: Group, methods: Mapping[str, Understood], label: str) -> Html:
    others = [name for name in GAP_METRICS if any(name in own.others for own in methods.values())]
    head = head_row(
        "Setting", tag("th", "what it is", scope="col", class_="prose"), label, "alone", *(NAMES[one] for one in others)
    )
    rows = []
    for method, own in methods.items():
        if not own.claimed.shares:
            continue
        explained = (
            f"{method}: {own.claimed.trials:,} trials; the settings explain {100 * (own.claimed.r2 or 0):.0f}% of the "
            "differences (R² on trials left out)"
        )
        rows.append(tag("tr", tag("th", explained, scope="rowgroup", colspan=4 + len(others)), class_="part"))
        abouts = {one.name: one.about for one in PARAMETERS.get(method, ())}
        for share in own.claimed.shares:
            rows.append(
                row(
                    tag("th", tag("code", share.parameter), scope="row"),
                    tag("td", abouts.get(share.parameter, ""), class_="prose"),
                    tag("td", _percent(share.total), _interval(share)),
                    _percent(share.alone),
                    [tag("td", _other(own.others.get(name), share.parameter)) for name in others],
                )
            )
    note = (
        f"Each method by itself: shares of the variance that a forest explains over what was searched (functional "
        f"ANOVA), ranges of logarithms evenly in the logarithm. With fewer than {LEAST_TRIALS} trials, or where the "
        f"forest explains less than {100 * LEAST_R2:.0f}% on trials that it did not see, nothing is claimed. Weak "
        f"settings beside a strong one come out weaker than they are. Of more than {MOST_TRIALS} trials, {MOST_TRIALS} "
        "evenly spaced ones are used."
    )
    return join(
        table(head, rows, caption=f"What each setting makes of the differences: {group.title}", class_="numbers"),
        tag("p", note, class_="note"),
    )


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _interval(share: Share) -> Html:
    return tag("span", f"{100 * share.low:.0f}–{100 * share.high:.0f}", class_="interval")


def _other(found: Importance | None, parameter: str) -> Html:
    if found is None:
        return missing("not measured")
    shares = {share.parameter: share for share in found.shares}
    if parameter not in shares:
        return missing(found.reason or "nothing is claimed")
    return join(_percent(shares[parameter].total))


def _effects(
    group: Group, methods: Mapping[str, Understood], values: pd.DataFrame, metric: str, label: str
) -> Html | None:
    figures = []
    for method, own in methods.items():
        drawn = own.rows[own.rows["trial"].isin(group.drawn)]
        found = [effect(one, drawn, values[metric], own.response, metric) for one in own.parameters]
        info = effects_info(method, metric, label, found, own.claimed)
        if info is None:
            continue
        figures.append(
            figure_html(
                f"effects-{slug(method)}-{group.slug}",
                f"{label[:1].upper()}{label[1:]} against the settings of {method}",
                _effects_caption(info, len(drawn), len(own.rows)),
                effects_figure(info, method_mark(method, list(methods))),
                finding=info.finding,
            )
        )
    return figures_html(*figures)


def _effects_caption(info: EffectsInfo, drawn: int, trials: int) -> str:
    caption = "Each mark is a trial; click one for its numbers. "
    if info.effects[0].course:
        caption += (
            "The thick line, or the diamonds, is the mean over all other settings, as the forest has it; grey is where "
            "95% of forests on resampled trials lie. "
        )
    else:
        caption += f"No course is drawn ({info.importance.reason}). "
    if info.left_out:
        which = "matter less" if info.importance.shares else "varied too"
        caption += f"Not drawn: {', '.join(info.left_out)}, which {which}. "
    if drawn < trials:
        caption += f"{drawn:,} of {trials:,} trials drawn. "
    return caption.strip()


def _maps(group: Group, methods: Mapping[str, Understood], values: pd.DataFrame) -> Html | None:
    figures = []
    for across, up in PAIRS:
        info = map_info(across, up, {method: (own.rows, own.parameters) for method, own in methods.items()}, values.gap)
        if info is None:
            continue
        caption = (
            "Each tile has the mean gap to Retrain of its trials, and below it their number; darker is nearer to "
            "Retrain, empty was not tried. Means of few trials are uncertain, and other settings vary within a tile."
        )
        figures.append(
            figure_html(
                f"map-{across}-{up}-{group.slug}",
                f"{_called(up)} and {_called(across)}",
                caption,
                map_figure(info),
                finding=info.finding,
            )
        )
    return figures_html(*figures)


def _called(name: str) -> str:
    about = {one.name: one.about for own in PARAMETERS.values() for one in own}.get(name, "")
    return f"{name} ({about})" if about else name


def _parallel(group: Group, source: Source, rows: pd.DataFrame) -> Html | None:
    fronts = {
        trial
        for _, own in rows.groupby("method", sort=False)
        for plane in PLANES
        for trial in front_rows(own, plane)["trial"]
    }
    chosen = group.recommendation.trial
    info = parallel_info(
        rows,
        source.space,
        source.by_trial,
        retrain=group.retrain,
        fronts=fronts,
        recommended=() if chosen is None else (chosen,),
    )
    if info is None:
        return None
    outcomes = ", ".join(METRICS[axis.name].label for axis in info.axes[info.settings :])
    caption = (
        "Each line is a trial: from top to bottom its settings, each on its own scale, then what came of them "
        f"({outcomes}). Strong lines are on a front of the trade-offs above (no other trial of the method is better "
        "both in UA and in RA, TA or MIA), the thick one is recommended; the star is Retrain. "
    )
    if any(axis.missed for axis in info.axes):
        caption += "A line passes 'not used' where its method has no such setting. "
    if len(info.lines) < info.trials:
        caption += (
            f"{len(info.lines):,} of {info.trials:,} trials drawn: all on a front, of the others evenly spaced ones."
        )
    return figures_html(
        figure_html(
            f"parallel-{group.slug}",
            "Settings and results of each trial",
            caption.strip(),
            parallel_figure(info),
            finding=info.finding,
        )
    )


def _folded(summary: str, content: Html | Sequence[Html] | None) -> Html | None:
    return None if not content else tag("details", tag("summary", summary), content)
