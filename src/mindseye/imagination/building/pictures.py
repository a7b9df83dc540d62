"""Pictures on their way in and out: found, highlighted, shrunk, encoded."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path

from PIL import Image, ImageDraw

from mindseye.errors import SampleError
from mindseye.imagination.building.items import Picture
from mindseye.samples import Box, Pixels, read_image

__all__ = [
    "check_picture",
    "data_uri",
    "encoded",
    "from_data_uri",
    "highlight",
    "size_of",
    "thumbnail",
]

_FRAME = (255, 0, 0)
_KEPT = ("PNG", "JPEG", "WEBP")
"""Formats whose files are stored as they are; everything else becomes PNG."""


def check_picture(file: Path) -> None:
    """Make sure that a file is there and begins like a picture; decoding it all comes later.

    Raises:
        SampleError: It is missing, or is no picture.
    """
    if not file.is_file():
        raise SampleError(f"image {str(file)!r} is not a file; check the path and the image folder")
    try:
        with Image.open(file):
            pass
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as fault:
        raise SampleError(f"image {str(file)!r} cannot be read ({fault}); replace it") from fault


def size_of(picture: Picture) -> tuple[int, int]:
    """Return width and height, of a file without decoding it."""
    if isinstance(picture, Path):
        with Image.open(picture) as image:
            return image.size
    return picture.shape[1], picture.shape[0]


def highlight(pixels: Pixels, box: Box) -> Pixels:
    """Return a copy with a red frame drawn around a box, thick enough to survive shrinking.

    The frame lies outside the box wherever there is room, so that it hides nothing of it.
    """
    image = Image.fromarray(pixels)
    width = max(2, round(max(image.size) / 200))
    left, top, right, bottom = box
    ImageDraw.Draw(image).rectangle(
        (
            max(left - width, 0),
            max(top - width, 0),
            min(right + width, image.width) - 1,
            min(bottom + width, image.height) - 1,
        ),
        outline=_FRAME,
        width=width,
    )
    return read_image(image)


def encoded(picture: Picture) -> bytes:
    """Return a picture as the content of a file: its own one if common, else a PNG.

    Raises:
        SampleError: It cannot be read.
    """
    pixels = read_image(picture)  # a file that is cut short shows it here, not in training
    if isinstance(picture, Path):
        with Image.open(picture) as image:
            if image.format in _KEPT:
                return picture.read_bytes()
    return _png(Image.fromarray(pixels))


def data_uri(picture: Picture) -> str:
    """Return a picture as a PNG data URI.

    Raises:
        SampleError: It cannot be read.
    """
    return _uri(Image.fromarray(read_image(picture)))


def thumbnail(picture: Picture, longest: int) -> str:
    """Return a picture whose longer side is at most `longest` pixels, as a data URI.

    Raises:
        SampleError: It cannot be read.
    """
    image = Image.fromarray(read_image(picture))
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return _uri(image)


def from_data_uri(uri: str) -> Pixels:
    """Read a picture that a record holds itself.

    Raises:
        SampleError: It is no base64, or no picture.
    """
    try:
        content = base64.b64decode(uri.partition(",")[2], validate=True)
        with Image.open(io.BytesIO(content)) as image:
            return read_image(image)
    except (binascii.Error, OSError, SyntaxError, Image.DecompressionBombError) as fault:
        raise SampleError(f"a data URI holds no picture ({fault}); encode it again") from fault


def _uri(image: Image.Image) -> str:
    return f"data:image/png;base64,{base64.b64encode(_png(image)).decode('ascii')}"


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
