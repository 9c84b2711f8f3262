"""A whole figure: its axes with their panels, what is drawn on them, and its bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox, BboxTransformTo, TransformedBbox
from PIL import Image

from study.plots.picture.bars import Bars
from study.plots.picture.beside import Places, draw_annotation, draw_shape
from study.plots.picture.heat import Shades, colour_bar, draw_heat, heat_places
from study.plots.picture.legend import Legend
from study.plots.picture.panel import INK, Measured, Panel, Written, domain
from study.plots.picture.scales import Array, Scale, scale_named
from study.plots.picture.scatter import colour_ends, cover_scatter, draw_scatter
from study.plots.picture.words import DPI, POINTS, PictureError, colourmap, values, words

#: Pixels; of the height a figure says its own.
WIDTH, HEIGHT = 720, 440
_PAPER = "#ffffff"
#: Whatever a user's own settings say. Text in an SVG is drawn as paths: it looks the same everywhere.
_SETTINGS: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "text.parse_math": False,
    "svg.hashsalt": "neglora",
    "svg.fonttype": "path",
    "path.simplify": True,
    "hatch.linewidth": 0.8,
}
#: Colours of a PNG: few are drawn, and the rest are their edges.
_COLOURS = 64

Pair = tuple[str, str]


def picture_png(spec: Mapping[str, Any], scale: float = 1.0) -> bytes:
    """A figure as PNG, on white, 720 pixels wide and as high as on the page.

    Args:
        spec: `data` and `layout`, as Plotly's JSON has them.
        scale: pixels for each of those.

    Raises:
        PictureError: it has something that pictures cannot show.
    """
    with _alone():
        figure = _drawn(spec)
        figure.set_dpi(DPI * scale)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]
    image = Image.fromarray(np.ascontiguousarray(pixels)).quantize(
        _COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )
    held = io.BytesIO()
    image.save(held, "PNG", compress_level=9)
    return held.getvalue()


def picture_svg(spec: Mapping[str, Any], title: str | None = None) -> str:
    """A figure as SVG, on white.

    Args:
        spec: `data` and `layout`, as Plotly's JSON has them.
        title: what it is called in its metadata.

    Raises:
        PictureError: it has something that pictures cannot show.
    """
    held = io.StringIO()
    with _alone():
        figure = _drawn(spec)
        figure.set_dpi(72)
        metadata = {"Date": None, "Creator": None} | ({} if title is None else {"Title": title})
        FigureCanvasSVG(figure).print_svg(held, metadata=metadata)
    return held.getvalue()


@contextmanager
def _alone() -> Iterator[None]:
    """Neither a user's settings of matplotlib count, nor are they changed."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(cast(Any, _SETTINGS))
        # Names may be written in scripts that the font lacks: those letters are boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def _drawn(spec: Mapping[str, Any]) -> Figure:
    layout = dict(spec.get("layout") or {})
    traces = [
        _coloured({**trace, "_index": index}, layout)
        for index, trace in enumerate(spec.get("data") or [])
        if trace.get("visible") not in (False, "legendonly")
    ]
    size = float((layout.get("font") or {}).get("size") or 12)
    height = float(layout.get("height") or HEIGHT)
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    pairs = [(str(trace.get("xaxis") or "x"), str(trace.get("yaxis") or "y")) for trace in traces] or [("x", "y")]
    scales = {name: scale_named(name, layout) for pair in pairs for name in pair}
    bars = _learn(traces, pairs, scales, layout)
    panels = {pair: Panel(figure, scales[pair[0]], scales[pair[1]]) for pair in dict.fromkeys(pairs)}
    explained = _draw(traces, pairs, panels, bars)
    whole = _arrange(figure, layout, panels, scales, traces, explained, size)
    places = Places(panels, scales, whole)
    for own in layout.get("shapes") or []:
        draw_shape(own, places, order=1.0)
    for own in layout.get("annotations") or []:
        draw_annotation(figure, own, places, size)
    return figure


