"""What forgetting costs: UA against RA, TA and MIA."""

from __future__ import annotations

from neglora.objectives import METRICS
from study.plots.tradeoff import AGAINST, ON_SUBSETS, tradeoff_figure, tradeoff_info
from study.sections.figure import figure_html
from study.sections.html import Html, tag
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
                f"Lines are each method's front; better is up and to the right.{left_out}",
                tradeoff_figure(info),
                finding=f"{title} of {trials} trials.",
                at_load=True,
            )
        )
    return tag("div", figures, class_="figures")
