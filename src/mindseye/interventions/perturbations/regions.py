"""Perturbations of one region: without it, without as much elsewhere, with nothing else.

The three belong together. An effect of hiding the target says something only beside the effect of
hiding as much of the picture elsewhere, and what the target alone achieves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageFilter

from mindseye.interventions.boxes import inside, random_box, region
from mindseye.interventions.perturbations.perturbing import perturbation
from mindseye.interventions.perturbations.pixels import GREY, to_pixels
from mindseye.samples import Box, Sample

__all__ = ["Fill", "mask_random", "mask_rest", "mask_target", "masked"]

Fill = Literal["grey", "mean", "blur"]
"""What hides a region: grey 127, the mean colour of what stays, or a blurred picture."""

_BLUR = 0.25
"""Standard deviation of a blurred fill, as a share of the region's shorter side."""


@perturbation(
    "mask_target",
    keeps_grid=True,
    in_distribution="partly",
    changes_answer="yes",
    touches=("image",),
)
def mask_target(
    sample: Sample,
    *,
    at: str = "target",
    fill: Fill = "grey",
    rng: np.random.Generator,
) -> Sample:
    """Hide the region that the question is about, in the first image.

    Args:
        sample: Its regions stay, so that the place can still be found.
        at: The name of the region.
        fill: What hides it: grey, the mean colour of what stays, or a blurred picture, of which
            coarse traces remain.
        rng: Not used.

    Raises:
        SampleError: It has no such region or no image, or the region lies outside the picture.

    Source: constant and blurred fills as in Fong & Vedaldi 2017, arXiv 1704.03296.
    """
    box = region(sample, at)
    return _hidden(sample, inside(box, sample.image.shape[:2]), box, fill)


@perturbation(
    "mask_random",
    keeps_grid=True,
    in_distribution="partly",
    changes_answer="maybe",
    touches=("image",),
)
def mask_random(
    sample: Sample,
    *,
    at: str = "target",
    fill: Fill = "grey",
    rng: np.random.Generator,
) -> Sample:
    """Hide as much of the first image elsewhere: the control of `mask_target`.

    Args:
        sample: Its regions stay.
        at: The name of the region whose width and height are taken, and which is left uncovered
            where the picture has room.
        fill: What hides the place, as in `mask_target`.
        rng: Draws the place, evenly.

    Raises:
        SampleError: It has no such region or no image, or the region lies outside the picture.
    """
    target, size = region(sample, at), sample.image.shape[:2]
    box = random_box(target, size, rng)
    return _hidden(sample, inside(box, size), box, fill)


@perturbation(
    "mask_rest", keeps_grid=True, in_distribution="no", changes_answer="maybe", touches=("image",)
)
def mask_rest(
    sample: Sample,
    *,
    at: str = "target",
    fill: Fill = "grey",
    rng: np.random.Generator,
) -> Sample:
    """Hide everything but the region that the question is about, in the first image.

    Args:
        sample: Its regions stay.
        at: The name of the region.
        fill: What hides the rest, as in `mask_target`.
        rng: Not used.

    Raises:
        SampleError: It has no such region or no image, or the region lies outside the picture.
    """
    box = region(sample, at)
    return _hidden(sample, ~inside(box, sample.image.shape[:2]), box, fill)


def masked(
    image: UInt8[np.ndarray, "height width 3"],
    where: Bool[np.ndarray, "height width"],
    fill: Fill,
    sigma: float,
) -> UInt8[np.ndarray, "height width 3"]:
    """Return an image with some of its pixels hidden.

    Grey and the mean know nothing of what they hide. Where everything is hidden the mean is grey.

    Args:
        image: The picture.
        where: Which pixels.
        fill: What hides them.
        sigma: Of a blurred fill, in pixels.
    """
    hidden = image.copy()
    match fill:
        case "grey":
            hidden[where] = GREY
        case "mean":
            hidden[where] = GREY if where.all() else to_pixels(image[~where].mean(axis=0))
        case "blur":
            # Pillow's Gaussian is made of boxes: it takes no longer for a large region.
            soft = Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma))
            hidden[where] = np.asarray(soft)[where]
    return hidden


def _hidden(
    sample: Sample, where: Bool[np.ndarray, "height width"], box: Box, fill: Fill
) -> Sample:
    left, top, right, bottom = box
    sigma = _BLUR * min(right - left, bottom - top)
    return replace(sample, images=(masked(sample.image, where, fill, sigma), *sample.images[1:]))
