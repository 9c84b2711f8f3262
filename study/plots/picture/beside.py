"""What stands over the traces: annotations, lines and rectangles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.text import Annotation
from matplotlib.transforms import Transform, blended_transform_factory

from study.plots.picture.panel import INK, Panel
from study.plots.picture.scales import Scale
from study.plots.picture.scatter import dashes
from study.plots.picture.words import POINTS, PictureError, colour, words


class Places:
    """Where annotations and shapes stand: on an axis, on a part of a panel, or on the whole of all panels.

    Args:
        panels: by the pair of Plotly's axes, such as ("x", "y2").
        scales: Plotly's axes by name.
        whole: from shares of all panels together, upwards, to pixels.
    """

    def __init__(self, panels: Mapping[tuple[str, str], Panel], scales: Mapping[str, Scale], whole: Transform) -> None:
        self.panels, self.scales, self.whole = panels, scales, whole

    def transform(self, x: str, y: str) -> Transform:
        return blended_transform_factory(self._own(x), self._own(y))

    def panel(self, *references: str) -> Panel:
        """The panel that is referred to first, or any."""
        for reference in references:
            name = reference.split()[0]
            for pair, panel in self.panels.items():
                if name in pair:
                    return panel
        return next(iter(self.panels.values()))

    def at(self, reference: str, value: Any, *, exponent: bool = False) -> float:
        scale = self.scales.get(reference)
        return float(value) if scale is None else scale.place(value, exponent=exponent)

    def _own(self, reference: str) -> Transform:
        if reference == "paper":
            return self.whole
        name, _, part = reference.partition(" ")
        if not any(name in pair for pair in self.panels):
            raise PictureError(f"nothing is drawn on axis {reference!r}")
        panel = self.panel(name)
        return panel.share if part == "domain" else panel.data


def draw_annotation(figure: Figure, own: Mapping[str, Any], places: Places, size: float) -> None:
    """A text somewhere, perhaps with an arrow to it."""
    if own.get("visible") is False or not own.get("text"):
        return
    x_ref, y_ref = str(own.get("xref") or "x"), str(own.get("yref") or "y")
    at = places.at(x_ref, own["x"], exponent=True), places.at(y_ref, own["y"], exponent=True)
    font = own.get("font") or {}
    arrow = own.get("showarrow", True)
    shift = (float(own.get("xshift") or 0), float(own.get("yshift") or 0))
    if arrow:
        shift = (float(own.get("ax") or 0), -float(-30 if own.get("ay") is None else own["ay"]))
    aligned = {"left": "left", "right": "right", "center": "center", "auto": "auto", None: "auto"}
    across, along = aligned[own.get("xanchor")], own.get("yanchor") or "auto"
    if across == "auto":
        across = "center" if arrow else _automatic(own["x"], x_ref, ("left", "center", "right"))
    if along == "auto":
        along = "middle" if arrow else _automatic(own["y"], y_ref, ("bottom", "middle", "top"))
    opacity = float(1.0 if own.get("opacity") is None else own["opacity"])
    box = None
    if own.get("bgcolor") or own.get("bordercolor"):
        box = {
            "facecolor": colour(own.get("bgcolor") or "rgba(0,0,0,0)", opacity),
            "edgecolor": colour(own.get("bordercolor") or "rgba(0,0,0,0)", opacity),
            "pad": POINTS * float(own.get("borderpad") or 1),
        }
    text = Annotation(
        words(own["text"]),
        at,
        xytext=(POINTS * shift[0], POINTS * shift[1]),
        xycoords=places.transform(x_ref, y_ref),
        textcoords="offset points",
        annotation_clip=False,
        ha=across,
        va={"middle": "center"}.get(along, along),
        multialignment=own.get("align") or "center",
        rotation=-float(own.get("textangle") or 0),
        fontsize=POINTS * float(font.get("size") or size),
        fontweight="bold" if str(own["text"]).startswith("<b>") else "normal",
        color=colour(font.get("color") or INK, opacity),
        bbox=box,
        zorder=20,
        arrowprops={"arrowstyle": "-|>" if own.get("arrowhead") != 0 else "-", "linewidth": 0.8, "color": INK}
        if arrow
        else None,
    )
    text.set_figure(figure)
    figure.add_artist(text)


def _automatic(value: Any, reference: str, sides: tuple[str, str, str]) -> str:
    """Plotly anchors a text on the whole by the third of it that it is in; on an axis by its middle."""
    if reference != "paper" and not reference.endswith("domain"):
        return sides[1]
    return sides[0] if float(value) < 1 / 3 else sides[2] if float(value) > 2 / 3 else sides[1]


def draw_shape(own: Mapping[str, Any], places: Places, order: float) -> None:
    """A line or a rectangle."""
    if own.get("visible") is False:
        return
    references = str(own.get("xref") or "x"), str(own.get("yref") or "y")
    x0, x1 = (places.at(references[0], own.get(key)) for key in ("x0", "x1"))
    y0, y1 = (places.at(references[1], own.get(key)) for key in ("y0", "y1"))
    line, opacity = own.get("line") or {}, float(1.0 if own.get("opacity") is None else own["opacity"])
    width = float(2.0 if line.get("width") is None else line["width"])
    style = {"linewidth": POINTS * width, "linestyle": dashes(line.get("dash"), width)}
    ink = colour(line.get("color") or "#444444", opacity) if width else (0, 0, 0, 0)
    order = order if own.get("layer") == "below" else order + 10
    transform = places.transform(*references)
    panel = places.panel(*references)
    if own.get("type") == "line":
        drawn: Any = Line2D([x0, x1], [y0, y1], color=ink, zorder=order, **style)
    elif own.get("type") == "rect":
        face = colour(own.get("fillcolor") or "rgba(0,0,0,0)", opacity)
        corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        drawn = Polygon(corners, facecolor=face, edgecolor=ink, zorder=order, **style)
    else:
        raise PictureError(f"no shape of type {own.get('type')!r}")
    panel.add(drawn, clipped="paper" not in references, transform=transform)
