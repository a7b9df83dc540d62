"""Tests of whole maps of effects, and corrections for many of them."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float
from statsmodels.stats.multitest import multipletests

from mindseye.causal.intervals import clustered

__all__ = ["corrected", "sign_flip"]

_DRAWS = 2000
_ALL_UP_TO = 11
"""With so few clusters every pattern of signs is tried; 2^11 are as many as are drawn otherwise."""


def sign_flip(
    effects: Float[np.ndarray, "pairs cells"],
    clusters: Sequence[Hashable] | None = None,
    *,
    rng: np.random.Generator,
) -> Float[np.ndarray, " cells"]:
    """Return p-values of every cell of a map, corrected for there being so many.

    Under the null of a symmetric distribution around zero, the signs of whole clusters may be
    flipped; the largest |t| over all cells is what each cell's |t| is compared with (max-T), so the
    chance of any false cell is held.

    Args:
        effects: One row per pair; a column per site of a sweep, say.
        clusters: What each pair belongs to.
        rng: Draws 2,000 patterns of signs, if clusters are too many to try all.

    Returns:
        Two-sided, family-wise; 1 in a cell without any spread whose mean is 0.

    Source: Westfall & Young 1993; Nichols & Holmes 2002.
    """
    held = clustered(effects, clusters)
    if held.n <= _ALL_UP_TO:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=held.n)))
    else:
        signs = rng.choice((1.0, -1.0), size=(_DRAWS, held.n))
        signs[0] = 1.0  # the data themselves are one of the patterns
    squares = (held.sums**2).sum(axis=0)
    totals = signs @ held.sums
    # Sums of squares do not change with signs, so t grows with the total alone.
    spread = np.sqrt(np.maximum(squares - totals**2 / held.n, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(totals) / spread
    t = np.where(totals == 0, 0.0, t)
    largest = t.max(axis=1)
    own = np.where(held.sums.sum(axis=0) == 0, 0.0, t[0])
    # A hair of tolerance, so that patterns equal to the data count as such.
    return (largest[:, None] >= own * (1 - 1e-12)).mean(axis=0)


def corrected(
    p_values: Sequence[float], how: Literal["holm", "bh"] = "holm"
) -> Float[np.ndarray, " tests"]:
    """Return p-values corrected for their number.

    Args:
        p_values: Of a family of tests.
        how: `holm` for claims, holding the chance of any false one; `bh` for exploring, holding the
            share of false ones (Benjamini & Hochberg 1995).
    """
    method = {"holm": "holm", "bh": "fdr_bh"}[how]
    return np.asarray(multipletests(list(p_values), method=method)[1], dtype=float)
