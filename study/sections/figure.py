"""A figure on the page: its title, what it shows, and its data beside an empty element that the page's script fills."""

from __future__ import annotations

import json

import plotly.graph_objects as go

from study.sections.html import Html, data, tag


def figure_html(
    identifier: str, title: str, caption: str, figure: go.Figure, *, finding: str, at_load: bool = False
) -> Html:
    """A figure with its title, what it shows, how to read it, and its data.

    Args:
        identifier: of the element, the page's only one.
        title: a heading.
        caption: how to read it: what marks, axes and bars are, and what is left out.
        figure: what is drawn.
        finding: what it shows, in a sentence with numbers: it leads the caption, and stands for the figure where that
            cannot be seen.
        at_load: draw it when the page loads, rather than when a reader comes near it.
    """
    spec = json.loads(figure.to_json(validate=False))
    return tag(
        "figure",
        tag("h5", title),
        tag(
            "div",
            id=identifier,
            class_="figure",
            data_figure=f"{identifier}-data",
            data_at_load=at_load,
            role="img",
            aria_label=f"{title}. {finding}",
        ),
        data(f"{identifier}-data", {"data": spec["data"], "layout": spec["layout"]}),
        tag("figcaption", tag("strong", finding), " ", caption),
    )


def figures_html(*figures: Html | None) -> Html | None:
    """Figures beside one another as far as there is room; None where there is none."""
    drawn = [figure for figure in figures if figure is not None]
    return tag("div", drawn, class_="figures") if drawn else None
