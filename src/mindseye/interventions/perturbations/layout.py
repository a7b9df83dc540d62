"""Perturbations of where things stand, and of how finely they are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from PIL import Image

from mindseye.errors import SampleError
from mindseye.interventions.asking import check_range
from mindseye.interventions.boxes import region
from mindseye.interventions.perturbations.perturbing import perturbation
from mindseye.interventions.perturbations.pixels import each_image, pictures
from mindseye.samples import Box, Pixels, Sample

__all__ = ["crop_jitter", "patch_shuffle", "resolution", "smaller"]

_MOST_JITTER = 0.2
"""Share of a side; a crop that is off by more would no longer be a placebo."""


@perturbation(
    "crop_jitter",
    keeps_grid=True,
    in_distribution="yes",
    changes_answer="no",
    touches=("image", "regions"),
)
def crop_jitter(sample: Sample, *, share: float = 0.05, rng: np.random.Generator) -> Sample:
    """Move the crop by a few pixels, repeating the border: a placebo.

    Regions move along, and moves that would push one of them out of the picture are not drawn.

    Args:
        sample: Its images are moved, each by itself.
        share: The furthest move as a share of each side, 0 to 0.2, but a pixel at least; 0 changes
            nothing.
        rng: Draws one of all such moves, evenly; never none.

    Raises:
        EditError: `share` lies outside.
        SampleError: It has no image, a region lies outside the picture, or the regions leave no
            room to move.
    """
    check_range("crop_jitter got share", share, 0, _MOST_JITTER, "To go further, swap the image.")
    images, boxes = pictures(sample), [region(sample, name) for name in sample.regions]
    if share == 0:
        return sample
    first, *others = [
        _ranges(image, boxes if i == 0 else (), share) for i, image in enumerate(images)
    ]
    if first == (range(1), range(1)):
        raise SampleError(
            f"The regions of sample {sample.id!r} fill its picture, so that no move keeps them in "
            "it. Leave out the large ones, or take jpeg as the placebo."
        )
    moves = [_draw(ranges, rng) for ranges in (first, *others)]
    down, right = moves[0]
    return replace(
        sample,
        images=tuple(_moved(image, *move) for image, move in zip(images, moves, strict=True)),
        regions={
            name: (left + right, top + down, end + right, bottom + down)
            for name, (left, top, end, bottom) in sample.regions.items()
        },
    )


@perturbation(
    "patch_shuffle",
    keeps_grid=True,
    in_distribution="no",
    changes_answer="maybe",
    touches=("image", "regions"),
)
def patch_shuffle(sample: Sample, *, across: int = 4, rng: np.random.Generator) -> Sample:
    """Cut pictures into equal patches and lay these in another order.

    Layout goes, every pixel stays. A strip at the right or bottom that fills no patch is left as it
    is. Regions are dropped, since they are no boxes any longer.

    Args:
        sample: Its images are cut.
        across: Patches along each side; 1 changes no pixel.
        rng: Draws the order; never the one it was, unless there is only one.

    Raises:
        EditError: `across` is less than 1.
        SampleError: It has no image, or one with fewer pixels along a side than patches.
    """
    check_range("patch_shuffle got across", across, 1, math.inf, "Pass 4 for 16 patches.")
    for image in pictures(sample):
        if min(image.shape[:2]) < across:
            raise SampleError(
                f"Sample {sample.id!r} has an image of {image.shape[1]}x{image.shape[0]}, too "
                f"small for {across} patches along each side. Pass a smaller across=."
            )
    shuffled = each_image(sample, lambda image: _shuffled(image, int(across), rng))
    return replace(shuffled, regions={})


@perturbation(
    "resolution",
    keeps_grid=True,
    in_distribution="partly",
    changes_answer="maybe",
    touches=("image",),
)
def resolution(sample: Sample, *, factor: float = 2.0, rng: np.random.Generator) -> Sample:
    """Average pixels into larger ones and lay these on the same grid.

    Args:
        sample: Its images get coarse.
        factor: How many times larger pixels get along each side; 1 changes nothing.
        rng: Not used.

    Raises:
        EditError: `factor` is less than 1 or not finite.
        SampleError: It has no image.

    Source: `pixelate` of Hendrycks & Dietterich 2019, arXiv 1903.12261, whose five levels are
    factors of 1.7, 2, 2.5, 3.3 and 4.
    """
    check_range("resolution got factor", factor, 1, math.inf, "Pass 1 for an identity arm.")

    def coarse(image: Pixels) -> Pixels:
        return _resized(_reduced(image, factor), *image.shape[:2])

    return each_image(sample, coarse)


@perturbation(
    "smaller",
    keeps_grid=False,
    in_distribution="yes",
    changes_answer="maybe",
    touches=("image", "regions"),
)
def smaller(sample: Sample, *, factor: float = 2.0, rng: np.random.Generator) -> Sample:
    """Average pixels into larger ones and show a picture with fewer of them.

    Latents move, and their number of image tokens with them: runs of such samples can be compared
    by what they say, but no pair can be made of them. Regions shrink along, outwards rounded.

    Args:
        sample: Its images get small.
        factor: How many times shorter each side gets; 1 changes nothing.
        rng: Not used.

    Raises:
        EditError: `factor` is less than 1 or not finite.
        SampleError: It has no image, or a region lies outside the picture.
    """
    check_range("smaller got factor", factor, 1, math.inf, "Pass 1 for an identity arm.")
    made = each_image(sample, lambda image: _reduced(image, factor))
    (height, width), (new_height, new_width) = sample.image.shape[:2], made.image.shape[:2]
    across, down = new_width / width, new_height / height
    boxes = {name: region(sample, name) for name in sample.regions}
    return replace(
        made,
        regions={
            name: (
                math.floor(left * across),
                math.floor(top * down),
                math.ceil(right * across),
                math.ceil(bottom * down),
            )
            for name, (left, top, right, bottom) in boxes.items()
        },
    )


def _ranges(image: Pixels, boxes: Iterable[Box], share: float) -> tuple[range, range]:
    """Return how far down and to the right an image may move, boxes staying inside."""
    spans = []
    for side, near, far in ((0, 1, 3), (1, 0, 2)):
        size = image.shape[side]
        reach = max(1, round(share * size))
        before = min((box[near] for box in boxes), default=reach)
        after = min((size - box[far] for box in boxes), default=reach)
        spans.append(range(-min(reach, before), min(reach, after) + 1))
    return spans[0], spans[1]


def _draw(ranges: tuple[range, range], rng: np.random.Generator) -> tuple[int, int]:
    """Draw a move that is one; the ranges hold another than none."""
    while True:
        down, right = (int(rng.integers(each.start, each.stop)) for each in ranges)
        if down or right:
            return down, right


def _moved(image: Pixels, down: int, right: int) -> Pixels:
    rows, columns = (np.arange(size) for size in image.shape[:2])
    return image[(rows - down).clip(0, rows[-1])][:, (columns - right).clip(0, columns[-1])]


def _shuffled(image: Pixels, across: int, rng: np.random.Generator) -> Pixels:
    high, wide = (size // across for size in image.shape[:2])
    order = rng.permutation(across**2)
    while across > 1 and np.array_equal(order, np.arange(across**2)):
        order = rng.permutation(across**2)
    whole = image[: across * high, : across * wide]
    patches = whole.reshape(across, high, across, wide, 3).swapaxes(1, 2)
    laid = patches.reshape(across**2, high, wide, 3)[order].reshape(patches.shape)
    shuffled = image.copy()
    shuffled[: across * high, : across * wide] = laid.swapaxes(1, 2).reshape(whole.shape)
    return shuffled


def _reduced(image: Pixels, factor: float) -> Pixels:
    return _resized(image, *(max(1, round(size / factor)) for size in image.shape[:2]))


def _resized(image: Pixels, height: int, width: int) -> Pixels:
    """Return an image of another size, each pixel the mean of what it covers."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
