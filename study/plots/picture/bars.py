"""Bars of `bar` traces: beside one another, on one another, upright or lying."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.collections import PolyCollection

from study.plots.picture.panel import Panel
from study.plots.picture.scales import Array, Scale
from study.plots.picture.scatter import colours_of, own_colour
from study.plots.picture.words import POINTS, PictureError, colour, each, values, words

_HATCHES = {"": "", "/": "///", "\\": "\\\\\\", "x": "xxx", "-": "---", "|": "|||", "+": "+++", ".": "..."}


def lies(trace: dict[str, Any]) -> bool:
    return trace.get("orientation") == "h"


class Bars:
    """The bar traces of one pair of axes, placed together.

    Args:
        traces: Plotly's, in their order.
        x, y: the axes.
        layout: whose `barmode`, `bargap` and `bargroupgap` count.
    """

    def __init__(self, traces: list[dict[str, Any]], x: Scale, y: Scale, layout: dict[str, Any]) -> None:
        self.traces, self.x, self.y = traces, x, y
        mode = layout.get("barmode") or "group"
        if mode not in ("group", "stack", "relative", "overlay"):
            raise PictureError(f"no bars of mode {mode!r}")
        self.places = [self._along(trace).places(self._given(trace, along=True)) for trace in traces]
        lengths = [self._across(trace).places(self._given(trace, along=False)) for trace in traces]
        numbers = [min(map(len, pair)) for pair in zip(self.places, lengths, strict=True)]
        self.places = [own[:number] for own, number in zip(self.places, numbers, strict=True)]
        self.lengths = [np.nan_to_num(own[:number]) for own, number in zip(lengths, numbers, strict=True)]
        self._widths(mode, layout)
        self._grounds(mode)
        for index, trace in enumerate(traces):
            half = self.widths[index] / 2
            self._along(trace).cover(np.concatenate([self.middles[index] - half, self.middles[index] + half]))
            low, high = self.starts[index], self.starts[index] + self.lengths[index]
            self._across(trace).cover(np.concatenate([low, high]))

    def _along(self, trace: dict[str, Any]) -> Scale:
        return self.y if lies(trace) else self.x

    def _across(self, trace: dict[str, Any]) -> Scale:
        return self.x if lies(trace) else self.y

    def _given(self, trace: dict[str, Any], *, along: bool) -> list[Any]:
        name = "y" if lies(trace) == along else "x"
        other = values(trace.get("x" if name == "y" else "y"))
        return values(trace.get(name)) if trace.get(name) is not None else list(range(len(other)))

    def _widths(self, mode: str, layout: dict[str, Any]) -> None:
        known = np.unique(np.concatenate([np.empty(0), *self.places]))
        known = known[np.isfinite(known)]
        unit = float(np.diff(known).min()) if len(known) > 1 else 1.0
        gap = float(0.2 if layout.get("bargap") is None else layout["bargap"])
        between = float(layout.get("bargroupgap") or 0.0)
        slots = list(dict.fromkeys(trace.get("offsetgroup") or f"#{i}" for i, trace in enumerate(self.traces)))
        room = unit * (1 - gap)
        self.widths: list[Array] = []
        self.middles: list[Array] = []
        for index, (trace, own) in enumerate(zip(self.traces, self.places, strict=True)):
            width, middle = room, own
            if mode == "group":
                slot = slots.index(trace.get("offsetgroup") or f"#{index}")
                width = room / len(slots) * (1 - between)
                middle = own + room * ((slot + 0.5) / len(slots) - 0.5)
            wide = np.array([float(value) for value in each(trace.get("width"), len(own), width)])
            if trace.get("offset") is not None:
                middle = own + np.array([float(value) for value in each(trace["offset"], len(own), 0)]) + wide / 2
            self.widths.append(wide)
            self.middles.append(middle)

    def _grounds(self, mode: str) -> None:
        """Where each bar starts."""
        self.starts: list[Array] = []
        reached: dict[tuple[bool, float, bool], float] = {}
        for trace, own, lengths in zip(self.traces, self.places, self.lengths, strict=True):
            base = np.array([float(value) for value in each(trace.get("base"), len(own), 0.0)])
            if mode in ("stack", "relative"):
                for index, (place, length) in enumerate(zip(own.tolist(), lengths.tolist(), strict=True)):
                    key = (lies(trace), place, mode == "relative" and length < 0)
                    base[index] += reached.get(key, 0.0)
                    reached[key] = reached.get(key, 0.0) + length
            self.starts.append(base)

    def draw(self, panel: Panel, index: int, order: float) -> None:
        """Draw one of the traces."""
        trace = self.traces[index]
        marker = trace.get("marker") or {}
        number = len(self.places[index])
        opacity = float(1.0 if trace.get("opacity") is None else trace["opacity"])
        alphas = [opacity * float(own) for own in each(marker.get("opacity"), number, 1.0)]
        faces = [
            colour(own, alpha) for own, alpha in zip(colours_of(marker, number, own_colour(trace)), alphas, strict=True)
        ]
        start, end = self.starts[index], self.starts[index] + self.lengths[index]
        low, high = self.middles[index] - self.widths[index] / 2, self.middles[index] + self.widths[index] / 2
        corners = [(low, start), (low, end), (high, end), (high, start)]
        flip = lies(trace)
        outlines = np.stack([np.column_stack(corner[::-1] if flip else corner) for corner in corners], axis=1)
        line = marker.get("line") or {}
        width = float(line.get("width") or 0.0)
        pattern = marker.get("pattern") or {}
        hatch = _hatch(pattern)
        drawn = PolyCollection(
            list(outlines),
            facecolors=faces,
            edgecolors=colour(line.get("color") or "#444444") if width else ("#ffffff80" if hatch else "none"),
            linewidths=POINTS * width,
            hatch=hatch or None,
            zorder=order,
        )
        panel.add(drawn)
        if trace.get("text") is not None and trace.get("textposition") != "none":
            self._texts(panel, trace, index, order)

    def _texts(self, panel: Panel, trace: dict[str, Any], index: int, order: float) -> None:
        """At the end of each bar, outside."""
        font = trace.get("textfont") or {}
        inside = trace.get("textposition") == "inside"
        ends = self.starts[index] + self.lengths[index]
        for text, middle, end, length in zip(
            each(trace["text"], len(ends), ""), self.middles[index], ends, self.lengths[index], strict=True
        ):
            if not text:
                continue
            sign = -1 if (length < 0) != inside else 1
            at, shift = ((end, middle), (4 * sign, 0)) if lies(trace) else ((middle, end), (0, 3 * sign))
            side = "left" if sign > 0 else "right"
            panel.write(
                words(text),
                *at,
                shift=shift,
                ha=side if lies(trace) else "center",
                va="center" if lies(trace) else ("bottom" if sign > 0 else "top"),
                fontsize=POINTS * float(font.get("size") or 11),
                color=colour(font.get("color") or "#333333"),
                zorder=order + 0.5,
            )


def _hatch(pattern: dict[str, Any]) -> str:
    shapes = {str(shape or "") for shape in each(pattern.get("shape"), 1, "")}
    shape = shapes.pop()
    if shape not in _HATCHES:
        raise PictureError(f"no pattern: {shape!r}")
    return _HATCHES[shape]


def hatch_of(trace: dict[str, Any]) -> str:
    """The pattern of its bars, for the legend."""
    return _hatch((trace.get("marker") or {}).get("pattern") or {})
