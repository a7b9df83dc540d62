"""Inner products between two sets of vectors in one space; those of joined slots are sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["Products"]


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """What two sets of vectors have to do with each other.

    Attributes:
        inner: Inner products.
        left: Squared lengths of the first set.
        right: Squared lengths of the second.
    """

    inner: Float[np.ndarray, "runs others"]
    left: Float[np.ndarray, " runs"]
    right: Float[np.ndarray, " others"]

    @classmethod
    def of(cls, x: Float[np.ndarray, "runs dims"], y: Float[np.ndarray, "others dims"]) -> Products:
        """Multiply every vector of one set with every one of the other."""
        return cls(x @ y.T, (x**2).sum(axis=1), (y**2).sum(axis=1))

    @classmethod
    def joined(cls, parts: Sequence[Products]) -> Products:
        """Return the products of vectors that were put one after the other."""
        return cls(
            np.sum([each.inner for each in parts], axis=0),
            np.sum([each.left for each in parts], axis=0),
            np.sum([each.right for each in parts], axis=0),
        )

    @property
    def cosines(self) -> Float[np.ndarray, "runs others"]:
        """Cosines; not a number where a vector is 0."""
        lengths = np.sqrt(self.left[:, None] * self.right[None, :])
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(lengths > 0, self.inner / lengths, np.nan)
