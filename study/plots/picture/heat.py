"""The cells of a `heatmap` trace, their texts, and the bar that explains colours."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from study.plots.picture.panel import INK, Measured, Panel, Written
from study.plots.picture.scales import Array, Scale
from study.plots.picture.scatter import colour_ends
from study.plots.picture.words import POINTS, colour, colourmap, contrasting, number_text, values, words

#: Colours, and which numbers are the first and the last of them.
Shades = tuple[LinearSegmentedColormap, Normalize]
_SHADES = 64


def heat_places(trace: dict[str, Any], x: Scale, y: Scale) -> tuple[Array, Array, Array]:
    """Edges of columns and of rows, and the values, of shape (rows, columns); NaN for none."""
    rows = [[np.nan if value is None else float(value) for value in row] for row in values(trace.get("z"))]
    z = np.array(rows, dtype=float).reshape(len(rows), -1)
    edges = []
    for name, scale, number in (("x", x, z.shape[1]), ("y", y, z.shape[0])):
        given = values(trace.get(name))
        at = scale.places(given) if given else np.arange(number, dtype=float)
        if len(at) == number + 1:
            edges.append(at)
            continue
        half = np.diff(at) / 2 if len(at) > 1 else np.array([0.5])
        edges.append(np.concatenate([[at[0] - half[0]], at[:-1] + half if len(at) > 1 else [], [at[-1] + half[-1]]]))
    return edges[0], edges[1], z


def draw_heat(panel: Panel, trace: dict[str, Any], x: Scale, y: Scale, order: float) -> Shades:
    """Draw it; returned is what a colour bar explains."""
    across, along, z = heat_places(trace, x, y)
    low, high = colour_ends(trace, z[np.isfinite(z)].tolist(), "zmin", "zmax")
    scale = colourmap(trace.get("colorscale"), bool(trace.get("reversescale")))
    norm = Normalize(low, high if high > low else low + 1.0)
    opacity = float(1.0 if trace.get("opacity") is None else trace["opacity"])
    gap = max(float(trace.get("xgap") or 0), float(trace.get("ygap") or 0))
    rows, columns = np.nonzero(np.isfinite(z))
    corners = ((0, 0), (1, 0), (1, 1), (0, 1))
    outlines = np.stack([np.column_stack([across[columns + i], along[rows + j]]) for i, j in corners], axis=1)
    panel.add(
        PolyCollection(
            list(outlines),
            facecolors=scale(norm(z[rows, columns]), alpha=opacity),
            # Cells that touch show no seam between them.
            edgecolors="white" if gap else "face",
            linewidths=POINTS * gap if gap else 0.3,
            zorder=order,
        )
    )
    if trace.get("texttemplate"):
        font = trace.get("textfont") or {}
        texts = values(trace.get("text"))
        for row, column in zip(*np.nonzero(np.isfinite(z)), strict=True):
            value = float(z[row, column])
            text = _filled(str(trace["texttemplate"]), value, values(texts[row])[column] if texts else "")
            ink = font.get("color") or contrasting(scale(norm(value)))
            panel.write(
                text,
                (across[column] + across[column + 1]) / 2,
                (along[row] + along[row + 1]) / 2,
                ha="center",
                va="center",
                fontsize=POINTS * float(font.get("size") or 12),
                color=colour(ink),
                zorder=order + 0.5,
            )
    return scale, norm


def _filled(template: str, z: float, text: Any) -> str:
    """A text template with its values: `%{text}`, `%{z}`, `%{z:.1f}`."""

    def fill(found: re.Match[str]) -> str:
        return words(text) if found[1] == "text" else number_text(z, found[2] or None)

    return words(re.sub(r"%\{(text|z)(?::([^{}]*))?\}", fill, template))


def colour_bar(figure: Figure, shades: Shades, own: dict[str, Any], measured: Measured) -> tuple[Panel, Written]:
    """What says which colour is which number: a panel, which has no place yet, and its ticks."""
    scale, norm = shades
    low, high = float(norm.vmin or 0.0), float(norm.vmax or 0.0)
    kept = ("tickvals", "ticktext", "ticksuffix", "tickprefix", "tickformat")
    named: dict[str, Any] = {key: own[key] for key in kept if key in own}
    along = Scale("y", {**named, "range": [low, high], "side": "right", "showgrid": False})
    panel = Panel(figure, Scale("x", {"range": [0, 1]}), along)
    # Steps between neighbours are smaller than what an eye can tell.
    ends = np.linspace(low, high, _SHADES + 1)
    outlines = [[(0, a), (1, a), (1, b), (0, b)] for a, b in itertools.pairwise(ends)]
    faces = scale(np.linspace(0.0, 1.0, _SHADES))
    panel.add(PolyCollection(outlines, facecolors=faces, edgecolors="face", linewidths=0.3, zorder=2))
    title = words((own.get("title") or {}).get("text"))
    style = {"fontsize": POINTS * (measured.size - 2), "ha": "right", "va": "bottom", "color": INK}
    panel.write(title, 1.0, 1.0, shift=(44, 5), at=panel.share, **style)
    return panel, Written(panel, along, measured, 300.0, shown=True)
