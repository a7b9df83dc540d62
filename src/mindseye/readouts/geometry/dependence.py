"""Whether latents depend on a factor at all, in whatever way."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float, Shaped
from scipy.spatial.distance import pdist, squareform

from mindseye.errors import SampleError
from mindseye.readouts.geometry.chance import indexed, p_value, shuffles
from mindseye.readouts.geometry.cka import u_centred
from mindseye.readouts.geometry.rows import checked, reduced, transformed
from mindseye.readouts.geometry.rsa import Association

__all__ = ["dependence"]

_LEAST = 4
_NOTHING = 1e-12


def dependence(
    rows: Shaped[np.ndarray, "runs dims"],
    factor: Sequence[Hashable] | Shaped[np.ndarray, "runs *levels"],
    *,
    groups: Sequence[Hashable] | None = None,
    n_permutations: int = 999,
    rng: np.random.Generator,
) -> Association:
    """Test by permutation whether vectors depend on a factor, linearly or not.

    The statistic is the bias-corrected distance correlation: unbiased HSIC whose kernels are
    distances, and for labels the energy statistic between their groups. It is 0 in expectation if
    the two are independent, and only then in the limit.

    Invariant to rotation, isotropic scaling and shifts of the vectors.

    Args:
        rows: One vector per run; Euclidean distances.
        factor: What they may depend on: a label per run, such as its answer, of which two are
            equal or not; or numbers, in an array.
        groups: What each run belongs to; whole groups change places. A factor that never varies
            between groups of one size cannot be tested so.
        n_permutations: How many.
        rng: Draws them.

    Raises:
        SampleError: Fewer than four runs, not one factor per run, entries that are no numbers, or
            vectors or a factor without any difference.

    Source: Székely & Rizzo 2014 (bias correction); Sejdinovic et al. 2013 (energy distance and
        HSIC are one).
    """
    if len(rows) != len(factor):
        raise SampleError(
            f"dependence got {len(rows)} vectors and {len(factor)} values of a factor; expected "
            "one per run."
        )
    held = reduced(transformed(checked("dependence's argument", rows, least=_LEAST), "centred"))
    first = _kernel("dependence's vectors", squareform(pdist(held)))
    second = _kernel("dependence's factor", _apart(factor))
    own = float(np.vdot(first, second))
    orders = shuffles(indexed(groups, len(rows)), n_permutations, rng)
    drawn = np.array([np.vdot(first, second[np.ix_(order, order)]) for order in orders])
    return Association(own, p_value(own, drawn))


def _apart(
    factor: Sequence[Hashable] | Shaped[np.ndarray, "runs *levels"],
) -> Float[np.ndarray, "runs runs"]:
    """Return how far apart a factor's values are: 0 or 1 for labels."""
    if isinstance(factor, np.ndarray) and factor.dtype.kind in "iuf":
        return squareform(pdist(checked("dependence's factor", factor.reshape(len(factor), -1))))
    numbers: dict[Hashable, int] = {}
    labels = np.array([numbers.setdefault(each, len(numbers)) for each in factor])
    return (labels[:, None] != labels[None, :]).astype(float)


def _kernel(name: str, apart: Float[np.ndarray, "runs runs"]) -> Float[np.ndarray, "runs runs"]:
    """Return distances, centred without bias and scaled to length 1."""
    kernel = u_centred(apart)
    length = np.linalg.norm(kernel)
    if length <= _NOTHING * np.linalg.norm(apart):
        raise SampleError(
            f"{name} are of one kind: every two are equally far apart, so nothing can depend on "
            "them. Pass runs that differ in it."
        )
    return kernel / length
