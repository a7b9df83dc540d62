"""Images as data URIs, so that a page or figure needs no other file."""

from __future__ import annotations

import base64
import io

from PIL import Image

from mindseye.samples import Pixels

__all__ = ["data_uri", "shrink"]


def shrink(pixels: Pixels, longest: int) -> Image.Image:
    """Return an image whose longer side is at most `longest` pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image


def data_uri(image: Image.Image) -> str:
    """Return an image as a PNG data URI."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
