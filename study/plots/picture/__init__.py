"""A figure as a static picture: what the page's script draws with Plotly, drawn with matplotlib from the same data.

For readers without JavaScript, and to take along as SVG and PNG. The same figure gives the same bytes.
"""

from __future__ import annotations

from study.plots.picture.drawing import picture_png, picture_svg
from study.plots.picture.known import unknown
from study.plots.picture.words import PictureError

__all__ = ["PictureError", "picture_png", "picture_svg", "unknown"]
