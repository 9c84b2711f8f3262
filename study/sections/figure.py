"""A figure on the page: its title, what it shows, and its data beside an empty element that the page's script fills.

Where no script runs, a still picture stands in its place.
"""

from __future__ import annotations

import base64
import html
import json
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import plotly.graph_objects as go

from study.plots.picture import picture_png
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
    shown = {"data": [_packed(trace) for trace in spec["data"]], "layout": spec["layout"]}
    return tag(
        "figure",
        tag("h5", title),
        tag(
            "div",
            id=identifier,
            class_="figure",
            data_figure=f"{identifier}-data",
            data_at_load=at_load,
            # So that what is below does not move when it is drawn.
            style=f"min-height:{spec['layout']['height']}px" if "height" in spec["layout"] else None,
            role="img",
            aria_label=f"{title}. {finding}",
        ),
        data(f"{identifier}-data", shown),
        tag("noscript", _still(json.dumps(shown, sort_keys=True), f"{title}. {finding}")),
        tag("figcaption", tag("strong", finding), " ", caption),
    )


def _packed(trace: dict[str, Any]) -> dict[str, Any]:
    """Trial ids that repeat along a trace, once each with their places; the page's script unpacks them."""
    along = trace.get("customdata")
    if trace.get("meta") != "trials" or not isinstance(along, list):
        return trace
    places = {trial: place for place, trial in enumerate(dict.fromkeys(one for one in along if one is not None))}
    if 2 * len(places) > len(along):
        return trace
    return trace | {"customdata": {"trials": list(places), "places": [places.get(trial) for trial in along]}}


@dataclass(frozen=True)
class Shown:
    """A figure as a page holds it: its id there, its title with what it shows, and its data."""

    identifier: str
    title: str
    spec: dict[str, Any]


#: The element that `figure_html` writes.
_FIGURE = re.compile(r'<div id="([^"]+)" class="figure" data-figure="([^"]+)"[^<>]* aria-label="([^"]*)">')


def figures_of(page: str) -> list[Shown]:
    """Every figure of a page, in its order.

    Raises:
        ValueError: the data of one is missing.
    """
    found = []
    for identifier, place, title in _FIGURE.findall(page):
        begin = f'<script type="application/json" id="{place}">'
        _, there, rest = page.partition(begin)
        if not there:
            raise ValueError(f"the page holds no data of its figure {identifier}")
        spec = json.loads(rest[: rest.index("</script>")])
        found.append(Shown(html.unescape(identifier), html.unescape(title), spec))
    return found


def _still(spec: str, alternative: str) -> Html:
    """The picture as an element: nothing is fetched for it."""
    image = _png(spec)
    # A PNG begins with its size in pixels.
    width, height = struct.unpack(">II", image[16:24])
    source = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    return tag("img", src=source, alt=alternative, width=width, height=height)


@lru_cache(maxsize=512)
def _png(spec: str) -> bytes:
    """The same figure is drawn once: a study that is watched is reported on again and again."""
    return picture_png(json.loads(spec))


def figures_html(*figures: Html | None) -> Html | None:
    """Figures beside one another as far as there is room; None where there is none."""
    drawn = [figure for figure in figures if figure is not None]
    return tag("div", drawn, class_="figures") if drawn else None
