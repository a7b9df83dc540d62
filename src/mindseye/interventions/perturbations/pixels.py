"""Perturbations of what the picture shows: one colour, noise, blur, compression.

Every image of a sample is changed. Regions stay, and so do helper image and imagination: these are
of the scene behind the picture, as an oracle would still know it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from mindseye.errors import SampleError
from mindseye.interventions.asking import check_range
from mindseye.interventions.perturbations.perturbing import perturbation
from mindseye.samples import Pixels, Sample, read_image

__all__ = [
    "GREY",
    "blank",
    "blur",
    "each_image",
    "grey",
    "jpeg",
    "mean_colour",
    "noise",
    "pictures",
    "to_pixels",
]

GREY = 127
"""The grey of blank images in 8 bits, as in CVRR (arXiv 2609.06746)."""

_LEAST_QUALITY = 30
"""Below it JPEG's blocks hide small things, and the answer might no longer be visible."""


@perturbation(
    "blank", keeps_grid=True, in_distribution="no", changes_answer="yes", touches=("image",)
)
def blank(
    sample: Sample, *, colour: Literal["white", "black"] = "white", rng: np.random.Generator
) -> Sample:
    """Show a blank picture, which leaves the model its prior.

    Args:
        sample: Its images are emptied.
        colour: What is left.
        rng: Not used.

    Raises:
        SampleError: It has no image.
    """
    level = 255 if colour == "white" else 0
    return each_image(sample, lambda image: np.full_like(image, level))


@perturbation(
    "grey", keeps_grid=True, in_distribution="no", changes_answer="yes", touches=("image",)
)
def grey(sample: Sample, *, rng: np.random.Generator) -> Sample:
    """Show a picture of middle grey, 127 of 255.

    Args:
        sample: Its images are emptied.
        rng: Not used.

    Raises:
        SampleError: It has no image.
    """
    return each_image(sample, lambda image: np.full_like(image, GREY))


@perturbation(
    "mean_colour", keeps_grid=True, in_distribution="no", changes_answer="yes", touches=("image",)
)
def mean_colour(sample: Sample, *, rng: np.random.Generator) -> Sample:
    """Show each picture's own mean colour, so that colour and brightness stay and nothing else.

    Args:
        sample: Its images are emptied.
        rng: Not used.

    Raises:
        SampleError: It has no image.
    """
    return each_image(
        sample,
        lambda image: np.broadcast_to(to_pixels(image.mean(axis=(0, 1))), image.shape).copy(),
    )


@perturbation(
    "noise", keeps_grid=True, in_distribution="partly", changes_answer="maybe", touches=("image",)
)
def noise(sample: Sample, *, sigma: float = 0.1, rng: np.random.Generator) -> Sample:
    """Add independent Gaussian noise to every pixel and channel, then clip.

    Equal states of `rng` give the same noise at every dose, so that a dose curve is one picture
    going under.

    Args:
        sample: Its images get noisy.
        sigma: Standard deviation as a share of the full range; 0 changes nothing.
        rng: Draws the noise.

    Raises:
        EditError: `sigma` is negative or not finite.
        SampleError: It has no image.

    Source: Gaussian noise of Hendrycks & Dietterich 2019, arXiv 1903.12261, whose five levels are
    0.08, 0.12, 0.18, 0.26 and 0.38.
    """
    check_range("noise got sigma", sigma, 0, math.inf, "Pass 0 for an identity arm.")
    return each_image(
        sample, lambda image: to_pixels(image + 255 * sigma * rng.standard_normal(image.shape))
    )


@perturbation(
    "blur", keeps_grid=True, in_distribution="partly", changes_answer="maybe", touches=("image",)
)
def blur(sample: Sample, *, sigma: float = 2.0, rng: np.random.Generator) -> Sample:
    """Blur with a Gaussian; the picture is mirrored at its borders.

    Args:
        sample: Its images get blurred.
        sigma: Standard deviation of the Gaussian in pixels; 0 changes nothing.
        rng: Not used.

    Raises:
        EditError: `sigma` is negative or not finite.
        SampleError: It has no image.

    Source: Gaussian blur of Hendrycks & Dietterich 2019, arXiv 1903.12261, whose five levels are
    1, 2, 3, 4 and 6 pixels at 224 x 224.
    """
    check_range("blur got sigma", sigma, 0, math.inf, "Pass 0 for an identity arm.")
    return each_image(sample, lambda image: _blurred(image, sigma))


@perturbation(
    "jpeg", keeps_grid=True, in_distribution="yes", changes_answer="no", touches=("image",)
)
def jpeg(sample: Sample, *, quality: int = 75, rng: np.random.Generator) -> Sample:
    """Compress as JPEG and decode again: a placebo.

    Args:
        sample: Its images are compressed.
        quality: Pillow's quality, 30 to 95; lower ones would no longer be a placebo.
        rng: Not used.

    Raises:
        EditError: `quality` lies outside.
        SampleError: It has no image.
    """
    advice = "For a corruption take resolution, blur or noise."
    check_range("jpeg got quality", quality, _LEAST_QUALITY, 95, advice)
    return each_image(sample, lambda image: _compressed(image, int(quality)))


def pictures(sample: Sample) -> list[Pixels]:
    """Return the pixels of all images of a sample.

    Raises:
        SampleError: It has none, or one cannot be read.
    """
    if not sample.images:
        raise SampleError(
            f"Sample {sample.id!r} has no image to perturb. Perturb its question, or choose "
            "samples with an image."
        )
    return [read_image(source) for source in sample.images]


def each_image(sample: Sample, change: Callable[[Pixels], Pixels]) -> Sample:
    """Return a sample whose images are all changed, in order.

    Raises:
        SampleError: It has none, or one cannot be read.
    """
    return replace(sample, images=tuple(map(change, pictures(sample))))


def to_pixels(values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Return values on the scale of 0 to 255 as pixels: clipped, then rounded."""
    return np.rint(values.clip(0, 255)).astype(np.uint8)


def _blurred(image: Pixels, sigma: float) -> Pixels:
    from scipy.ndimage import gaussian_filter

    return to_pixels(gaussian_filter(image.astype(np.float64), (sigma, sigma, 0), mode="reflect"))


def _compressed(image: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=quality)
    return read_image(Image.open(file))