def _coloured(trace: dict[str, Any], layout: Mapping[str, Any]) -> dict[str, Any]:
    """With the colour axis that it refers to written out."""
    marker = trace.get("marker") or {}
    if marker.get("coloraxis"):
        trace = {**trace, "marker": {**(layout.get(marker["coloraxis"]) or {}), **marker}}
    if trace.get("coloraxis"):
        own = dict(layout.get(trace["coloraxis"]) or {})
        own |= {f"z{key[1:]}": own.pop(key) for key in ("cmin", "cmax", "cmid") if key in own}
        trace = {**own, **trace}
    return trace


def _learn(
    traces: list[dict[str, Any]], pairs: list[Pair], scales: Mapping[str, Scale], layout: Mapping[str, Any]
) -> dict[int, tuple[Bars, int]]:
    """Have the axes know their values.

    Returns:
        Of each bar trace, by its index: those of its panel, which are placed together, and which of them it is.
    """
    for trace, pair in zip(traces, pairs, strict=False):
        for name, reference in zip("xy", pair, strict=True):
            scales[reference].learn(values(trace.get(name)))
    found: dict[int, tuple[Bars, int]] = {}
    for pair in dict.fromkeys(pairs):
        own = [i for i, trace in enumerate(traces) if pairs[i] == pair and trace.get("type") == "bar"]
        if own:
            together = Bars([traces[i] for i in own], scales[pair[0]], scales[pair[1]], dict(layout))
            found |= {index: (together, place) for place, index in enumerate(own)}
    for index, (trace, pair) in enumerate(zip(traces, pairs, strict=False)):
        x, y = scales[pair[0]], scales[pair[1]]
        kind = str(trace.get("type") or "scatter")
        if kind == "scatter":
            cover_scatter(trace, x, y)
        elif kind == "heatmap":
            across, along, _ = heat_places(trace, x, y)
            x.fit(across)
            y.fit(along)
        elif kind != "bar":
            raise PictureError(f"data[{index}]: there are no pictures of traces of type {kind!r}")
    _match(scales)
    return found


def _match(scales: Mapping[str, Scale]) -> None:
    """Axes that match another span what all of them do."""
    named = [(scale, str(scale.settings.get("matches"))) for scale in scales.values()]
    matching = [(scale, scales[name]) for scale, name in named if name in scales]
    for own, other in matching:
        other.cover(np.array(own.ends), padded=own.padded)
    for own, other in matching:
        own.ends, own.padded, own.categories = other.ends, other.padded, own.categories or other.categories
        shared: dict[str, Any] = {key: other.settings[key] for key in ("range", "autorange") if key in other.settings}
        own.settings = {**shared, **own.settings}


def _draw(
    traces: list[dict[str, Any]],
    pairs: list[Pair],
    panels: Mapping[Pair, Panel],
    bars: Mapping[int, tuple[Bars, int]],
) -> tuple[Shades, dict[str, Any]] | None:
    """Draw all traces; returned is what a bar of colours explains, and how."""
    before: dict[Pair, Array] = {}
    explained: tuple[Shades, dict[str, Any]] | None = None
    for index, (trace, pair) in enumerate(zip(traces, pairs, strict=False)):
        panel, order = panels[pair], 2 + 0.01 * index
        marker = trace.get("marker") or {}
        if index in bars:
            bars[index][0].draw(panel, bars[index][1], order)
        elif trace.get("type") == "heatmap":
            shades = draw_heat(panel, trace, panel.x, panel.y, 0.6)
            if trace.get("showscale") is not False:
                explained = explained or (shades, trace.get("colorbar") or {})
        else:
            before[pair] = draw_scatter(panel, trace, panel.x, panel.y, before.get(pair), order)
        if marker.get("showscale"):
            explained = explained or (_shades(marker), marker.get("colorbar") or {})
    return explained


def _shades(marker: Mapping[str, Any]) -> Shades:
    measured = [value for value in values(marker.get("color")) if value is not None]
    low, high = colour_ends(dict(marker), measured)
    return colourmap(marker.get("colorscale"), bool(marker.get("reversescale"))), Normalize(low, high)


