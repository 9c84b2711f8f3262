"""How the methods compare."""

from __future__ import annotations

from collections.abc import Sequence

from study.recommend import candidates
from study.sections.decision import cells_html
from study.sections.html import Html, join, tag
from study.sections.methods import methods_html
from study.sections.progress import progress_html
from study.sections.source import Group, Source


def comparison_html(group: Group, source: Source) -> Html | None:
    """The methods of a group beside one another: the paper's table, each cell's best, and what each trial bought."""
    return join(
        tag("h4", "How the methods compare"),
        methods_html(group, source),
        cells_html(group, source) if group.cells else None,
        None if candidates(group.table).empty else progress_html(group, source),
    )


def across_html(source: Source) -> Html | None:
    """All groups of a study beside one another; None where there is one."""
    return None


def repeated_html(studies: Sequence[Source]) -> Html | None:
    """Studies that differ only in the seed of their search, taken together; None where there are none."""
    return None
