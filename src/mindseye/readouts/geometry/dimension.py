"""Intrinsic dimension: how many numbers would say where on its surface a vector lies."""

from __future__ import annotations

import numpy as np
from jaxtyping import Shaped
from scipy.spatial.distance import pdist, squareform

from mindseye.errors import SampleError
from mindseye.readouts.geometry.rows import checked, reduced, transformed

__all__ = ["intrinsic_dimension"]

_LEAST = 5
_SAME = 1e-9
"""Of the largest distance: nearer points are copies of one another."""


def intrinsic_dimension(rows: Shaped[np.ndarray, "runs dims"], *, discarded: float = 0.1) -> float:
    """Return the TwoNN estimate: from the ratios of second to first neighbours' distances.

    Where density is even over both neighbours, the ratios mu follow a Pareto law whose exponent is
    the dimension; it is the slope through the origin of -log(1 - F(mu)) over log mu.

    It needs no covariance, and is too low where points are few for their dimension: 200 isotropic
    Gaussian vectors in 3,584 dimensions give about 250. So a value means something only beside that
    of another cloud of the same size.

    Args:
        rows: One vector per run. Copies of one another count once.
        discarded: Share of the largest ratios that is left out, since they stray most.

    Raises:
        SampleError: Fewer than five different vectors, entries that are no numbers, or vectors
            that are all equally far apart.

    Source: Facco, d'Errico, Rodriguez & Laio 2017, *Scientific Reports* 7:12140.
    """
    held = reduced(transformed(checked("intrinsic_dimension's argument", rows), "centred"))
    distances = squareform(pdist(held))
    same = distances <= _SAME * distances.max()
    first_of_its_kind = same.argmax(axis=1) == np.arange(len(held))
    n = int(first_of_its_kind.sum())
    if n < _LEAST:
        raise SampleError(
            f"intrinsic_dimension got {n} different vectors; it takes at least {_LEAST}, and "
            "a hundred to say much. Pass more runs."
        )
    apart = distances[np.ix_(first_of_its_kind, first_of_its_kind)]
    np.fill_diagonal(apart, np.inf)
    nearest = np.partition(apart, 1, axis=1)[:, :2]
    n_kept = min(n - 1, int(n * (1 - discarded)))
    log_mu = np.sort(np.log(nearest[:, 1] / nearest[:, 0]))[:n_kept]
    if not (log_mu > _SAME).any():
        raise SampleError(
            f"intrinsic_dimension got {n} vectors that are all equally far apart, which have no "
            "finite dimension."
        )
    log_left = -np.log1p(-np.arange(1, n_kept + 1) / n)
    return float(log_mu @ log_left / (log_mu @ log_mu))
