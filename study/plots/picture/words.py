"""What Plotly writes as text: labels with tags, colours, numbers, arrays."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgba

Rgba = tuple[float, float, float, float]

#: Pixels of a figure per inch, and points of a text per pixel.
DPI = 100
POINTS = 72 / DPI

#: Of Plotly's names, what matplotlib calls them by.
SYMBOLS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "cross": "P",
    "x": "X",
    "triangle-up": "^",
    "triangle-down": "v",
    "triangle-left": "<",
    "triangle-right": ">",
    "pentagon": "p",
    "hexagon": "H",
    "star": "*",
    "line-ns": "|",
    "line-ew": "_",
}
DASHES: dict[str, Any] = {
    "solid": "-",
    "dot": (0, (1.2, 1.8)),
    "dash": (0, (5, 3)),
    "longdash": (0, (9, 3)),
    "dashdot": (0, (5, 2.5, 1.2, 2.5)),
    "longdashdot": (0, (9, 2.5, 1.2, 2.5)),
}


class PictureError(ValueError):
    """A figure has something that pictures cannot show."""


def words(label: object) -> str:
    """A label without Plotly's tags and entities; `<br>` is a new line."""
    text = re.sub(r"<br\s*/?>", "\n", "" if label is None else str(label))
    return html.unescape(re.sub(r"</?[a-zA-Z][^<>]*>", "", text))


def values(given: Any) -> list[Any]:
    """An array as Plotly writes it into JSON: a list, or the base64 text of a typed array, of one or two dimensions."""
    if given is None:
        return []
    if not isinstance(given, dict):
        return list(given)
    if set(given) - {"dtype", "bdata", "shape", "_inputArray"}:
        raise PictureError(f"expected an array, got keys {sorted(given)}")
    array = np.frombuffer(base64.b64decode(given["bdata"]), dtype=np.dtype(given["dtype"]))
    if "shape" in given:
        array = array.reshape([int(size) for size in str(given["shape"]).split(",")])
    plain: list[Any] = array.tolist()
    return plain


def is_array(given: Any) -> bool:
    return isinstance(given, list | tuple) or (isinstance(given, dict) and "bdata" in given)


def each(given: Any, number: int, default: Any) -> list[Any]:
    """A setting that may be one for all points or one for each."""
    if not is_array(given):
        return [default if given is None else given] * number
    found = values(given)[:number]
    return [default if value is None else value for value in found] + [default] * (number - len(found))


def colour(given: Any, opacity: float = 1.0) -> Rgba:
    """A colour as CSS writes it, made `opacity` as opaque as it says.

    Raises:
        PictureError: it is none.
    """
    text = str(given).strip()
    found = re.fullmatch(r"rgba?\(([^()]*)\)", text)
    try:
        if found:
            parts = [float(part) for part in found[1].split(",")]
            red, green, blue = (part / 255 for part in parts[:3])
            return red, green, blue, opacity * (parts[3] if len(parts) > 3 else 1.0)
        red, green, blue, alpha = to_rgba(text)
    except ValueError as error:
        raise PictureError(f"no colour: {text!r}") from error
    return red, green, blue, alpha * opacity


def contrasting(behind: Rgba) -> str:
    """Black or white, whichever reads better on a colour."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in behind[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.18 else "#ffffff"


def colourmap(scale: Any, reverse: bool = False) -> LinearSegmentedColormap:
    """Plotly's colour scale, a list of (place, colour)."""
    if not isinstance(scale, Sequence) or isinstance(scale, str):
        raise PictureError(f"expected a colour scale as a list, got {scale!r}")
    found = LinearSegmentedColormap.from_list("scale", [(float(at), colour(own)) for at, own in scale])
    return found.reversed() if reverse else found


def number_text(value: float, form: str | None = None, prefix: str = "", suffix: str = "") -> str:
    """A number as an axis shows it.

    Args:
        value: the number.
        form: of d3: the part of it that Python shares (`,`, precision, `f`, `e`, `g`, `d`, `%`), and `~`.
        prefix, suffix: around it.

    Raises:
        PictureError: another form.
    """
    if form:
        found = re.fullmatch(r"(\+?)(,?)((?:\.\d+)?)(~?)([fegd%s])", form)
        if not found:
            raise PictureError(f"no format for numbers: {form!r}")
        sign, comma, precision, trim, kind = found.groups()
        if kind == "s":
            text = _si(value, int(precision[1:] or 3) if precision else 3)
        else:
            python = {"d": "f"}.get(kind, kind)
            text = format(value, f"{sign}{comma}{'.0' if kind == 'd' else precision}{python}")
            text = re.sub(r"\.?0+(?=$|%|e)", "", text) if trim and "." in text else text
    elif abs(value) >= 10_000:
        text = _si(value, 4)
    else:
        text = f"{value:.6g}"
    return f"{prefix}{text.replace('-', '−', 1) if text.startswith('-') else text}{suffix}"


def _si(value: float, digits: int) -> str:
    for bound, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= bound:
            return f"{value / bound:.{digits}g}{letter}"
    return f"{value:.{digits}g}"
