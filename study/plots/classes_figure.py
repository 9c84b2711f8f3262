"""Accuracy by class before and after, drawn: training images beside test images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from study.evidence import PARTS, RECOMMENDED, RETRAIN
from study.plots.classes import MOST_FORGOTTEN, MOST_KEPT, ClassesInfo, ClassRow
from study.plots.style import BASE_MARK, RETRAIN_MARK, Mark, layout, method_mark, plain

TITLES = {"train": "Training", "test": "Test"}
PAID = "fell by more than chance"

_PAID_COLOR, _PLAIN_COLOR = "#D55E00", "rgba(128,128,128,0.65)"
#: In pixels: a class that stays, a forgotten one, which is said below its name, and what is above, between and below.
_LINE, _TALL, _AROUND, _BETWEEN = 26, 44, 108, 34
#: Where the second column begins, as a share of the width.
_APART = 0.55


def classes_figure(info: ClassesInfo, methods: Sequence[str] = ()) -> go.Figure:
    """Draw it in percent: training images beside test images; forgotten classes on a scale of their own, above.

    Args:
        info: what is shown.
        methods: those of the study, for the recommended one's mark.
    """
    kept, gone = info.kept[:MOST_KEPT], info.forgotten[:MOST_FORGOTTEN]
    tall = (_TALL * len(gone), _LINE * (len(kept) + 0.6) if kept else 0.0)
    height = _AROUND + sum(tall) + (_BETWEEN if gone else 0)
    shares = [part / (height - _AROUND) for part in tall]
    domains = ([1 - shares[0], 1.0], [0.0, shares[1]])
    shared = layout("", "", percent=True)
    figure = go.Figure(layout=shared | {"height": round(height)})
    ends = _ends(info, kept)
    parts = [part for part in PARTS if any(row.shares[part] for row in (*gone, *kept))]
    for block, rows in enumerate((gone, kept)):
        if not rows:
            continue
        for column, part in enumerate(parts):
            number = len(parts) * (block if gone else 0) + column + 1
            name = "" if number == 1 else str(number)
            across = [_APART * column, _APART * column + 1 - _APART] if len(parts) > 1 else [0.0, 1.0]
            figure.update_layout(
                {
                    f"xaxis{name}": shared["xaxis"]
                    | {
                        "domain": across,
                        "anchor": f"y{name}",
                        "range": ends if block else [-6.0, 108.0],
                        "nticks": 4,
                        "tickangle": 0,
                        "title": {"text": ""},
                    },
                    f"yaxis{name}": shared["yaxis"]
                    | {
                        "domain": domains[block],
                        "anchor": f"x{name}",
                        "range": [len(rows) - (0.2 if block else 0.45), -0.8 if block else -0.55],
                        "tickvals": list(range(len(rows))),
                        "ticktext": [_label(row) for row in rows],
                        "showticklabels": column == 0,
                        "ticksuffix": "",
                        "title": {"text": ""},
                    },
                }
            )
            for trace in _traces(info, rows, part, methods):
                first = trace.mode == "markers" and block == (0 if gone else 1) and column == 0
                figure.add_trace(trace.update(xaxis=f"x{name}", yaxis=f"y{name}", showlegend=first))
    figure.update_layout(
        legend={"y": -34 / (height - _AROUND), "yanchor": "top"},
        margin={"t": 30},
        annotations=[
            {
                "text": f"<b>{TITLES[part]}</b>",
                "x": _APART * column,
                "y": 1.0,
                "xref": "paper",
                "yref": "paper",
                "xanchor": "left",
                "yanchor": "bottom",
                "showarrow": False,
            }
            for column, part in enumerate(parts)
        ],
    )
    if any(row.paid for row in kept):
        figure.add_scatter(
            x=[None], y=[None], mode="lines", line={"color": _PAID_COLOR, "width": 5}, name=PAID, hoverinfo="skip"
        )
    return figure


def _traces(info: ClassesInfo, rows: Sequence[ClassRow], part: str, methods: Sequence[str]) -> Iterable[go.Scatter]:
    """The way from before to after of each class, then a mark for each model."""
    for paid, color, width in ((False, _PLAIN_COLOR, 2), (True, _PAID_COLOR, 5)):
        x: list[float | None] = []
        y: list[int | None] = []
        for place, row in enumerate(rows):
            if row.shares[part] and (part in row.paid) is paid:
                x += [100 * row.shares[part][model].value for model in (info.base, RECOMMENDED)] + [None]
                y += [place, place, None]
        if x:
            line = {"color": color, "width": width}
            yield go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip")
    for model in info.models:
        mark = _mark(model, info.method, methods)
        found = [(place, row) for place, row in enumerate(rows) if row.shares[part]]
        yield go.Scatter(
            x=[100 * row.shares[part][model].value for _, row in found],
            # Retrain a little lower: where all agree it would be hidden.
            y=[place + (0.3 if model == RETRAIN else 0.0) for place, _ in found],
            mode="markers",
            marker={
                "color": mark.color,
                "symbol": mark.symbol,
                "size": 12 if model == info.base else 9,
                "line": {"width": 1, "color": "#ffffff"},
            },
            name=plain(model),
            legendgroup=plain(model),
            hoverinfo="text",
            hovertext=[_hover(row, part, model) for _, row in found],
        )


def _mark(model: str, method: str, methods: Sequence[str]) -> Mark:
    if model == RECOMMENDED:
        return method_mark(method, [*methods, *([] if method in methods else [method])])
    return RETRAIN_MARK if model == RETRAIN else BASE_MARK


def _label(row: ClassRow) -> str:
    name = row.name if len(row.name) <= 16 else f"{row.name[:15]}…"
    return plain(name) + ("<br>(forgotten)" if row.forgotten else " *" if row.paid else "")


def _hover(row: ClassRow, part: str, model: str) -> str:
    share = row.shares[part][model]
    return f"<b>{plain(row.name)}</b>, {plain(model)}<br>{100 * share.value:.2f}% of {share.images:,} images"


def _ends(info: ClassesInfo, rows: Sequence[ClassRow]) -> list[float]:
    values = [share.value for row in rows for found in row.shares.values() for share in found.values()]
    low, high = min(values, default=0.0), max(values, default=1.0)
    low = min(low, high - 0.02)
    margin = 0.07 * (high - low)
    return [100 * max(low - margin, -0.04), 100 * min(high + margin, 1.04)]
