"""How figures look: a colour and a shape per method, and a layout that suits light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True)
class Mark:
    """A colour of the Okabe-Ito palette, which colour-blind readers can tell apart, with a shape of its own."""

    color: str
    symbol: str


#: The methods that the project ships look the same in every report.
METHOD_MARKS = {
    "neggrad": Mark("#D55E00", "square"),
    "partial_neggrad": Mark("#009E73", "triangle-up"),
    "neglora": Mark("#0072B2", "circle"),
}
#: Further methods take these in order.
OTHER_MARKS = (
    Mark("#E69F00", "diamond"),
    Mark("#56B4E9", "pentagon"),
    Mark("#F0E442", "hexagon"),
)
#: References are no methods: no method takes their colours or shapes.
RETRAIN_MARK = Mark("#CC79A7", "star")
BASE_MARK = Mark("#808080", "cross")

#: Neutral enough to be read on white and on near-black before the page's script sets the theme's own colours.
_INK = "#767676"
_GRID = "rgba(128,128,128,0.25)"


def method_mark(method: str, methods: Sequence[str]) -> Mark:
    """The mark of a method; one that is not ours takes its mark by its place among the others of the study."""
    if method in METHOD_MARKS:
        return METHOD_MARKS[method]
    others = [name for name in methods if name not in METHOD_MARKS]
    return OTHER_MARKS[others.index(method) % len(OTHER_MARKS)]


def plain(text: object) -> str:
    """A text from data as Plotly should show it: Plotly reads tags and entities in labels and hover texts."""
    return escape(str(text), quote=False)


def setting(value: Any) -> str:
    """A parameter's value as people read it: four significant digits are enough for reading."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def layout(x_title: str, y_title: str, *, percent: bool) -> dict[str, Any]:
    """The layout that all figures share: transparent, legend below, margins fit for narrow screens."""
    axis = {
        "gridcolor": _GRID,
        "zeroline": False,
        "linecolor": _GRID,
        "automargin": True,
        "ticksuffix": "%" if percent else "",
        "title": {"standoff": 8},
    }
    return {
        "template": None,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": _INK},
        "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
        "height": 440,
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "font": {"size": 12}},
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0},
        "xaxis": axis | {"title": {"text": x_title, "standoff": 8}},
        "yaxis": axis | {"title": {"text": y_title, "standoff": 8}},
    }
