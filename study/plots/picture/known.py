"""What of a Plotly figure a picture shows, or leaves out since it shows on a page alone: everything else is told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_FONT = ("font.size", "font.color", "font.family", "font.weight")
#: Shown when a reader points at something, or clicks it: nothing of a picture.
_POINTED_AT = (
    "type", "uid", "meta", "customdata", "customdata.*", "ids", "hoverinfo", "hovertext", "hovertemplate",
    "hoverlabel.*", "hoveron", "selectedpoints", "selected.*", "unselected.*", "legendgrouptitle.*", "legendrank",
)  # fmt: skip
_EVERY = (*_POINTED_AT, "name", "visible", "showlegend", "legendgroup", "opacity", "xaxis", "yaxis", "x", "y", "_index")
_ERRORS = tuple(
    f"{name}.{key}"
    for name in ("error_x", "error_y")
    for key in ("type", "array", "arrayminus", "symmetric", "value", "color", "thickness", "width", "visible")
)
_COLOURED = ("color", "colorscale", "reversescale", "cmin", "cmax", "cmid", "showscale", "coloraxis", "colorbar.*")
_MARKER = ("symbol", "size", "opacity", "line.width", "line.color", "sizemode")
_TEXT = ("text", "textposition", *(f"text{own}" for own in _FONT))
TRACES: dict[str, tuple[str, ...]] = {
    "scatter": (
        *_EVERY, *_ERRORS, *_TEXT, "mode", "fill", "fillcolor", "connectgaps", "cliponaxis",
        *(f"line.{key}" for key in ("color", "width", "dash", "shape")),
        *(f"marker.{key}" for key in (*_MARKER, *_COLOURED)),
    ),
    "bar": (
        *_EVERY, *_TEXT, "orientation", "base", "width", "offset", "offsetgroup", "alignmentgroup", "cliponaxis",
        "constraintext", "insidetextanchor", "textangle",
        *(f"marker.{key}" for key in ("opacity", "line.width", "line.color", *_COLOURED)),
        *(f"marker.pattern.{key}" for key in ("shape", "size", "solidity", "fgcolor", "bgcolor", "fillmode")),
    ),
    "heatmap": (
        *_EVERY, "z", "zmin", "zmax", "zmid", "colorscale", "reversescale", "showscale", "coloraxis", "colorbar.*",
        "xgap", "ygap", "text", "texttemplate", "hoverongaps", *(f"text{own}" for own in _FONT),
    ),
}  # fmt: skip
_TITLE = ("title.text", "title.standoff", *(f"title.{own}" for own in _FONT))
_AXIS = (
    "type", "range", "autorange", "rangemode", "domain", "anchor", "side", "overlaying", "matches", "visible",
    "categoryorder", "categoryarray", "tickvals", "ticktext", "tickmode", "dtick", "tick0", "nticks", "tickangle",
    "tickformat", "ticksuffix", "tickprefix", "showticksuffix", "showticklabels", "ticks", "ticklen", "tickcolor",
    "tickwidth", "showgrid", "gridcolor", "gridwidth", "griddash", "zeroline", "zerolinecolor", "zerolinewidth",
    "showline", "linecolor", "linewidth", "mirror", "automargin", "fixedrange", "constrain", "hoverformat", "layer",
    "showspikes", "spike*", "position", "ticklabelposition", "ticklabelstandoff", "ticklabelstep", "minor.*",
    "tickson", "showdividers", "exponentformat", "separatethousands",
    *(f"tick{own}" for own in _FONT), *_TITLE,
)  # fmt: skip
_LEGEND = (
    "orientation", "x", "y", "xanchor", "yanchor", "xref", "yref", "traceorder", "itemsizing", "itemclick", "bgcolor",
    "itemdoubleclick", "groupclick", "itemwidth", "entrywidth", "entrywidthmode", "tracegroupgap", "valign",
    "indentation", "title.text", "title.side", *_FONT,
)  # fmt: skip
_ANNOTATION = (
    "text", "x", "y", "xref", "yref", "xanchor", "yanchor", "xshift", "yshift", "showarrow", "ax", "ay", "align",
    "arrowhead", "arrowsize", "arrowwidth", "arrowcolor", "standoff", "startstandoff", "textangle", "bgcolor",
    "opacity", "bordercolor", "borderwidth", "borderpad", "captureevents", "hovertext", "visible", "width", "valign",
    "name", *_FONT,
)  # fmt: skip
_SHAPE = (
    "type", "x0", "x1", "y0", "y1", "xref", "yref", "fillcolor", "opacity", "layer", "name", "visible", "editable",
    "line.color", "line.width", "line.dash", "showlegend", "legendgroup",
)  # fmt: skip
_LAYOUT = (
    "template", "paper_bgcolor", "plot_bgcolor", "height", "width", "autosize", "hovermode", "hoverdistance",
    "dragmode", "clickmode", "showlegend", "barmode", "bargap", "bargroupgap", "margin.*", "hoverlabel.*",
    "uirevision", "meta", "spikedistance", "modebar.*", "hoversubplots", "selectdirection", "newselection.*",
    "activeselection.*", *_FONT,
    *(f"legend.{key}" for key in _LEGEND),
)  # fmt: skip


def unknown(spec: Mapping[str, Any]) -> list[str]:
    """What of a figure no picture shows: attributes, traces and shapes that it was not made for. Empty for a good one.

    Args:
        spec: `data` and `layout`, as Plotly's JSON has them.
    """
    found: list[str] = []
    for index, trace in enumerate(spec.get("data") or []):
        kind = str(trace.get("type") or "scatter")
        if kind not in TRACES:
            found.append(f"data[{index}]: a trace of type {kind}")
            continue
        found += [f"data[{index}] ({kind}): {path}" for path in _strangers(trace, TRACES[kind])]
    layout = dict(spec.get("layout") or {})
    for index, own in enumerate(layout.pop("annotations", None) or []):
        found += [f"annotations[{index}]: {path}" for path in _strangers(own, _ANNOTATION)]
    for index, own in enumerate(layout.pop("shapes", None) or []):
        found += [f"shapes[{index}]: {path}" for path in _strangers(own, _SHAPE)]
        if own.get("type") not in ("line", "rect"):
            found.append(f"shapes[{index}]: of type {own.get('type')}")
    for name in [name for name in layout if re.fullmatch(r"[xy]axis\d*", name)]:
        found += [f"{name}: {path}" for path in _strangers(layout.pop(name) or {}, _AXIS)]
    for name in [name for name in layout if re.fullmatch(r"coloraxis\d*", name)]:
        own = layout.pop(name)
        found += [f"{name}: {path}" for path in _strangers(own, _COLOURED)]
    return found + [f"layout: {path}" for path in _strangers(layout, _LAYOUT)]


def _strangers(own: Mapping[str, Any], known: Iterable[str]) -> list[str]:
    exact = {name for name in known if not name.endswith("*")}
    below = tuple(name[:-1] for name in known if name.endswith("*"))
    return [path for path in _paths(own) if path not in exact and not f"{path}.".startswith(below)]


def _paths(own: Mapping[str, Any], above: str = "") -> Iterable[str]:
    for key, value in own.items():
        path = f"{above}{key}"
        if isinstance(value, Mapping) and "bdata" not in value and value and key != "template" and above != "meta.":
            yield from _paths(value, f"{path}.")
        elif not (isinstance(value, Mapping) and not value):
            yield path
