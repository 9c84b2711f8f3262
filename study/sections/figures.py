"""The figures of a group: their data beside an empty element that the page's script fills when it loads."""

from __future__ import annotations

import json

import plotly.graph_objects as go

from neglora.objectives import METRICS
from study.plots.progress import progress_figure, progress_info
from study.plots.sparsity import missing_in_words, sparsity_figure, sparsity_info
from study.plots.tradeoff import AGAINST, ON_SUBSETS, tradeoff_figure, tradeoff_info
from study.sections.html import Html, data, tag
from study.sections.source import Group, Source


def tradeoff_html(group: Group, source: Source) -> Html:
    """UA against RA, TA and MIA: three separate figures, `tradeoff-ua-METRIC-SLUG`."""
    figures = []
    for metric in AGAINST:
        info = tradeoff_info(
            group.table,
            source.records,
            metric,
            retrain=group.retrain,
            bases=group.bases,
            recommended=group.recommendation.trial,
        )
        title = f"UA and {METRICS[metric].label}"
        trials = sum(map(len, info.methods.values()))
        left_out = f" {info.unmeasured} trials without a value are left out." if info.unmeasured else ""
        hidden = sum(map(len, info.unconfirmed.values()))
        if hidden:
            left_out += f" {hidden} more were measured on subsets only: hidden until '{ON_SUBSETS}' is chosen."
        figures.append(
            figure_html(
                f"tradeoff-ua-{metric}-{group.slug}",
                title,
                f"{title} of {trials} trials. Lines are each method's front; better is up and to the right.{left_out}",
                tradeoff_figure(info),
            )
        )
    return tag("div", figures, class_="figures")


def sparsity_html(group: Group, source: Source) -> Html | None:
    """Each metric against the base's sparsity, `sparsity-SLUG`; None where fewer than two levels have values."""
    info = sparsity_info(
        group.table,
        source.records,
        retrain=group.retrain,
        bases=group.bases,
        constraints=source.space.get("constraints") or {},
    )
    if not info.drawable:
        return None
    levels = ", ".join(f"{level * 100:g}%" for level in info.sparsities)
    spreads = any(
        error is not None for levels in info.methods.values() for level in levels for error in level.errors.values()
    )
    caption = (
        f"What each method reaches on bases pruned to {levels}: the configuration recommended for that level, whatever "
        "its number of epochs; hover for its settings. "
        + ("Bars are the standard deviation over replicates. " if spreads else "")
        + "Retrain is the dense one; the base's RA and TA show what pruning alone costs. Scales begin where the values "
        "do, not at 0." + "".join(f" Not shown: {text}." for text in missing_in_words(info.missing))
    )
    figure = figure_html(f"sparsity-{group.slug}", "Metrics against sparsity", caption, sparsity_figure(info))
    return tag("div", figure, class_="figures")


def progress_html(group: Group, source: Source) -> Html:
    """Hypervolume against trials, `progress-SLUG`."""
    objectives = list(source.space.get("objectives", []))
    figure = progress_figure(progress_info(group.table, objectives))
    caption = (
        f"Volume of {', '.join(objectives)} that a cell's front dominates, after so many trials: still rising at the "
        "end means that more trials would pay."
        + (" Trials count as the search saw them, on subsets." if source.staged else "")
    )
    return tag(
        "div", figure_html(f"progress-{group.slug}", "What the search gained", caption, figure), class_="figures"
    )


def figure_html(identifier: str, title: str, caption: str, figure: go.Figure) -> Html:
    """A figure with its title, its caption and its data; `identifier` has to be the page's only one."""
    spec = json.loads(figure.to_json(validate=False))
    return tag(
        "figure",
        tag("h4", title),
        tag("div", id=identifier, class_="figure", data_figure=f"{identifier}-data", role="img", aria_label=caption),
        data(f"{identifier}-data", {"data": spec["data"], "layout": spec["layout"]}),
        tag("figcaption", caption),
    )
