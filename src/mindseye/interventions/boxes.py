"""Regions of a sample's first image: found, checked, and equal ones elsewhere."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from mindseye.errors import SampleError
from mindseye.samples import Box, Sample

__all__ = ["inside", "random_box", "region"]


def region(sample: Sample, name: str = "target") -> Box:
    """Return a region of a sample: left, top, right, bottom in pixels, the latter two exclusive.

    Raises:
        SampleError: There is no such region or no image, or it is empty or outside the picture.
    """
    if name not in sample.regions:
        there = ", ".join(map(repr, sample.regions)) or "none"
        raise SampleError(
            f"Sample {sample.id!r} has no region {name!r}; its regions: {there}. Name one of "
            "these, or choose samples whose task knows where to look."
        )
    height, width = sample.image.shape[:2]
    box = sample.regions[name]
    if not _fits(box, width, height):
        raise SampleError(
            f"Region {name!r} of sample {sample.id!r} is {box}; in its picture of {width}x{height} "
            f"a region is left, top, right, bottom in whole pixels, 0 <= left < right <= {width} "
            f"and 0 <= top < bottom <= {height}. Clip it, or scale it to the picture."
        )
    left, top, right, bottom = map(int, box)
    return left, top, right, bottom


def inside(box: Box, size: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
    """Return where a box is, in a picture of the given height and width."""
    left, top, right, bottom = box
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def random_box(box: Box, size: tuple[int, ...], rng: np.random.Generator) -> Box:
    """Draw a box of equal width and height.

    Args:
        box: What not to overlap.
        size: Height and width of the picture, in pixels.
        rng: Draws evenly among all places that do not overlap; where there is none, among those
            that overlap least.
    """
    left, top, right, bottom = box
    n_rows, n_columns = size[0] - (bottom - top) + 1, size[1] - (right - left) + 1
    rows, columns = _overlap(top, bottom, n_rows), _overlap(left, right, n_columns)
    if rows.all() and columns.all():
        row = rng.choice(np.flatnonzero(rows == rows.min()))
        column = rng.choice(np.flatnonzero(columns == columns.min()))
    else:
        # An even draw over the rows that are free as a whole, then over free columns of the others.
        free, crossed = np.flatnonzero(rows == 0), np.flatnonzero(rows)
        beside = np.flatnonzero(columns == 0)
        place = int(rng.integers(len(free) * n_columns + len(crossed) * len(beside)))
        if place < len(free) * n_columns:
            row, column = free[place // n_columns], place % n_columns
        else:
            place -= len(free) * n_columns
            row, column = crossed[place // len(beside)], beside[place % len(beside)]
    return int(column), int(row), int(column) + right - left, int(row) + bottom - top


def _fits(box: Sequence[Any], width: int, height: int) -> bool:
    if len(box) != 4 or not all(isinstance(end, numbers.Integral) for end in box):
        return False
    left, top, right, bottom = box
    return 0 <= left < right <= width and 0 <= top < bottom <= height


def _overlap(start: int, stop: int, n_places: int) -> np.ndarray:
    """Return how far an interval overlaps itself when it is moved to each place."""
    return np.maximum(0, stop - start - np.abs(np.arange(n_places) - start))