def _arrange(
    figure: Figure,
    layout: Mapping[str, Any],
    panels: Mapping[Pair, Panel],
    scales: Mapping[str, Scale],
    traces: list[dict[str, Any]],
    explained: tuple[Shades, dict[str, Any]] | None,
    size: float,
) -> BboxTransformTo:
    """Write ticks, titles and legend, and give the panels the room that those leave.

    Returns:
        From shares of all panels together to pixels.
    """
    width, height = WIDTH, figure.get_figheight() * DPI
    margin = layout.get("margin") or {}
    room = {side: max(6.0, float(margin.get(side[0]) or 0)) for side in ("left", "right", "top", "bottom")}
    measured = Measured(figure, size)
    legend = Legend(traces, layout, measured, width - 2 * 12)
    legend.draw(figure, 12, 6)
    room["bottom"] = max(room["bottom"], legend.height + 14 if legend.lines else 0.0)
    room["right"] += 70 if explained else 0
    title = layout.get("title") or {}
    if title:
        text = words(title.get("text") if isinstance(title, dict) else title)
        figure.text(12 / width, 1 - 8 / height, text, va="top", fontsize=POINTS * 1.2 * size, color=INK)
        room["top"] += 2 * size
    inner = width - room["left"] - room["right"], height - room["top"] - room["bottom"]
    written = [one for pair, panel in panels.items() for one in _written(pair, panel, panels, scales, measured, inner)]
    for side, more in _beside(written, scales, inner).items():
        room[side] += more
    area = Bbox.from_extents(
        room["left"] / width, room["bottom"] / height, 1 - room["right"] / width, 1 - room["top"] / height
    )
    for pair, panel in panels.items():
        (x0, x1), (y0, y1) = (domain(scales, name) for name in pair)
        panel.position.set_points(
            np.array(
                [
                    [area.x0 + area.width * x0, area.y0 + area.height * y0],
                    [area.x0 + area.width * x1, area.y0 + area.height * y1],
                ]
            )
        )
    if explained:
        panel, ticks = colour_bar(figure, *explained, measured)
        ends = [[1 - 62 / width, area.y0 + 0.03 * area.height], [1 - 50 / width, area.y0 + 0.9 * area.height]]
        panel.position.set_points(np.array(ends))
        written.append(ticks)
    for one in written:
        one.draw()
    return BboxTransformTo(TransformedBbox(area, figure.transFigure))


def _written(
    pair: Pair,
    panel: Panel,
    panels: Mapping[Pair, Panel],
    scales: Mapping[str, Scale],
    measured: Measured,
    inner: tuple[float, float],
) -> Iterator[Written]:
    """Both axes of a panel. One that several panels share is written on the panel that it is anchored to."""
    for scale, room in ((panel.x, inner[0]), (panel.y, inner[1])):
        own = [one for one in panels if scale.name in one]
        anchor = str(scale.settings.get("anchor") or ("y" if scale.is_x else "x"))
        shown = pair == ([one for one in own if anchor in one] or own)[0]
        low, high = domain(scales, scale.name)
        yield Written(panel, scale, measured, (high - low) * room, shown=shown)


def _beside(written: list[Written], scales: Mapping[str, Scale], inner: tuple[float, float]) -> dict[str, float]:
    """What labels take beyond the edges of all panels together, in pixels, by side."""
    taken = dict.fromkeys(("left", "right", "top", "bottom"), 0.0)
    for one in written:
        x, y = (domain(scales, own.name) for own in (one.panel.x, one.panel.y))
        inside = {"left": x[0], "right": 1 - x[1], "bottom": y[0], "top": 1 - y[1]}
        length = inner[0] if one.side in ("left", "right") else inner[1]
        taken[one.side] = max(taken[one.side], one.need - inside[one.side] * length)
        if one.scale.is_x and one.wide and not one.turned:
            # The last label reaches half its width beyond the axis.
            taken["right"] = max(taken["right"], one.wide[-1] / 2 - inside["right"] * inner[0])
    return taken
