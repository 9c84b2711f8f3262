"""Lines, marks, areas, error bars and texts of a `scatter` trace."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from study.plots.picture.panel import Panel
from study.plots.picture.scales import Array, Scale
from study.plots.picture.words import (
    DASHES,
    POINTS,
    SYMBOLS,
    PictureError,
    Rgba,
    colour,
    colourmap,
    each,
    is_array,
    values,
    words,
)

COLORWAY = ("#636efa", "#ef553b", "#00cc96", "#ab63fa", "#ffa15a", "#19d3f3", "#ff6692", "#b6e880")


@dataclass(frozen=True)
class Marker:
    """How a mark looks: matplotlib's name, whether it is empty, its size in pixels, its colours, its line's width."""

    shape: str
    size: float
    face: Rgba
    edge: Rgba
    width: float


def scatter_places(trace: dict[str, Any], x: Scale, y: Scale) -> tuple[Array, Array]:
    """Where the points stand; one coordinate alone counts from 0."""
    given = {name: values(trace.get(name)) for name in "xy"}
    for name, other in (("x", "y"), ("y", "x")):
        if trace.get(name) is None:
            given[name] = list(range(len(given[other])))
    number = min(map(len, given.values()))
    return x.places(given["x"][:number]), y.places(given["y"][:number])


def cover_scatter(trace: dict[str, Any], x: Scale, y: Scale) -> None:
    """Make room for it on its axes."""
    marks = "markers" in mode_of(trace) or "text" in mode_of(trace)
    at = scatter_places(trace, x, y)
    for own, scale, name in zip(at, (x, y), ("error_x", "error_y"), strict=True):
        scale.cover(own, padded=marks)
        low, high = _errors(trace.get(name), own)
        scale.cover(np.concatenate([own - low, own + high]))
    if trace.get("fill") in ("tozeroy", "tozerox"):
        (y if trace["fill"] == "tozeroy" else x).cover(np.zeros(1))


def draw_scatter(panel: Panel, trace: dict[str, Any], x: Scale, y: Scale, before: Array | None, order: float) -> Array:
    """Draw it.

    Args:
        panel: of the two axes.
        trace: Plotly's.
        x, y: the axes.
        before: the line of the trace before, which an area may reach to.
        order: which of two drawn things is above.

    Returns:
        Its line, of shape (points, 2), for the next trace's area.
    """
    at_x, at_y = scatter_places(trace, x, y)
    opacity = float(1.0 if trace.get("opacity") is None else trace["opacity"])
    mode = mode_of(trace)
    line = _stepped(at_x, at_y, trace)
    if trace.get("fill") not in (None, "none"):
        _area(panel, trace, line, before, opacity, order)
    if "lines" in mode:
        panel.add(Line2D(line[:, 0], line[:, 1], zorder=order, **line_of(trace, opacity)))
    for name, own in (("error_x", at_x), ("error_y", at_y)):
        _draw_errors(panel, trace, name, at_x, at_y, _errors(trace.get(name), own), opacity, order)
    if "markers" in mode:
        _marks(panel, trace, at_x, at_y, opacity, order)
    if "text" in mode:
        _texts(panel, trace, at_x, at_y, opacity, order)
    return line


def mode_of(trace: dict[str, Any]) -> str:
    mode = trace.get("mode")
    if mode is None:
        given = values(trace.get("y") if trace.get("y") is not None else trace.get("x"))
        return "lines+markers" if len(given) < 20 else "lines"
    return str(mode)


def own_colour(trace: dict[str, Any]) -> Any:
    """The colour of a trace as a whole."""
    line, marker = trace.get("line") or {}, trace.get("marker") or {}
    for given in (line.get("color"), marker.get("color")):
        if isinstance(given, str):
            return given
    return COLORWAY[int(trace.get("_index", 0)) % len(COLORWAY)]


def line_of(trace: dict[str, Any], opacity: float = 1.0) -> dict[str, Any]:
    """Colour, width and dashes of its line, as matplotlib's arguments."""
    own = trace.get("line") or {}
    width = float(2.0 if own.get("width") is None else own["width"])
    return {
        "color": colour(own.get("color") or own_colour(trace), opacity),
        "linewidth": POINTS * width,
        "linestyle": dashes(own.get("dash"), width),
        "solid_capstyle": "butt",
    }


def dashes(name: Any, width: float) -> Any:
    """matplotlib's pattern; it grows with the width, of which Plotly's thin lines have at least 3 pixels."""
    if name is None:
        return "-"
    if name not in DASHES:
        raise PictureError(f"no dash: {name!r}; known are {', '.join(DASHES)}")
    found = DASHES[name]
    grown = max(1.0, 1.6 / max(width, 0.1))
    return found if isinstance(found, str) else (found[0], tuple(part * grown for part in found[1]))


