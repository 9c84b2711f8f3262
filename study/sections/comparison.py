"""How the methods compare: within a dataset x model, across them, and over repetitions of the search."""

from __future__ import annotations

from study.recommend import candidates
from study.sections.across import across_html
from study.sections.decision import cells_html
from study.sections.dominance import dominance_html
from study.sections.equal import equal_html
from study.sections.html import Html, join, tag
from study.sections.methods import methods_html
from study.sections.progress import progress_html
from study.sections.repeated import repeated_html
from study.sections.source import Group, Source

__all__ = ["across_html", "comparison_html", "repeated_html"]


def comparison_html(group: Group, source: Source) -> Html | None:
    """The methods of a group beside one another: after equal spending, front against front, each cell's best, and the
    paper's table."""
    return join(
        tag("h4", "How the methods compare"),
        None if candidates(group.table).empty else _compared(group, source),
        cells_html(group, source) if group.cells else None,
        methods_html(group, source),
    )


def _compared(group: Group, source: Source) -> Html:
    return join(
        equal_html(group, source),
        progress_html(group, source),
        dominance_html(group, source),
        tag(
            "p",
            "No bands are drawn here, for one search shows no spread: run the study again with other values of "
            "search.seed and give all folders to one neglora report, whose first section then has them.",
            class_="note",
        ),
    )
