"""What pruning the base changes."""

from __future__ import annotations

from study.plots.sparsity import missing_in_words, sparsity_figure, sparsity_info
from study.sections.figure import figure_html
from study.sections.html import Html, tag
from study.sections.source import Group, Source


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
        f"What each method reaches on bases pruned to {levels} of their weights: the configuration recommended for "
        "that level, whatever its number of epochs; hover for its settings. "
        + ("Bars are the standard deviation over replicates. " if spreads else "")
        + "Retrain is the dense one; the base's RA and TA show what pruning alone costs. Scales begin where the values "
        "do, not at 0." + "".join(f" Not shown: {text}." for text in missing_in_words(info.missing))
    )
    figure = figure_html(
        f"sparsity-{group.slug}",
        "Metrics against sparsity",
        caption,
        sparsity_figure(info),
        finding=info.finding,
    )
    return tag("div", figure, class_="figures")
