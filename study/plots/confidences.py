"""How sure models are of what images are: forgotten, retained and test images, and what the attack makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from study.evidence import SIDES, Seen, Stretches, Witnesses, agreed
from study.plots.style import layout, plain

NAMES = {"forget": "forgotten images", "retain": "retained images", "test": "test images"}
REGION = "the attack says 'not in training'"
#: Colours of Okabe and Ito; a dash and a width each, for those who cannot tell them apart.
_LINES: dict[str, dict[str, Any]] = {
    "forget": {"color": "#D55E00", "width": 3, "dash": "solid"},
    "retain": {"color": "#0072B2", "width": 2, "dash": "dash"},
    "test": {"color": "#009E73", "width": 2, "dash": "dot"},
}
_SHADE, _BORDER = "rgba(230,159,0,0.18)", "#E69F00"
_TOP = 104.0


@dataclass(frozen=True)
class Panel:
    """One model.

    Attributes:
        name: of the model.
        shares: for each of `SIDES`, the share of its images in each bin, over all replicates.
        region: where the attack of every replicate says 'not in training'; None where that is not recorded.
        has_signal: of how many replicates the attack has signal, and of how many that is known.
    """

    name: str
    shares: dict[str, tuple[float, ...]]
    region: Stretches | None
    has_signal: tuple[int, int]

    @property
    def borders(self) -> tuple[float, ...]:
        """Where what the attack says changes."""
        ends = {end for stretch in self.region or () for end in stretch}
        return tuple(sorted(end for end in ends if 0 < end < 1))

    def share(self, side: str, low: float, high: float) -> float:
        """The share of a side's images whose bins lie within [low, high]."""
        shares = self.shares[side]
        first, last = (round(end * len(shares)) for end in (low, high))
        return sum(shares[first:last])


@dataclass(frozen=True)
class ConfidencesInfo:
    """What the figure shows: a panel each for Base, Retrain and Recommended, and of how many replicates they are."""

    panels: tuple[Panel, ...]
    replicates: int

    @property
    def recommended(self) -> Panel:
        return self.panels[-1]


def confidences_info(seen: Witnesses) -> ConfidencesInfo:
    """Gather the histograms, summed over replicates."""
    return ConfidencesInfo(tuple(_panel(name, several) for name, several in seen.models.items()), len(seen.recommended))


def _panel(name: str, several: tuple[Seen, ...]) -> Panel:
    shares = {}
    for side in SIDES:
        counts = [sum(bins) for bins in zip(*(one.confidences[side] for one in several), strict=False)]
        shares[side] = tuple(count / sum(counts) for count in counts)
    regions = [one.non_member for one in several if one.non_member is not None]
    flags = [one.has_signal for one in several if one.has_signal is not None]
    return Panel(
        name, shares, agreed(regions) if len(regions) == len(several) else None, (sum(map(bool, flags)), len(flags))
    )


