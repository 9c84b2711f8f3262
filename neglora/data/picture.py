"""One image file as three channels of 8 bits: read as it is meant to be seen, and resized for evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy
from numpy.typing import NDArray
from PIL import Image

#: From this size on, evaluation leaves a margin: of images resized to 256, the middle 224 pixels, and so in proportion.
MARGIN_FROM, MARGIN = 128, 256 / 224
#: An image is cut to this ratio of its sides before it is resized, since a line of pixels would become a huge image.
MOST_ELONGATED = 20
#: As TinyViT and the vision transformers do it; PIL filters with antialiasing.
FILTER = Image.Resampling.BICUBIC
#: The EXIF tag of the orientation, and what turns an image upright for each of its values.
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Damaged(Exception):
    """A file that cannot be decoded as an image; the message says why, without its name."""


def read_picture(file: Path) -> Image.Image:
    """An image file in RGB and upright: the first frame of an animation, without transparency.

    As torchvision's loader does, transparency is dropped and the colours under it are kept. Grey of 16 bits is scaled
    to 8, and the orientation that a camera noted is applied.

    Differs: torchvision's loader keeps rotated photographs as they lie, and cuts 16-bit grey off at 255.

    Raises:
        Damaged: the content is no image, is cut off, has pixels of another kind or too many of them.
        OSError: the file cannot be read at all; its `errno` is set.
    """
    try:
        with Image.open(file) as opened:
            width, height = opened.size
            if Image.MAX_IMAGE_PIXELS and width * height > Image.MAX_IMAGE_PIXELS:
                raise Damaged(f"it has {width}x{height} pixels, more than {Image.MAX_IMAGE_PIXELS:,} are not read")
            opened.load()
            orientation = _orientation(opened)
            picture = _coloured(opened)
    except Damaged:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise Damaged(_reason(error, file)) from error
    except MemoryError:
        raise
    # Decoders raise nearly anything on broken content: struct.error, SyntaxError, IndexError, zlib.error and more.
    except Exception as error:
        raise Damaged(_reason(error, file)) from error
    return picture.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else picture


def shorter_side(file: Path) -> int | None:
    """Pixels of the shorter side, from the header alone; None where that cannot be read as an image."""
    try:
        with Image.open(file) as opened:
            return min(opened.size)
    except OSError as error:
        if error.errno is not None:
            raise
        return None
    except MemoryError:
        raise
    except Exception:
        return None


def fitted(picture: Image.Image, size: int) -> Image.Image:
    """The middle of an image at `size` x `size`, as evaluation sees it.

    Below 128 pixels the shorter side becomes `size`; from there on it becomes 256/224 of it, as is usual at 224. The
    square in the middle is what remains.
    """
    width, height = picture.size
    most = MOST_ELONGATED * min(width, height)
    if max(width, height) > most:
        picture = _middle(picture, min(width, most), min(height, most))
        width, height = picture.size
    shorter = round(size * MARGIN) if size >= MARGIN_FROM else size
    wide = shorter if width <= height else int(shorter * width / height)
    tall = shorter if height <= width else int(shorter * height / width)
    return _middle(picture.resize((wide, tall), FILTER), size, size)


def pixels(picture: Image.Image) -> NDArray[numpy.uint8]:
    """`[3, height, width]`, contiguous, of an RGB image."""
    return numpy.ascontiguousarray(numpy.asarray(picture, dtype=numpy.uint8).transpose(2, 0, 1))


def _middle(picture: Image.Image, width: int, height: int) -> Image.Image:
    left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
    return picture.crop((left, top, left + width, top + height))


def _coloured(opened: Image.Image) -> Image.Image:
    mode = opened.mode
    if mode == "RGB":
        return opened.copy()
    if mode.startswith("I"):
        levels = numpy.asarray(opened)
        if levels.min() < 0 or levels.max() > 0xFFFF:
            raise Damaged("it has grey levels beyond 16 bits: save it with 8 or 16")
        return Image.fromarray((levels.astype(numpy.uint16) >> 8).astype(numpy.uint8)).convert("RGB")
    if mode == "F":
        raise Damaged("its pixels are floating-point numbers: save it with 8 or 16 bits")
    # By way of RGBA, since PIL warns of palettes with transparency; the colours are the same.
    return opened.convert("RGBA").convert("RGB") if mode in ("P", "PA") else opened.convert("RGB")


def _orientation(opened: Image.Image) -> int | None:
    """What a camera noted. Broken notes do not damage an image that can be decoded."""
    try:
        value = opened.getexif().get(ORIENTATION)
    except Exception:
        return None
    return value if isinstance(value, int) else None


def _reason(error: Exception, file: Path) -> str:
    text = str(error).replace(str(file), file.name)
    return f"{type(error).__name__}: {text[:200]}"
