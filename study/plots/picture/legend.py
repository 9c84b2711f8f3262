"""The legend: what is drawn for each trace, and its name, below the panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

from study.plots.picture.bars import hatch_of
from study.plots.picture.panel import INK, Measured
from study.plots.picture.scatter import colours_of, line_of, mark_of, markers_of, mode_of, own_colour
from study.plots.picture.words import DPI, POINTS, colour, words

#: Pixels: of a key, between it and its name, between two entries, from line to line.
_KEY, _GAP, _BETWEEN, _LINE = 30.0, 7.0, 20.0, 1.5


class Legend:
    """Entries beside one another as far as there is room, then in the next line.

    Args:
        traces: those that are drawn.
        layout: which may turn it off, and gives its title.
        measured: of the figure's texts.
        width: how many pixels there are.
    """

    def __init__(
        self, traces: Sequence[Mapping[str, Any]], layout: Mapping[str, Any], measured: Measured, width: float
    ) -> None:
        self.size = measured.size - 1
        title = words(((layout.get("legend") or {}).get("title") or {}).get("text"))
        #: Each with its place: pixels from the left, and which line.
        self.texts: list[tuple[str, float, int]] = []
        self.keys: list[tuple[Mapping[str, Any], float, int]] = []
        left, line = 0.0, 0
        if title and _listed(traces, layout):
            self.texts.append((title, left, line))
            left += measured.wide(title, self.size) + _BETWEEN
        for trace in _listed(traces, layout):
            name = trace.get("name") if trace.get("name") is not None else f"trace {trace.get('_index', 0)}"
            text = " ".join(words(name).split())
            wide = _KEY + _GAP + measured.wide(text, self.size)
            if left and left + wide > width:
                left, line = 0.0, line + 1
            self.keys.append((trace, left, line))
            self.texts.append((text, left + _KEY + _GAP, line))
            left += wide + _BETWEEN
        self.lines = line + 1 if self.keys else 0

    @property
    def height(self) -> float:
        """Pixels that it takes."""
        return self.lines * _LINE * self.size

    def draw(self, figure: Figure, left: float, bottom: float) -> None:
        """Draw it with its lower left corner there, in pixels."""
        pixels = Affine2D().scale(1 / DPI) + figure.dpi_scale_trans

        def up(line: int) -> float:
            return bottom + (self.lines - line - 0.5) * _LINE * self.size

        def add(drawn: Artist) -> None:
            drawn.set_transform(pixels)
            figure.add_artist(drawn)

        for text, x, line in self.texts:
            add(Text(left + x, up(line), text, va="center", fontsize=POINTS * self.size, color=INK))
        for trace, x, line in self.keys:
            for key in _keys(dict(trace), left + x, up(line)):
                add(key)


def _listed(traces: Sequence[Mapping[str, Any]], layout: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """One trace alone is listed if it asks for it."""
    shown = [trace for trace in traces if trace.get("type") != "heatmap"]
    asked = layout.get("showlegend")
    if asked is False or (asked is None and len(shown) < 2 and not any(trace.get("showlegend") for trace in shown)):
        return []
    return [trace for trace in shown if trace.get("showlegend") is not False]


def _keys(trace: dict[str, Any], x: float, y: float) -> list[Artist]:
    opacity = float(1.0 if trace.get("opacity") is None else trace["opacity"])
    if trace.get("type") == "bar":
        face = colour(colours_of(trace.get("marker") or {}, 1, own_colour(trace))[0], opacity)
        hatch = hatch_of(trace)
        rim = "#ffffff" if hatch else "none"
        return [Rectangle((x + 6, y - 5), 18, 10, facecolor=face, edgecolor=rim, linewidth=0, hatch=hatch or None)]
    keys: list[Artist] = []
    if trace.get("fill") not in (None, "none"):
        own = trace.get("fillcolor")
        face = colour(own, opacity) if own else colour(own_colour(trace), 0.5 * opacity)
        keys.append(Rectangle((x, y - 5), _KEY, 10, facecolor=face, edgecolor="none"))
    mode = mode_of(trace)
    if "lines" in mode:
        keys.append(Line2D([x, x + _KEY], [y, y], **line_of(trace, opacity)))
    if "markers" in mode:
        style = mark_of(markers_of(trace, 1, opacity)[0])
        style["markersize"] = min(max(style["markersize"], 4.5), 9.0)
        if style["markerfacecolor"][3]:
            # A rim, which parts a mark from others, would leave little of a small one.
            style["markeredgewidth"] = 0.0
        keys.append(Line2D([x + _KEY / 2], [y], **style))
    return keys
