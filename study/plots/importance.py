"""Which settings matter: a bar per setting, its full-coloured part for what the setting does alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import plotly.graph_objects as go

from study.importance import Importance, Share
from study.plots.style import layout, method_mark, plain

#: The height of one row and of what stands around all rows, in pixels.
_ROW, _AROUND = 30, 80
_LIGHT = 0.35
_INTERVAL = "#808080"


@dataclass(frozen=True)
class ImportanceInfo:
    """What the figure shows.

    Attributes:
        methods: per method its shares, the greatest first; methods of which nothing is claimed are left out.
        names: all methods, whose order decides about marks.
    """

    methods: dict[str, tuple[Share, ...]]
    names: tuple[str, ...]

    @property
    def finding(self) -> str:
        """What it shows, in a sentence with numbers; "" for a figure without shares."""
        text = "; ".join(_matters(method, shares) for method, shares in self.methods.items())
        return f"{text[:1].upper()}{text[1:]}." if text else ""


def importance_info(found: Mapping[str, Importance]) -> ImportanceInfo:
    """Gather what is claimed, by method in the study's order."""
    return ImportanceInfo({name: own.shares for name, own in found.items() if own.shares}, tuple(found))


def importance_figure(info: ImportanceInfo) -> go.Figure:
    """Draw it: a row per setting below its method's name; the line at a bar's end is the interval of the whole bar."""
    figure = go.Figure(layout=layout("share of the differences, %", "", percent=False))
    row, headings = 0, []
    texts: dict[int, str] = {}
    for method, shares in info.methods.items():
        mark = method_mark(method, info.names)
        headings.append({"text": f"<b>{plain(method)}</b>", "y": -row})
        rows = [-(row + 1 + index) for index in range(len(shares))]
        texts |= {place: plain(share.parameter) for place, share in zip(rows, shares, strict=True)}
        row += 1 + len(shares)
        common = {"y": rows, "orientation": "h", "width": 0.64, "showlegend": False, "hoverinfo": "text"}
        hover = [_hover(method, share) for share in shares]
        figure.add_bar(
            x=[100 * share.total for share in shares],
            marker={"color": _faint(mark.color), "line": {"color": mark.color, "width": 1}},
            hovertext=hover,
            **common,
        )
        figure.add_bar(
            x=[100 * share.alone for share in shares], marker={"color": mark.color}, hovertext=hover, **common
        )
        figure.add_scatter(
            x=[100 * share.total for share in shares],
            y=rows,
            mode="markers",
            marker={"color": _INTERVAL, "symbol": "circle", "size": 5},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [100 * (share.high - share.total) for share in shares],
                "arrayminus": [100 * (share.total - share.low) for share in shares],
                "thickness": 1.5,
                "width": 4,
                "color": _INTERVAL,
            },
            cliponaxis=False,
            showlegend=False,
            hoverinfo="skip",
        )
    figure.update_layout(
        barmode="overlay",
        height=max(440, _AROUND + _ROW * row),
        xaxis={"range": [0, 102], "ticksuffix": "%"},
        yaxis={
            "range": [-row + 0.4, 0.6],
            "tickvals": list(texts),
            "ticktext": list(texts.values()),
            "showgrid": False,
        },
        annotations=[
            heading | {"x": 0, "xref": "x", "yref": "y", "xanchor": "left", "yanchor": "middle", "showarrow": False}
            for heading in headings
        ],
    )
    return figure


def _faint(color: str) -> str:
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{_LIGHT})"


def _hover(method: str, share: Share) -> str:
    return (
        f"<b>{plain(method)}</b>: {plain(share.parameter)}<br>{100 * share.total:.0f}% of the differences "
        f"({100 * share.low:.0f} to {100 * share.high:.0f})<br>{100 * share.alone:.0f}% alone"
    )


def _matters(method: str, shares: tuple[Share, ...]) -> str:
    """ "for neglora, lr matters most: 71% of the differences (60% to 82%), then rank with 12%"."""
    first, *others = shares
    text = (
        f"for {method}, {first.parameter} matters most: {100 * first.total:.0f}% of the differences "
        f"({100 * first.low:.0f}% to {100 * first.high:.0f}%)"
    )
    if others and others[0].high >= first.low:
        text += f", not clearly more than {others[0].parameter} with {100 * others[0].total:.0f}%"
    elif others:
        text += f", then {others[0].parameter} with {100 * others[0].total:.0f}%"
    return text
