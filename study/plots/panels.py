"""Four panels in one figure, one for each metric that the paper shows: two beside and two below."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from study.plots.style import layout

#: From left to right and down.
PANELS = ("ua", "ra", "ta", "mia")
NAMES = {"ua": "UA", "ra": "RA", "ta": "TA", "mia": "MIA-Efficacy"}
#: A panel spans at least this share, so that differences of a single image do not look like cliffs.
_LEAST_SPAN = 0.05


def axes_of(index: int) -> dict[str, str]:
    """The axes of a panel, as a trace names them."""
    return {"xaxis": f"x{_number(index)}", "yaxis": f"y{_number(index)}"}


def panels(x: dict[str, Any], x_title: str, ranges: Iterable[list[float] | None]) -> dict[str, Any]:
    """Axes and titles of all panels, as parts of a layout.

    Args:
        x: what the x axes share.
        x_title: of the lower ones.
        ranges: of the y axes in percent, one for each panel; None for what Plotly chooses.
    """
    shared = layout("", "", percent=True)
    made: dict[str, Any] = {"annotations": [_title(index, metric) for index, metric in enumerate(PANELS)]}
    for index, ends in enumerate(ranges):
        column, line = index % 2, index // 2
        number = _number(index)
        made[f"xaxis{number}"] = (
            shared["xaxis"]
            | {
                "title": {"text": x_title if line else "", "standoff": 6, "font": {"size": 13}},
                "domain": [0.56 * column, 0.56 * column + 0.44],
                "anchor": f"y{number}",
                "ticksuffix": "",
            }
            | x
        )
        made[f"yaxis{number}"] = shared["yaxis"] | {
            "domain": [0.55 * (1 - line), 0.55 * (1 - line) + 0.4],
            "anchor": f"x{number}",
            "range": ends,
        }
    return made


def span(ends: Iterable[float]) -> list[float] | None:
    """From the least to the greatest value, in percent, with a margin; None where there is no value."""
    values = list(ends)
    if not values:
        return None
    low, high = min(values), max(values)
    lacking = max(0.0, _LEAST_SPAN - (high - low)) / 2
    margin = 0.06 * max(high - low, _LEAST_SPAN)
    return [100 * (low - lacking - margin), 100 * (high + lacking + margin)]


def _number(index: int) -> str:
    """What Plotly calls the axes of a panel by: nothing, 2, 3, 4."""
    return "" if index == 0 else str(index + 1)


def _title(index: int, metric: str) -> dict[str, Any]:
    column, line = index % 2, index // 2
    return {
        # Short, for narrow screens: what the names mean is said elsewhere on the page.
        "text": f"<b>{NAMES[metric]}</b>",
        "x": 0.56 * column,
        "y": 0.55 * (1 - line) + 0.4,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
    }