def confidences_figure(info: ConfidencesInfo) -> go.Figure:
    """Draw it: models below one another, on the same scale, so that they can be compared from top to bottom."""
    count = len(info.panels)
    shared = layout("", "", percent=True)
    figure = go.Figure(layout=shared | {"height": 90 + 190 * count})
    gap = 46 / (190 * count)
    tall = (1 - gap * (count - 1)) / count
    notes: list[dict[str, Any]] = []
    for place, panel in enumerate(info.panels):
        name = "" if place == 0 else str(place + 1)
        top = 1 - place * (tall + gap)
        last = place == count - 1
        figure.update_layout(
            {
                f"xaxis{name}": shared["xaxis"]
                | {
                    "domain": [0.0, 1.0],
                    "anchor": f"y{name}",
                    "range": [-1.5, 101.5],
                    "dtick": 25,
                    "showticklabels": last,
                    "title": {"text": "confidence in what the image is" if last else "", "standoff": 6},
                },
                f"yaxis{name}": shared["yaxis"]
                | {
                    "domain": [max(0.0, top - tall), top],
                    "anchor": f"x{name}",
                    "range": [0, _TOP],
                    "dtick": 50,
                    "title": {"text": "share of images" if place == (count - 1) // 2 else "", "standoff": 6},
                },
            }
        )
        axes = {"xaxis": f"x{name}", "yaxis": f"y{name}"}
        for trace in (*_regions(panel), *_steps(panel)):
            figure.add_trace(trace.update(showlegend=trace.showlegend is not False and place == 0, **axes))
        notes.append(_note(f"<b>{plain(panel.name)}</b>{_remark(panel)}", 0.0, "paper", top, "bottom", "left"))
        for border in _apart(panel.borders):
            side = "right" if border > 0.5 else "left"
            notes.append(
                _note(f"{100 * border:.4g}%", 100 * border, f"x{name}", 60, "bottom", side) | {"yref": f"y{name}"}
            )
    if not any(panel.region for panel in info.panels[:1]) and any(panel.region for panel in info.panels):
        figure.add_trace(_legend_of_region())
    figure.update_layout(
        annotations=notes, margin={"t": 30, "r": 28}, legend={"y": -58 / (190 * count), "yanchor": "top"}
    )
    return figure


def _regions(panel: Panel) -> list[go.Scatter]:
    """What the attack calls 'not in training', shaded, with its borders."""
    found = []
    for place, (low, high) in enumerate(panel.region or ()):
        found.append(
            go.Scatter(
                x=[100 * low, 100 * high, 100 * high, 100 * low, 100 * low],
                y=[0, 0, _TOP, _TOP, 0],
                mode="lines",
                line={"width": 0},
                fill="toself",
                fillcolor=_SHADE,
                hoverinfo="skip",
                name=REGION,
                legendgroup=REGION,
                showlegend=None if place == 0 else False,
            )
        )
    for border in panel.borders:
        found.append(
            go.Scatter(
                x=[100 * border] * 2,
                y=[0, _TOP],
                mode="lines",
                line={"width": 1.5, "color": _BORDER},
                hoverinfo="text",
                hovertext=f"what the attack says changes at {100 * border:.4f}%",
                legendgroup=REGION,
                showlegend=False,
            )
        )
    return found


def _legend_of_region() -> go.Scatter:
    """For the legend, where the first panel has no region."""
    return go.Scatter(
        x=[None],
        y=[None],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=_SHADE,
        name=REGION,
        legendgroup=REGION,
        hoverinfo="skip",
    )


def _steps(panel: Panel) -> list[go.Scatter]:
    found = []
    for side in SIDES:
        shares = panel.shares[side]
        edges = [100 * index / len(shares) for index in range(len(shares) + 1)]
        texts = [
            f"{NAMES[side]}, confidence {low:g} to {high:g}%:<br>{100 * share:.2f}% of them"
            for (low, high), share in zip(pairwise(edges), shares, strict=True)
        ]
        found.append(
            go.Scatter(
                x=edges,
                y=[100 * share for share in (*shares, shares[-1])],
                mode="lines",
                line=_LINES[side] | {"shape": "hv"},
                name=NAMES[side],
                legendgroup=side,
                hoverinfo="text",
                hovertext=[*texts, texts[-1]],
            )
        )
    return found


def _remark(panel: Panel) -> str:
    with_signal, known = panel.has_signal
    if known and not with_signal:
        return ": the attack has no signal"
    if with_signal < known:
        return f": the attack has signal in {with_signal} of {known}"
    if panel.region == ():
        return ": nothing is called 'not in training'"
    return ""


def _apart(borders: tuple[float, ...]) -> list[float]:
    """Those borders that have room for a label."""
    found: list[float] = []
    for border in borders:
        if not found or border - found[-1] > 0.15:
            found.append(border)
    return found


def _note(text: str, x: float, xref: str, y: float, yanchor: str, xanchor: str) -> dict[str, Any]:
    return {
        "text": text,
        "x": x,
        "y": y,
        "xref": xref,
        "yref": "paper",
        "xanchor": xanchor,
        "yanchor": yanchor,
        "showarrow": False,
    }
