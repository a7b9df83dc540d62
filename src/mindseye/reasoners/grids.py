"""The tokens of a picture as the grid that the processor cut it into."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from mindseye.errors import SampleError
from mindseye.reasoners.trace import Trace
from mindseye.samples import Box

__all__ = ["TokenGrid", "coverage", "first_stretch", "nearest_grid", "token_grid"]


@dataclass(frozen=True, slots=True, eq=False)
class TokenGrid:
    """Where the tokens of a run's first picture stand, in the sequence and in the picture.

    Attributes:
        positions: In the sequence, in reading order of the picture.
        rows: Of the grid.
        columns: Of the grid.
        told: Whether the grid is known; else it is the factorisation of the number of tokens that
            is nearest to the picture's aspect.
    """

    positions: Int[Tensor, " tokens"]
    rows: int
    columns: int
    told: bool


def token_grid(trace: Trace) -> TokenGrid:
    """Return the grid of a run's first picture.

    Processors of the Qwen family hand the model the grid they cut, which is taken. Others squeeze
    the picture into one square tile, whatever its aspect, and that is a square grid; or they cut
    several tiles, of which only the number of tokens is known.

    Raises:
        SampleError: The run has no picture, or holds fewer tokens than its grid.
    """
    places = trace.prefill().image_mask[0].nonzero().squeeze(-1)
    if not len(places):
        raise SampleError(
            f"The run of sample {trace.sample.id!r} has no image tokens; expected a picture. Ask "
            "about a sample that shows one."
        )
    cut = trace.prompt.features.get("image_grid_thw")
    if cut is None:
        stretch = first_stretch(places)
        shape = trace.sample.image.shape[:2] if trace.sample.images else (1, 1)
        side = math.isqrt(len(stretch))
        if side * side == len(stretch) == len(places) and _is_one_tile(trace):
            return TokenGrid(stretch, side, side, told=True)
        return TokenGrid(stretch, *nearest_grid(len(stretch), (shape[0], shape[1])), told=False)
    merged = int(trace.reasoner.model.config.vision_config.spatial_merge_size)
    rows, columns = (int(side) // merged for side in cut[0, 1:].tolist())
    if rows * columns > len(places):
        raise SampleError(
            f"The run of sample {trace.sample.id!r} has {len(places)} image tokens, fewer than the "
            f"{rows}x{columns} of its first picture. Prepare its inputs with the model's processor."
        )
    return TokenGrid(places[: rows * columns], rows, columns, told=True)


def _is_one_tile(trace: Trace) -> bool:
    pixels = trace.prompt.features.get("pixel_values")
    return pixels is not None and math.prod(pixels.shape[:-3]) == 1


def first_stretch(places: Int[Tensor, " found"]) -> Int[Tensor, " stretch"]:
    """Return the leading stretch of consecutive positions: the tokens of the first image."""
    breaks = (places.diff() != 1).nonzero()
    return places[: int(breaks[0]) + 1] if len(breaks) else places


def nearest_grid(n_tokens: int, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns that `n_tokens` make on an image of `shape`.

    A processor keeps the aspect ratio as well as whole patches let it, so the factorisation
    nearest to it is the grid.

    Args:
        n_tokens: How many there are.
        shape: Height and width of the image.
    """
    ratio = shape[0] / shape[1]
    heights = [rows for rows in range(1, n_tokens + 1) if n_tokens % rows == 0]
    rows = min(heights, key=lambda rows: abs(math.log(rows * rows / n_tokens / ratio)))
    return rows, n_tokens // rows


def coverage(
    box: Box, shape: tuple[int, int], rows: int, columns: int
) -> Float[np.ndarray, " tokens"]:
    """Return which share of each token's area lies in a box, in reading order.

    Shares rather than yes or no: a box that cuts through tokens, or lies within one, keeps its
    size, and a uniform pattern is enriched by exactly 1.

    Args:
        box: Left, top, right, bottom in pixels; the latter two exclusive.
        shape: Height and width of the picture, in pixels.
        rows: Of the grid.
        columns: Of the grid.
    """
    left, top, right, bottom = box
    down = _overlaps(top, bottom, shape[0], rows)
    across = _overlaps(left, right, shape[1], columns)
    return np.outer(down, across).ravel()


def _overlaps(begin: int, end: int, length: int, n: int) -> Float[np.ndarray, " cells"]:
    """Return which share of each of `n` equal cells of a side lies between two ends."""
    edges = pairwise(np.linspace(0, length, n + 1).tolist())
    return np.array(
        [max(0.0, min(end, high) - max(begin, low)) / (high - low) for low, high in edges]
    )
