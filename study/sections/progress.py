"""What the search gained with every trial."""

from __future__ import annotations

from study.plots.progress import progress_figure, progress_info
from study.sections.figure import figure_html
from study.sections.html import Html, tag
from study.sections.source import Group, Source


def progress_html(group: Group, source: Source) -> Html:
    """Hypervolume against trials, `progress-SLUG`."""
    objectives = list(source.space.get("objectives", []))
    figure = progress_figure(progress_info(group.table, objectives))
    caption = (
        f"Volume of {', '.join(objectives)} that a cell's front dominates, after so many trials: still rising at the "
        "end means that more trials would pay."
        + (" Trials count as the search saw them, on subsets." if source.staged else "")
    )
    title = "What the search gained"
    finding = "Volume that each cell's front dominates, trial by trial."
    return tag("div", figure_html(f"progress-{group.slug}", title, caption, figure, finding=finding), class_="figures")
