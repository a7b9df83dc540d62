"""Linear CKA: how far two sets of vectors of the same runs agree on which runs are alike."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped

from mindseye.errors import SampleError
from mindseye.readouts.geometry.rows import checked, reduced, transformed

__all__ = ["cka", "u_centred"]

_LEAST = 4
_NOTHING = 1e-12


def cka(
    x: Shaped[np.ndarray, "runs dims"],
    y: Shaped[np.ndarray, "runs others"],
    *,
    debiased: bool = True,
) -> float:
    """Return the centred kernel alignment of two sets of vectors, with linear kernels.

    HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with K = x x' and L = y y'. The usual, biased HSIC
    keeps the diagonals of K and L. With more dimensions than runs these dominate, and independent
    vectors look aligned: two isotropic Gaussian clouds of 100 runs in 3,584 dimensions have a
    biased CKA of 0.97 and a debiased one near 0.

    Both are invariant to rotation, to isotropic scaling and to shifts, of either side; not to
    scaling single dimensions. Runs are taken as independent: pass one per image.

    Args:
        x: One vector per run.
        y: Another vector of every run, of any dimension.
        debiased: Use the unbiased HSIC, whose expectation is 0 under independence.

    Returns:
        Biased between 0 and 1, debiased between -1 and 1.

    Raises:
        SampleError: Fewer than four runs, differing numbers of them, entries that are no numbers,
            or a side in which every two vectors are equally alike.

    Source: Kornblith et al. 2019, arXiv 1905.00414; unbiased HSIC: Song et al. 2012, equation 5;
        its use in CKA: Nguyen et al. 2021, arXiv 2010.15327.
    """
    if len(x) != len(y):
        raise SampleError(
            f"cka got {len(x)} and {len(y)} vectors; expected two of every run, in one order."
        )
    k = _kernel("cka's first argument", x, debiased)
    m = _kernel("cka's second argument", y, debiased)
    return float(np.vdot(k, m))


def u_centred(k: Float[np.ndarray, "runs runs"]) -> Float[np.ndarray, "runs runs"]:
    """Return a symmetric matrix centred so that products with another are unbiased.

    With A and B centred in this way, sum(A * B) / (n (n - 3)) is the unbiased HSIC of two kernels,
    and the squared distance covariance of two matrices of distances. Diagonals play no part.

    Source: Székely & Rizzo 2014, equation 2.2; equal to Song et al. 2012, equation 5.
    """
    n = len(k)
    k = k - np.diag(np.diag(k))
    rows = k.sum(axis=1) / (n - 2)
    centred = k - rows[:, None] - rows[None, :] + k.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0.0)
    return centred


def _kernel(
    name: str, rows: Shaped[np.ndarray, "runs dims"], debiased: bool
) -> Float[np.ndarray, "runs runs"]:
    """Return the centred matrix of inner products, scaled to length 1."""
    # Rows are centred first: a large mean would eat the digits of what differs.
    held = reduced(transformed(checked(name, rows, least=_LEAST), "centred"))
    gram = held @ held.T
    kernel = u_centred(gram) if debiased else gram
    length = np.linalg.norm(kernel)
    if length <= _NOTHING * gram.trace():
        raise SampleError(
            f"{name} has {len(rows)} vectors of which every two are equally alike; nothing can be "
            "aligned with them. Pass vectors that differ between runs."
        )
    return kernel / length
