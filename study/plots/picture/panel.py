"""One pair of axes: where its values stand, its grid, its ticks and its titles.

matplotlib's own axes can far more, and take tens of milliseconds each for it; a report has hundreds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.scale import LogTransform
from matplotlib.text import Text
from matplotlib.transforms import (
    Bbox,
    BboxTransformFrom,
    BboxTransformTo,
    IdentityTransform,
    ScaledTranslation,
    Transform,
    TransformedBbox,
    blended_transform_factory,
)

from study.plots.picture.scales import Scale
from study.plots.picture.words import DPI, POINTS, words

INK, GRID, LINE = "#333a41", "#dfe3e7", "#9aa3ab"


class Panel:
    """A rectangle of a figure with an axis across and one along.

    Attributes:
        data: from the values of both axes to pixels.
        share: from shares of the rectangle, upwards, to pixels.
    """

    def __init__(self, figure: Figure, x: Scale, y: Scale) -> None:
        self.figure, self.x, self.y = figure, x, y
        self.position = Bbox.from_extents(0.0, 0.0, 1.0, 1.0)
        self.area = TransformedBbox(self.position, figure.transFigure)
        self.share: Transform = BboxTransformTo(self.area)
        bend = blended_transform_factory(*(LogTransform(10) if own.is_log else IdentityTransform() for own in (x, y)))
        (x0, x1), (y0, y1) = (np.log10(own.limits()) if own.is_log else own.limits() for own in (x, y))
        self.data: Transform = bend + BboxTransformFrom(Bbox.from_extents(x0, y0, x1, y1)) + self.share

    def add(self, drawn: Artist, *, clipped: bool = True, transform: Transform | None = None) -> None:
        """Have something drawn, in the values of the axes unless told otherwise."""
        drawn.set_transform(self.data if transform is None else transform)
        self.figure.add_artist(drawn)
        if clipped:
            # The marks of values at the very end are whole.
            drawn.set_clip_box(TransformedBbox(_GROWN, self.share))
        else:
            drawn.set_clip_on(False)

    def write(
        self,
        text: str,
        x: float,
        y: float,
        *,
        shift: tuple[float, float] = (0, 0),
        at: Transform | None = None,
        **style: Any,
    ) -> None:
        """A text at a place, moved by so many pixels to the right and up."""
        moved = ScaledTranslation(shift[0] / DPI, shift[1] / DPI, self.figure.dpi_scale_trans)
        self.add(Text(x, y, text, **style), clipped=False, transform=(self.data if at is None else at) + moved)


_GROWN = Bbox.from_extents(-0.012, -0.016, 1.012, 1.016)


class Measured:
    """How much room texts take, in pixels.

    Args:
        figure: with a canvas that draws pixels.
        size: of the texts, in pixels.
    """

    def __init__(self, figure: Figure, size: float) -> None:
        self.renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        self.size = size
        self.properties = FontProperties(family="DejaVu Sans", size=POINTS * size)

    def wide(self, text: str, size: float | None = None) -> float:
        widths = [
            float(self.renderer.get_text_width_height_descent(line or " ", self.properties, False)[0])
            for line in text.split("\n")
        ]
        return max(widths) * (self.size if size is None else size) / self.size


class Written:
    """The ticks and the title of one axis of a panel.

    Args:
        panel: whose axis.
        scale: the axis.
        measured: of the figure's texts.
        length: of the axis, about, in pixels.
        shown: whether ticks and title are written here: panels that share an axis write it once.
    """

    def __init__(self, panel: Panel, scale: Scale, measured: Measured, length: float, *, shown: bool) -> None:
        self.panel, self.scale, self.length = panel, scale, length
        own = scale.settings
        visible = own.get("visible") is not False
        self.at, texts = scale.ticks(length) if visible else ([], [])
        self.texts = texts if shown and own.get("showticklabels") is not False else []
        self.side = str(own.get("side") or ("bottom" if scale.is_x else "left"))
        self.size = float((own.get("tickfont") or {}).get("size") or measured.size)
        self.wide = [measured.wide(text, self.size) for text in self.texts]
        self.turned = self._angle() if scale.is_x else 0.0
        title = own.get("title") or {}
        self.title = words(title.get("text")) if shown and visible else ""
        self.title_size = float((title.get("font") or {}).get("size") or measured.size)
        if measured.wide(self.title, self.title_size) > 1.15 * length:
            self.title = _broken(self.title)
        lines = 1 + max((text.count("\n") for text in self.texts), default=0)
        self.labels = 0.0
        if self.texts and scale.is_x:
            slope = np.sin(np.radians(abs(self.turned)))
            self.labels = 5 + lines * 1.3 * self.size * (1 - slope / 2) + max(self.wide) * slope
        elif self.texts:
            self.labels = 6 + max(self.wide)
        #: How many pixels it takes beside the panel.
        self.need = self.labels + (1.35 * self.title_size * (1 + self.title.count("\n")) + 3 if self.title else 0.0)

    def _angle(self) -> float:
        """Degrees clockwise by which labels are turned: as the axis says, or where they would not fit."""
        own = self.scale.settings.get("tickangle")
        if own not in (None, "auto"):
            return float(own)
        many = len(self.texts)
        return -35.0 if many > 1 and max(self.wide) + 6 > self.length / many else 0.0

    def draw(self) -> None:
        """Grid, lines, labels and title, once the panel stands where it stays."""
        own, panel, is_x = self.scale.settings, self.panel, self.scale.is_x
        if own.get("visible") is False:
            return
        beside = (
            blended_transform_factory(panel.data, panel.share)
            if is_x
            else blended_transform_factory(panel.share, panel.data)
        )

        def lines(at: list[float], ink: str, width: float, order: float) -> None:
            ends = [[(place, 0), (place, 1)] if is_x else [(0, place), (1, place)] for place in at]
            drawn = LineCollection(ends, colors=ink, linewidths=width, zorder=order)
            panel.add(drawn, transform=beside)

        if own.get("showgrid") is not False and self.at:
            lines(self.at, GRID, 0.6, 0.5)
        low, high = sorted(self.scale.limits())
        if own.get("zeroline") and self.scale.categories is None and low <= 0 <= high:
            lines([0.0], LINE, 0.7, 0.9)
        far = self.side in ("right", "top")
        if own.get("showline"):
            edge = 1.0 if far else 0.0
            ends = [(0, edge), (1, edge)] if is_x else [(edge, 0), (edge, 1)]
            panel.add(LineCollection([ends], colors=LINE, linewidths=0.7, zorder=1), transform=panel.share)
        away = 1 if far else -1
        for place, text in zip(self.at, self.texts, strict=False):
            style: dict[str, Any] = {"fontsize": POINTS * self.size, "color": INK}
            if is_x:
                style |= {"ha": "center", "va": "bottom" if far else "top"}
                if self.turned:
                    style |= {"rotation": -self.turned, "rotation_mode": "anchor"}
                    style |= {"ha": "right" if (self.turned < 0) != far else "left", "va": "center"}
                panel.write(text, place, float(far), shift=(0, (8 if self.turned else 4) * away), at=beside, **style)
            else:
                style |= {"ha": "left" if far else "right", "va": "center"}
                panel.write(text, float(far), place, shift=(5 * away, 0), at=beside, **style)
        if self.title:
            style = {"fontsize": POINTS * self.title_size, "color": INK, "ha": "center", "multialignment": "center"}
            if is_x:
                style |= {"va": "bottom" if far else "top"}
                panel.write(self.title, 0.5, float(far), shift=(0, away * (self.labels + 3)), at=panel.share, **style)
            else:
                style |= {"rotation": 90, "va": "top" if far else "bottom", "rotation_mode": "anchor"}
                panel.write(self.title, float(far), 0.5, shift=(away * (self.labels + 3), 0), at=panel.share, **style)


def domain(scales: Mapping[str, Scale], name: str) -> tuple[float, float]:
    """The share of all panels that an axis spans; one that overlays another spans what that does."""
    own = scales[name].settings
    other = own.get("overlaying")
    if own.get("domain") is None and other and other in scales:
        return domain(scales, other)
    first, last = own.get("domain") or (0.0, 1.0)
    return float(first), float(last)


def _broken(text: str) -> str:
    """A long title in two lines."""
    spaces = [index for index, letter in enumerate(text) if letter == " "]
    if not spaces:
        return text
    cut = min(spaces, key=lambda index: abs(index - len(text) // 2))
    return f"{text[:cut]}\n{text[cut + 1 :]}"