def markers_of(trace: dict[str, Any], number: int, opacity: float = 1.0) -> list[Marker]:
    """How each of its marks looks."""
    own = trace.get("marker") or {}
    line = own.get("line") or {}
    faces = colours_of(own, number, own_colour(trace))
    edges = each(line.get("color"), number, None)
    widths = each(line.get("width"), number, None)
    found = []
    for symbol, size, face, edge, width, alpha in zip(
        each(own.get("symbol"), number, "circle"),
        each(own.get("size"), number, 6),
        faces,
        edges,
        widths,
        each(own.get("opacity"), number, 1.0),
        strict=True,
    ):
        shape, empty = _symbol(symbol)
        alpha = float(alpha) * opacity
        filled = colour(face, alpha)
        rim = filled if edge is None and empty else colour(edge or "#444444", alpha)
        thick = float((1.0 if empty else 0.0) if width is None else width)
        found.append(
            Marker(shape, float(size), (0, 0, 0, 0) if empty else filled, rim, max(thick, 1.0) if empty else thick)
        )
    return found


def colours_of(own: dict[str, Any], number: int, default: Any) -> list[Any]:
    """The colour of each mark or bar: one for all, one for each, or numbers on a colour scale."""
    given = own.get("color")
    if not is_array(given):
        return [given or default] * number
    found = each(given, number, None)
    if all(value is None or isinstance(value, str) for value in found):
        return [value or default for value in found]
    low, high = colour_ends(own, [value for value in found if value is not None])
    scale = colourmap(own.get("colorscale"), bool(own.get("reversescale")))
    missing = (0.5, 0.5, 0.5, 0.4)
    picked = [missing if value is None else scale((float(value) - low) / ((high - low) or 1.0)) for value in found]
    return [f"rgba({255 * r},{255 * g},{255 * b},{a})" for r, g, b, a in picked]


def colour_ends(own: dict[str, Any], found: list[Any], low: str = "cmin", high: str = "cmax") -> tuple[float, float]:
    """From which number to which a colour scale goes."""
    measured = [float(value) for value in found] or [0.0, 1.0]
    first = min(measured) if own.get(low) is None else float(own[low])
    last = max(measured) if own.get(high) is None else float(own[high])
    middle = own.get(f"{low[0]}mid")
    if middle is not None and own.get(low) is None:
        reach = max(abs(first - float(middle)), abs(last - float(middle)))
        first, last = float(middle) - reach, float(middle) + reach
    return first, last


def _symbol(name: Any) -> tuple[str, bool]:
    text = str(name)
    empty = text.endswith("-open")
    shape = SYMBOLS.get(text.removesuffix("-open"))
    if shape is None:
        raise PictureError(f"no symbol: {text!r}; known are {', '.join(SYMBOLS)}, each with -open")
    return shape, empty or shape in "|_"


#: Plotly draws some symbols larger than their size, matplotlib others.
_LARGER = {"*": 1.5, "D": 0.92, "P": 1.15, "X": 1.15, "p": 1.1, "H": 1.1, "^": 1.1, "v": 1.1, "<": 1.1, ">": 1.1}


def _marks(panel: Panel, trace: dict[str, Any], x: Array, y: Array, opacity: float, order: float) -> None:
    """Marks that look the same are drawn in one go."""
    places: dict[Marker, list[int]] = {}
    for index, marker in enumerate(markers_of(trace, len(x), opacity)):
        places.setdefault(marker, []).append(index)
    for marker, indices in places.items():
        panel.add(Line2D(x[indices], y[indices], zorder=order + 0.001, **mark_of(marker)))


def mark_of(marker: Marker) -> dict[str, Any]:
    """A mark as matplotlib's arguments."""
    return {
        "linestyle": "none",
        "marker": marker.shape,
        "markersize": POINTS * marker.size * _LARGER.get(marker.shape, 1.0),
        "markerfacecolor": marker.face,
        "markeredgecolor": marker.edge if marker.width else "none",
        "markeredgewidth": POINTS * marker.width,
    }


def _texts(panel: Panel, trace: dict[str, Any], x: Array, y: Array, opacity: float, order: float) -> None:
    number = len(x)
    font = trace.get("textfont") or {}
    positions = each(trace.get("textposition"), number, "middle center")
    for own_x, own_y, text, position, ink in zip(
        x, y, each(trace.get("text"), number, ""), positions, each(font.get("color"), number, "#333333"), strict=True
    ):
        if not (math.isfinite(own_x) and math.isfinite(own_y)) or not text:
            continue
        across, along = str(position).split()[1], str(position).split()[0]
        panel.write(
            words(text),
            own_x,
            own_y,
            shift=({"left": -7, "right": 7}.get(across, 0), {"top": 7, "bottom": -7}.get(along, 0)),
            ha={"left": "right", "right": "left"}.get(across, "center"),
            va={"top": "bottom", "bottom": "top"}.get(along, "center"),
            fontsize=POINTS * float(font.get("size") or 12),
            color=colour(ink, opacity),
            zorder=order + 0.002,
        )


