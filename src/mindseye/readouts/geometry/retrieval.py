"""Instance retrieval: whether a vector finds its own run among all others."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from mindseye.errors import SampleError
from mindseye.readouts.geometry.chance import distinct, indexed
from mindseye.readouts.geometry.products import Products
from mindseye.readouts.geometry.rows import checked, transformed

__all__ = ["Retrieval", "found", "retrieval"]

_TIE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """How near each query's own run is, compared with the others. Ties count in expectation.

    Attributes:
        top_1: Whether it is the nearest, by query.
        top_5: Whether it is among the five nearest.
        rank: Share of the others that are farther away: 1 if it is nearest, 0.5 by chance, however
            many runs there are.
        chance_1: What `top_1` is by chance, over all queries.
        chance_5: The same of `top_5`.
    """

    top_1: Float[np.ndarray, " runs"]
    top_5: Float[np.ndarray, " runs"]
    rank: Float[np.ndarray, " runs"]
    chance_1: float
    chance_5: float


def retrieval(
    queries: Shaped[np.ndarray, "runs dims"],
    gallery: Shaped[np.ndarray, "runs dims"],
    *,
    groups: Sequence[Hashable] | None = None,
) -> Retrieval:
    """Look for every run's vector of one kind among those of another kind, by cosine.

    Each side is centred by itself first. Invariant to rotating both sides together, and to shifts
    and isotropic scaling of either.

    Args:
        queries: What looks, such as latents, or latents under a placebo.
        gallery: Where it looks, such as oracle latents, or latents of the plain runs.
        groups: What each run belongs to; other runs of its group are left out of its gallery.

    Raises:
        SampleError: Fewer than two runs or groups, shapes that differ, or entries that are no
            numbers.

    Source: retrieval of a latent's own oracle, arXiv 2605.18445.
    """
    if queries.shape != gallery.shape:
        raise SampleError(
            f"retrieval got queries of shape {queries.shape} and a gallery of {gallery.shape}; "
            "expected one vector of every run in each, in one space."
        )
    sides = (("queries", queries), ("gallery", gallery))
    moved = [transformed(checked(f"retrieval's {name}", rows), "centred") for name, rows in sides]
    return found(Products.of(*moved).cosines, indexed(groups, len(queries)))


def found(cosines: Float[np.ndarray, "runs runs"], groups: Int[np.ndarray, " runs"]) -> Retrieval:
    """Return what queries find, from their cosines with a gallery.

    Args:
        cosines: Queries by gallery. Vectors without direction are equally far from all.
        groups: What each run belongs to.
    """
    near, others = np.nan_to_num(cosines, nan=0.0), distinct(groups)
    lead = near - np.diag(near)[:, None]
    better = ((lead > _TIE) & others).sum(axis=1)
    ties = ((np.abs(lead) <= _TIE) & others).sum(axis=1)
    n_others = others.sum(axis=1)
    # Of equally near ones, each order is as likely.
    top_1, top_5 = (np.clip((top - better) / (ties + 1), 0.0, 1.0) for top in (1, 5))
    chance_1, chance_5 = (float(np.minimum(top / (n_others + 1), 1).mean()) for top in (1, 5))
    return Retrieval(top_1, top_5, (n_others - better - ties / 2) / n_others, chance_1, chance_5)
