"""Average ranks over datasets and models, with how far apart two have to be."""

from __future__ import annotations

import plotly.graph_objects as go

from study.plots.style import layout, method_mark, plain
from study.ranks import Ranks

_BAR = "#808080"


def ranks_figure(ranks: Ranks) -> go.Figure:
    """A line for each method, best on top, with the critical difference as a bar; grey bars join what is alike.

    Source: Demsar 2006, figure 1; the methods are below one another here, which narrow screens have room for.
    """
    count = len(ranks.methods)
    figure = go.Figure(layout=layout("average rank (1 is best)", "", percent=False))
    for place, (method, rank) in enumerate(zip(ranks.methods, ranks.ranks, strict=True)):
        mark = method_mark(method, sorted(ranks.methods))
        figure.add_scatter(
            x=[rank],
            y=[place],
            mode="markers",
            marker={"color": mark.color, "symbol": mark.symbol, "size": 13},
            name=plain(method),
            showlegend=False,
            hoverinfo="text",
            hovertext=[f"{plain(method)}: {rank:.2f}"],
        )
    for index, group in enumerate(ranks.alike()):
        first, last = (ranks.methods.index(group[end]) for end in (0, -1))
        figure.add_scatter(
            # Each below the last of its methods, so that bars that overlap stay apart.
            x=[ranks.ranks[first], ranks.ranks[last]],
            y=[last + 0.35, last + 0.35],
            mode="lines",
            line={"color": _BAR, "width": 5},
            name="not told apart",
            legendgroup="alike",
            showlegend=index == 0,
            hoverinfo="text",
            hovertext=[f"not told apart: {plain(', '.join(group))}"] * 2,
        )
    figure.add_scatter(
        x=[1, 1 + ranks.critical],
        y=[-0.8, -0.8],
        mode="lines+markers",
        line={"color": _BAR, "width": 2},
        marker={"symbol": "line-ns-open", "size": 10, "color": _BAR},
        name=f"critical difference {ranks.critical:.2f}",
        hoverinfo="text",
        hovertext=[f"critical difference {ranks.critical:.2f}"] * 2,
    )
    figure.update_layout(
        height=max(440, 170 + 60 * count),
        xaxis={"range": [0.8, max(count, 1 + ranks.critical) + 0.2]},
        yaxis={
            "range": [count - 0.3, -1.2],
            "tickvals": list(range(count)),
            "ticktext": [plain(method) for method in ranks.methods],
            "showgrid": False,
        },
        legend={"y": -55 / max(300, 60 * count)},
    )
    return figure
