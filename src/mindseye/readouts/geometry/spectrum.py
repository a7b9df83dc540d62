"""How many directions vectors use: the competing definitions, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from scipy.linalg import svdvals
from scipy.stats import entropy

from mindseye.errors import SampleError
from mindseye.readouts.geometry.rows import checked, reduced, transformed

__all__ = ["Spectrum", "spectrum"]


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """Singular values of a matrix of vectors, and what is called its rank.

    With singular values s and eigenvalues l = s^2, every number below lies between 1 and `rank`,
    and all equal it if the values are equal. They fall in this order: `rank`,
    `effective_rank_of_singular_values`, `effective_rank_of_eigenvalues`, `participation_ratio`,
    `stable_rank`. A text that says *effective rank* may mean any of the last four.

    Attributes:
        singular_values: Those that are not 0, largest first.
    """

    singular_values: Float[np.ndarray, " rank"]

    @property
    def eigenvalues(self) -> Float[np.ndarray, " rank"]:
        """Squares of the singular values."""
        return self.singular_values**2

    @property
    def rank(self) -> int:
        """How many singular values are not 0."""
        return len(self.singular_values)

    @property
    def effective_rank_of_singular_values(self) -> float:
        """Exponential of the entropy of s / sum(s).

        Source: Roy & Vetterli 2007, *The effective rank*, definition 1.
        """
        return float(np.exp(entropy(self.singular_values)))

    @property
    def effective_rank_of_eigenvalues(self) -> float:
        """Exponential of the entropy of l / sum(l)."""
        return float(np.exp(entropy(self.eigenvalues)))

    @property
    def participation_ratio(self) -> float:
        """(sum l)^2 / sum(l^2).

        Of n centred isotropic Gaussian vectors in d dimensions about (n - 1) d / (n + d); without
        centring n d / (n + d + 1).

        Source: Gao et al. 2017, *A theory of multineuronal dimensionality*.
        """
        return float(self.eigenvalues.sum() ** 2 / (self.eigenvalues**2).sum())

    @property
    def stable_rank(self) -> float:
        """Sum of l over the largest.

        Source: Rudelson & Vershynin 2007.
        """
        return float(self.eigenvalues.sum() / self.eigenvalues[0])

    def components(self, share: float) -> int:
        """Return how many components hold a share of the variance."""
        held = np.cumsum(self.eigenvalues) / self.eigenvalues.sum()
        return int(np.searchsorted(held, share - 1e-12) + 1)


def spectrum(rows: Shaped[np.ndarray, "runs dims"], *, centred: bool = True) -> Spectrum:
    """Return the singular values of vectors.

    Args:
        rows: One vector per run.
        centred: Take the mean out first, so that squares are eigenvalues of the covariance (times
            n - 1). Without, one shared direction can hold most of it.

    Raises:
        SampleError: Fewer than two vectors, entries that are no numbers, or vectors that are all
            alike (all 0, if not centred).
    """
    held = checked("spectrum's argument", rows)
    if centred:
        held = transformed(held, "centred")
    values = svdvals(reduced(held))
    values = values[values > max(held.shape) * np.finfo(float).eps * values[0]]
    if not len(values):
        raise SampleError(
            f"spectrum got {len(held)} vectors that are {'all alike' if centred else 'all 0'}, "
            "which have no rank to measure. Call them collapsed, or pass vectors that differ."
        )
    return Spectrum(values)
