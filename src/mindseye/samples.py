"""Samples and pairs: the plain data every experiment runs on. No torch here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from mindseye.errors import SampleError

__all__ = ["Box", "ImageSource", "Pair", "Pixels", "Sample", "read_image"]

Pixels = np.ndarray
"""An RGB image: uint8, (height, width, 3)."""

ImageSource = str | Path | Image.Image | np.ndarray
"""Where an image comes from: a file, a PIL image, or its pixels."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels; right and bottom are exclusive."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One question about one or more images.

    Attributes:
        images: The images, in the order the prompt shows them; none for a text model.
        question: What is asked; the reasoner's chat template goes around it.
        answer: The gold answer.
        options: The answers to choose from; empty if the question is open.
        regions: Named boxes in the first image; `"target"` is what the question is about.
        helper: The image a perfect imagination would show, where known.
        imagination: The same in words, where known.
        id: Unique within its task, split and seed.
        kind: The sort of question, in the task's own words.
        meta: Whatever else the task knows.
    """

    images: tuple[ImageSource, ...]
    question: str
    answer: str
    options: tuple[str, ...] = ()
    regions: Mapping[str, Box] = field(default_factory=dict)
    helper: Pixels | None = None
    imagination: str | None = None
    id: str = ""
    kind: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no model could be asked.

        Raises:
            SampleError: The question is empty, or the images are no tuple.
        """
        if not isinstance(self.images, tuple):
            raise SampleError(
                f"Sample {self.id!r} has images={type(self.images).__name__}; expected a tuple, "
                "also for one image: images=(image,)."
            )
        if not self.question.strip():
            raise SampleError(
                f"Sample {self.id!r} has the empty question {self.question!r}; "
                "a question is a non-empty text. Give it one."
            )

    @property
    def image(self) -> Pixels:
        """The first image, read if need be.

        Raises:
            SampleError: There is none, or it cannot be read.
        """
        if not self.images:
            raise SampleError(f"Sample {self.id!r} has no image; what was asked of it takes one.")
        return read_image(self.images[0])

    @property
    def image_key(self) -> str:
        """A name that samples with equal images share; empty without images."""
        if not self.images:
            return ""
        shown = hashlib.blake2b(digest_size=8)
        for source in self.images:
            pixels = read_image(source)
            shown.update(f"{pixels.shape}".encode() + pixels.tobytes())
        return shown.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two samples that differ in one controlled way, on the same image grid.

    Attributes:
        clean: x1, the factual input.
        reference: x0, the input it is held against.
        kind: What differs: `"minimal"` changes the answer, `"placebo"` does not.
        foil: The answer a placebo pair is scored against, its two own answers being equal.
        id: Unique within its task, split and seed.
        cluster: What several pairs have in common, such as a family they were made from; pairs of
            one cluster count as one draw in every interval. Its image, if left empty.
    """

    clean: Sample
    reference: Sample
    kind: Literal["minimal", "placebo"] | str = "minimal"
    foil: str | None = None
    id: str = ""
    cluster: str = ""

    def __post_init__(self) -> None:
        """Refuse pairs whose effect would not be defined.

        Raises:
            SampleError: The images differ in number or size, or no two answers are told apart.
        """
        sizes = [[read_image(s).shape[:2] for s in x.images] for x in (self.clean, self.reference)]
        if sizes[0] != sizes[1]:
            raise SampleError(
                f"Pair {self.id!r} has images of {_sizes(sizes[0])} (clean) and {_sizes(sizes[1])} "
                "(reference); a pair needs the same image grid, or latents would sit at other "
                "positions. Resize one of them."
            )
        if self.answers[0] == self.answers[1]:
            raise SampleError(
                f"Pair {self.id!r} has the answer {self.clean.answer!r} on both sides and no other "
                "foil; an outcome needs two answers. Pass foil='...'."
            )

    @property
    def answers(self) -> tuple[str, str]:
        """The answer of the clean sample, and the one it is scored against."""
        if self.clean.answer != self.reference.answer:
            return self.clean.answer, self.reference.answer
        return self.clean.answer, self.foil if self.foil is not None else self.clean.answer


def read_image(source: ImageSource) -> Pixels:
    """Read an image as RGB pixels.

    Transparency is laid on white; grey and palette images become RGB.

    Raises:
        SampleError: The file is missing, is not an image, or the array is no RGB image.
    """
    if isinstance(source, np.ndarray):
        return _check_pixels(source)
    if isinstance(source, Image.Image):
        return _pixels(source, "A PIL image")
    if not isinstance(source, str | Path):
        raise SampleError(
            f"An image was given as {type(source).__name__}; expected a path, a PIL image or an "
            "array of pixels."
        )
    path = Path(source)
    if not path.is_file():
        raise SampleError(f"Image {str(path)!r} is not a file. Check the path.")
    try:
        image = Image.open(path)
    except _UNREADABLE as fault:
        raise _unreadable(f"Image {str(path)!r}", fault) from fault
    with image:
        return _pixels(image, f"Image {str(path)!r}")


_UNREADABLE = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    OSError,
    SyntaxError,
    ValueError,
)


def _unreadable(name: str, fault: Exception) -> SampleError:
    return SampleError(
        f"{name} cannot be read ({fault}); expected a whole PNG, JPEG, WebP or another format of "
        "Pillow's. Convert or replace it."
    )


def _check_pixels(pixels: np.ndarray) -> Pixels:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise SampleError(
            f"An image array of dtype {pixels.dtype} and shape {pixels.shape} was given; expected "
            "uint8 of (height, width, 3), RGB, 0 to 255. Convert it, or pass a PIL image."
        )
    return pixels


def _pixels(image: Image.Image, name: str) -> Pixels:
    """Decode an image as RGB, transparency on white, 16-bit grey scaled to 8.

    Raises:
        SampleError: It is truncated or empty, or its values have no known range.
    """
    try:
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
        elif image.mode in ("I", "F"):
            raise SampleError(
                f"{name} has pixels of mode {image.mode!r}, whose range is unknown; expected 8 or "
                "16 bits per channel. Scale it to 0 to 255 first."
            )
        elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            rgba = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return _check_pixels(np.asarray(image.convert("RGB")))
    except SampleError:
        raise
    except _UNREADABLE as fault:
        raise _unreadable(name, fault) from fault


def _sizes(sizes: list[tuple[int, ...]]) -> str:
    return ", ".join(f"{width}x{height}" for height, width in sizes) or "no image"
