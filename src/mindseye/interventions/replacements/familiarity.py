"""How far vectors are from what the model feeds itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mindseye.interventions.replacements.given import Pool

__all__ = ["Familiarity", "Strangeness"]


@dataclass(frozen=True, slots=True, eq=False)
class Strangeness:
    """How unusual some vectors are, one number per vector.

    Attributes:
        norm_percentile: Share of the model's own latents with a smaller norm, from 0 to 1; equal
            norms count half.
        mahalanobis: Distance from the mean in standard deviations, per dimension: its root mean
            square is 1 for the pool's own vectors, as far as shrinkage goes.
        nearest: Cosine distance to the nearest latent of another sample, from 0 to 2.
    """

    norm_percentile: Float[np.ndarray, " vectors"]
    mahalanobis: Float[np.ndarray, " vectors"]
    nearest: Float[np.ndarray, " vectors"]

    def means(self) -> dict[str, float]:
        """Return the mean of each over the vectors."""
        return {
            "norm_percentile": float(self.norm_percentile.mean()),
            "mahalanobis": float(self.mahalanobis.mean()),
            "nearest": float(self.nearest.mean()),
        }


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What the model's own latents look like, ready to measure other vectors against.

    Attributes:
        pool: Of the model's own latents.
    """

    pool: Pool

    def of(self, vectors: Float[Tensor, "vectors d_model"], *, id: str = "") -> Strangeness:
        """Measure vectors.

        Args:
            vectors: What was fed, or is going to be.
            id: Of the sample it is fed to, whose own latents are not neighbours.

        Source: shrinkage after Ledoit & Wolf 2004, towards a multiple of the identity.
        """
        rows = vectors.detach().double().cpu().numpy()
        norms = np.linalg.norm(rows, axis=1)
        own = self._norms
        below = np.searchsorted(own, norms, "left") + np.searchsorted(own, norms, "right")
        return Strangeness(below / (2 * len(own)), self._mahalanobis(rows), self._nearest(rows, id))

    @cached_property
    def _rows(self) -> Float[np.ndarray, "latents d_model"]:
        return self.pool.vectors.double().cpu().numpy()

    @cached_property
    def _norms(self) -> Float[np.ndarray, " latents"]:
        return np.sort(np.linalg.norm(self._rows, axis=1))

    @cached_property
    def _directions(self) -> Float[np.ndarray, "latents d_model"]:
        return _unit(self._rows)

    @cached_property
    def _owners(self) -> np.ndarray:
        return np.repeat([run.id for run in self.pool.runs], [len(r.fed) for r in self.pool.runs])

    @cached_property
    def _shrunk(self) -> tuple[np.ndarray, np.ndarray, float]:
        """The covariance as its leading directions, their variances, and that of all others.

        With fewer latents than dimensions a covariance need never be written out: what is shrunk
        towards is the same in every direction.
        """
        from sklearn.covariance import ledoit_wolf_shrinkage

        centred = self._rows - self._rows.mean(axis=0)
        shrinkage = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
        _, singular, directions = np.linalg.svd(centred, full_matrices=False)
        variances = singular**2 / len(centred)
        floor = shrinkage * variances.sum() / centred.shape[1]
        return directions, (1 - shrinkage) * variances + floor, floor

    def _mahalanobis(self, rows: np.ndarray) -> np.ndarray:
        directions, variances, floor = self._shrunk
        centred = rows - self._rows.mean(axis=0)
        along = centred @ directions.T
        beyond = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        # Latents that never vary have no scale, so that any other vector is infinitely far.
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = np.where(along == 0, 0.0, along**2 / variances).sum(axis=1)
            outside = np.where(beyond <= 1e-12 * (rows**2).sum(axis=1), 0.0, beyond / floor)
        return np.sqrt((inside + outside) / rows.shape[1])

    def _nearest(self, rows: np.ndarray, id: str) -> np.ndarray:
        others = self._directions[self._owners != id] if id else self._directions
        if not len(others):
            return np.full(len(rows), np.nan)
        return np.maximum(1 - (_unit(rows) @ others.T).max(axis=1), 0)  # not -1e-16


def _unit(rows: np.ndarray) -> np.ndarray:
    """Return rows of length 1; zeros stay zeros and are at a right angle to everything."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
