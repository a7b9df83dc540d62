"""How far two sets of vectors are apart after the best rotation."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped
from scipy.linalg import orthogonal_procrustes

from mindseye.errors import SampleError
from mindseye.readouts.geometry.rows import checked, reduced, transformed

__all__ = ["procrustes_distance"]


def procrustes_distance(
    x: Shaped[np.ndarray, "runs dims"], y: Shaped[np.ndarray, "runs others"]
) -> float:
    """Return the orthogonal Procrustes distance of two sets of vectors of the same runs.

    Both are centred and scaled to Frobenius norm 1; then it is the least of |X - Y R| over
    orthogonal R. With fewer runs than dimensions almost anything can be rotated onto anything: of
    two independent Gaussian clouds of 100 runs in 3,584 dimensions it is about 0.1. Compare it with
    what permuted runs give.

    Invariant to rotation, isotropic scaling and shifts of either side.

    Args:
        x: One vector per run.
        y: Another vector of every run, of any dimension.

    Returns:
        Between 0, equal up to such a motion, and sqrt(2).

    Raises:
        SampleError: Fewer than two runs, differing numbers of them, entries that are no numbers, or
            a side whose vectors are all alike.

    Source: Schönemann 1966; as a distance of representations, Williams et al. 2021,
        arXiv 2110.14739.
    """
    if len(x) != len(y):
        raise SampleError(
            f"procrustes_distance got {len(x)} and {len(y)} vectors; expected two of every run, in "
            "one order."
        )
    first = _scaled("procrustes_distance's first argument", x)
    second = _scaled("procrustes_distance's second argument", y)
    width = max(first.shape[1], second.shape[1])
    first, second = (np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in (first, second))
    rotation, _ = orthogonal_procrustes(second, first)
    return float(np.linalg.norm(first - second @ rotation))


def _scaled(name: str, rows: Shaped[np.ndarray, "runs dims"]) -> Float[np.ndarray, "runs fewer"]:
    held = reduced(transformed(checked(name, rows), "centred"))
    length = np.linalg.norm(held)
    if length == 0:
        raise SampleError(
            f"{name} has {len(rows)} vectors that are all alike; nothing can be rotated onto them."
        )
    return held / length
