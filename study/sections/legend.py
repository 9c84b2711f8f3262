"""One legend for several figures: buttons that show and hide, each with its mark; and buttons for a closer look."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from study.plots.corner import BOUNDS, Corner
from study.plots.style import Mark
from study.sections.html import Html, tag

#: Corners of regular shapes, and the angle of the first one in degrees from the top.
_POLYGONS = {"square": (4, 45), "triangle-up": (3, 0), "diamond": (4, 0), "pentagon": (5, 0), "hexagon": (6, 0)}


@dataclass(frozen=True)
class Entry:
    """A button: the `legendgroup` of its traces, its text, its mark, and whether its traces show at load."""

    group: str
    text: str
    mark: Mark
    shown: bool = True


def legend_html(entries: Sequence[Entry], label: str) -> Html:
    """Buttons that the page's script joins to the traces of the figures in the same `.linked` element."""
    buttons = [
        tag(
            "button",
            mark_svg(entry.mark),
            entry.text,
            type="button",
            data_legend=entry.group,
            aria_pressed="true" if entry.shown else "false",
        )
        for entry in entries
    ]
    return tag("div", buttons, class_="legend", role="group", aria_label=label)


def zoom_html(corners: dict[str, Corner | None], label: str) -> Html:
    """Buttons between the whole of the figures and their corners, by the figures' ids; None has nothing to zoom to."""
    known = [corner for corner in corners.values() if corner is not None]
    ranges = {name: corner and [corner.x_range, corner.y_range] for name, corner in corners.items()}
    return tag(
        "div",
        tag("button", "All", type="button", data_zoom="null", aria_pressed="true"),
        tag(
            "button",
            _corner_text(known),
            type="button",
            data_zoom=json.dumps(ranges),
            aria_pressed="false",
            disabled=not known,
            title=None if known else "There is nothing to see closer",
        ),
        class_="zoom",
        role="group",
        aria_label=label,
        hidden=True,
    )


def _corner_text(corners: Sequence[Corner]) -> str:
    bounds = {bound for corner in corners for bound in (corner.ua, corner.other)}
    if bounds == {BOUNDS[0]}:
        return f"Corner ({100 * BOUNDS[0]:.0f}–100%)"
    return f"Corner (UA {100 * corners[0].ua:.0f}–100%)" if corners else "Corner"


def mark_svg(mark: Mark) -> Html:
    """A mark as it looks in the figures; the text beside it says what it is."""
    shape, hollow = mark.symbol.removesuffix("-open"), mark.symbol.endswith("-open")
    looks = {
        "fill": "none" if hollow else mark.color,
        "stroke": mark.color,
        "stroke_width": 2 if hollow else 1,
    }
    drawn = (
        tag("circle", r=6, **looks) if shape == "circle" else tag("polygon", points=_written(_outline(shape)), **looks)
    )
    return tag("svg", drawn, viewBox="-9 -9 18 18", width=16, height=16, aria_hidden="true", focusable="false")


def _outline(shape: str) -> list[tuple[float, float]]:
    if shape == "star":
        return [_at(7.5 if index % 2 == 0 else 3, 36 * index) for index in range(10)]
    if shape == "cross":
        arm, half = 7, 2.4
        quarter = [(-half, -arm), (half, -arm), (half, -half)]
        return [_turned(point, 90 * turn) for turn in range(4) for point in quarter]
    count, first = _POLYGONS.get(shape, (4, 0))
    return [_at(7, first + 360 * index / count) for index in range(count)]


def _at(radius: float, degrees: float) -> tuple[float, float]:
    return _turned((0, -radius), degrees)


def _turned(point: tuple[float, float], degrees: float) -> tuple[float, float]:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return point[0] * cosine - point[1] * sine, point[0] * sine + point[1] * cosine


def _written(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
