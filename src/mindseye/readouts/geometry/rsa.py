"""Representational similarity analysis: whether runs far apart here are far apart there."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata

from mindseye.errors import SampleError
from mindseye.readouts.geometry.chance import indexed, p_value, shuffles
from mindseye.readouts.geometry.rows import checked, reduced, transformed

__all__ = ["Association", "rsa"]

_LEAST = 4
_NOTHING = 1e-9


@dataclass(frozen=True, slots=True)
class Association:
    """How strongly two things go together, and whether chance would do as well.

    Attributes:
        value: 0 if they do not, 1 if one is told by the other.
        p_value: One-sided, from permutations of whole groups.
    """

    value: float
    p_value: float


def rsa(
    x: Shaped[np.ndarray, "runs dims"],
    y: Shaped[np.ndarray, "runs others"],
    *,
    groups: Sequence[Hashable] | None = None,
    n_permutations: int = 999,
    rng: np.random.Generator,
) -> Association:
    """Return Spearman's correlation between the distances of two sets of vectors, with Mantel's p.

    Distances between runs are not independent of each other, so ordinary p-values of a correlation
    are far too small. Mantel's test permutes runs instead, rows and columns together.

    Invariant to rotation, isotropic scaling and shifts of either side.

    Args:
        x: One vector per run; Euclidean distances.
        y: Another vector of every run, of any dimension.
        groups: What each run belongs to; whole groups change places.
        n_permutations: How many.
        rng: Draws them.

    Raises:
        SampleError: Fewer than four runs, differing numbers of them, entries that are no numbers,
            or a side whose distances are all equal.

    Source: Kriegeskorte, Mur & Bandettini 2008; Mantel 1967.
    """
    if len(x) != len(y):
        raise SampleError(
            f"rsa got {len(x)} and {len(y)} vectors; expected two of every run, in one order."
        )
    first, second = _ranks("rsa's first argument", x), _ranks("rsa's second argument", y)
    own = float(np.vdot(first, second))
    orders = shuffles(indexed(groups, len(x)), n_permutations, rng)
    drawn = np.array([np.vdot(first, second[np.ix_(order, order)]) for order in orders])
    return Association(own, p_value(own, drawn))


def _ranks(name: str, rows: Shaped[np.ndarray, "runs dims"]) -> Float[np.ndarray, "runs runs"]:
    """Return ranks of distances, centred and scaled to length 1 over all ordered pairs."""
    held = reduced(transformed(checked(name, rows, least=_LEAST), "centred"))
    apart = pdist(held)
    if np.ptp(apart) <= _NOTHING * apart.max():
        raise SampleError(
            f"{name} has {len(rows)} vectors that are all equally far apart, so their distances "
            "have no order. Pass vectors that differ between runs."
        )
    ranks = rankdata(apart)
    square = squareform(ranks - ranks.mean())
    return square / np.linalg.norm(square)