def _errors(given: Any, at: Array) -> tuple[Array, Array]:
    """How far an error bar reaches down and up from each place."""
    own = given or {}
    if not own or own.get("visible") is False:
        return np.zeros(len(at)), np.zeros(len(at))
    kind = own.get("type") or "data"
    if kind == "constant":
        size = float(own["value"])
        return np.full(len(at), size), np.full(len(at), size)
    if kind != "data":
        raise PictureError(f"no error bars of type {kind!r}")
    high = np.array([0.0 if value is None else float(value) for value in each(own.get("array"), len(at), None)])
    low = own.get("arrayminus")
    if low is None:
        return high, high
    return np.array([0.0 if value is None else float(value) for value in each(low, len(at), None)]), high


def _draw_errors(
    panel: Panel,
    trace: dict[str, Any],
    name: str,
    x: Array,
    y: Array,
    reach: tuple[Array, Array],
    opacity: float,
    order: float,
) -> None:
    low, high = reach
    there = ((low > 0) | (high > 0)) & np.isfinite(x) & np.isfinite(y)
    if not there.any():
        return
    own = trace[name]
    x, y, low, high = x[there], y[there], low[there], high[there]
    ends = [(x - low, y), (x + high, y)] if name == "error_x" else [(x, y - low), (x, y + high)]
    ink = colour(own.get("color") or own_colour(trace), opacity)
    thick = POINTS * float(2.0 if own.get("thickness") is None else own["thickness"])
    segments = np.stack([np.column_stack(end) for end in ends], axis=1)
    panel.add(LineCollection(list(segments), colors=[ink], linewidths=thick, zorder=order))
    cap = 2 * POINTS * float(4.0 if own.get("width") is None else own["width"])
    if cap:
        at = np.concatenate([np.column_stack(end) for end in ends])
        mark = "|" if name == "error_x" else "_"
        style: dict[str, Any] = {
            "linestyle": "none",
            "marker": mark,
            "markersize": cap,
            "color": ink,
        }
        panel.add(Line2D(at[:, 0], at[:, 1], zorder=order, markeredgewidth=thick, **style))


def _stepped(x: Array, y: Array, trace: dict[str, Any]) -> Array:
    """The line through the points, of shape (points, 2), broken where one is missing."""
    shape = (trace.get("line") or {}).get("shape") or "linear"
    if shape not in ("linear", "hv", "vh"):
        raise PictureError(f"no line of shape {shape!r}")
    points = np.column_stack([x, y])
    if trace.get("connectgaps"):
        points = points[np.isfinite(points).all(axis=1)]
    if shape == "linear" or len(points) < 2:
        return points
    corners = np.repeat(points, 2, axis=0)[:-1]
    across, along = (0, 1) if shape == "hv" else (1, 0)
    corners[1::2, across], corners[1::2, along] = points[1:, across], points[:-1, along]
    return corners


def _area(panel: Panel, trace: dict[str, Any], line: Array, before: Array | None, opacity: float, order: float) -> None:
    fill = trace["fill"]
    own = trace.get("fillcolor")
    face = colour(own, opacity) if own else colour(own_colour(trace), 0.5 * opacity)
    pieces = _pieces(line)
    if fill == "toself":
        outlines = pieces
    elif fill == "tonexty":
        other = np.empty((0, 2)) if before is None else before[np.isfinite(before).all(axis=1)]
        outlines = [np.concatenate([*pieces, other[::-1]])] if pieces and len(other) else []
    elif fill in ("tozeroy", "tozerox"):
        flat = 1 if fill == "tozeroy" else 0
        outlines = []
        for piece in pieces:
            ground = piece[[-1, 0]].copy()
            ground[:, flat] = 0.0
            outlines.append(np.concatenate([piece, ground]))
    else:
        raise PictureError(f"no area of kind {fill!r}")
    closed = [Path(outline, closed=False) for outline in outlines if len(outline) > 2]
    if closed:
        shape = Path.make_compound_path(*closed)
        panel.add(PathPatch(shape, facecolor=face, edgecolor="none", linewidth=0, zorder=order - 0.002))


def _pieces(line: Array) -> list[Array]:
    """The parts of a line between its gaps."""
    there = np.isfinite(line).all(axis=1)
    cuts = np.flatnonzero(np.diff(there.astype(int))) + 1
    return [piece for piece in np.split(line, cuts) if len(piece) and np.isfinite(piece[0]).all()]
