"""Means over pairs that come in clusters, with intervals that know it.

Questions on one image, or pairs of one scene, are not independent; the cluster is what is sampled.
A mean is a ratio here, of the clusters' sums to their sizes, so that clusters may be unequal.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

__all__ = ["Clusters", "Interval", "clustered", "interval", "ratio_interval"]

_RESAMPLES = 2000
_NO_SPREAD = 1e-6
"""Of a resample's standard error, as a share of the data's own."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the ends of its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Values summed within clusters.

    Attributes:
        sums: Of every cluster; several columns are several quantities of the same pairs.
        sizes: How many pairs each has.
    """

    sums: Float[np.ndarray, "clusters quantities"]
    sizes: Int[np.ndarray, " clusters"]

    @property
    def n(self) -> int:
        """How many clusters there are."""
        return len(self.sizes)

    @property
    def means(self) -> Float[np.ndarray, " quantities"]:
        """Means over pairs."""
        return self.sums.sum(axis=0) / self.sizes.sum()

    @property
    def covariance(self) -> Float[np.ndarray, "quantities quantities"]:
        """Of the means: cluster-robust, with the small-sample factor G / (G - 1).

        Source: Liang & Zeger 1986 (CR1).
        """
        residuals = self.sums - self.sizes[:, None] * self.means
        factor = self.n / (self.n - 1)
        return factor * residuals.T @ residuals / self.sizes.sum() ** 2


def clustered(
    values: Float[np.ndarray, "pairs *quantities"], clusters: Sequence[Hashable] | None
) -> Clusters:
    """Sum values within clusters; without clusters every pair is its own.

    Args:
        values: One row per pair.
        clusters: What each pair belongs to, such as its image.
    """
    table = values.reshape(len(values), -1)
    if clusters is None:
        return Clusters(table, np.ones(len(table), dtype=int))
    names: dict[Hashable, int] = {}
    index = np.array([names.setdefault(each, len(names)) for each in clusters], dtype=int)
    sums = np.zeros((len(names), table.shape[1]))
    np.add.at(sums, index, table)
    return Clusters(sums, np.bincount(index, minlength=len(names)))


def interval(
    values: Float[np.ndarray, " pairs"],
    clusters: Sequence[Hashable] | None = None,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
) -> Interval:
    """Return the mean over pairs with a studentised cluster-bootstrap interval.

    Clusters are resampled whole. Each resample's distance from the mean is measured in its own
    cluster-robust standard errors, which keeps coverage where values are skewed. Neither end is
    nearer to the mean than Student's: resamples of few clusters, some of them far out, would be.

    Args:
        values: One value per pair.
        clusters: What each pair belongs to; every pair is its own cluster if left out.
        rng: Draws 2,000 resamples.
        level: Coverage aimed at.

    Returns:
        The interval: of no width if all values are equal, unbounded if there is only one cluster,
        and not a number if a value is.

    Source: Hall 1988 (percentile-t); Cameron, Gelbach & Miller 2008 for clusters.
    """
    if not np.isfinite(values).all():
        return Interval(np.nan, np.nan, np.nan)
    held = clustered(values, clusters)
    mean = float(held.means[0])
    if held.n < 2:
        return Interval(mean, -np.inf, np.inf)
    if np.ptp(values) == 0:
        return Interval(mean, mean, mean)
    error = float(np.sqrt(held.covariance[0, 0]))
    distances = _distances(held, mean, error, rng)
    tail = (1 - level) / 2
    low, high = np.quantile(distances, [tail, 1 - tail])
    student = stats.t.ppf(1 - tail, held.n - 1)
    below, above = max(float(high), student), max(-float(low), student)
    return Interval(mean, mean - below * error, mean + above * error)


def _distances(
    held: Clusters, mean: float, error: float, rng: np.random.Generator
) -> Float[np.ndarray, " resamples"]:
    """Return how many standard errors each resample's mean is from the mean."""
    drawn = rng.integers(held.n, size=(_RESAMPLES, held.n))
    sums, sizes = held.sums[drawn, 0], held.sizes[drawn]
    means = sums.sum(axis=1) / sizes.sum(axis=1)
    residuals = sums - sizes * means[:, None]
    errors = np.sqrt(held.n / (held.n - 1) * (residuals**2).sum(axis=1)) / sizes.sum(axis=1)
    # A resample of one cluster over and over has no spread; it says nothing about distance.
    spread = np.where(errors > _NO_SPREAD * error, errors, np.inf)
    return ((means - mean) / spread).astype(float)


def ratio_interval(
    numerator: Float[np.ndarray, " pairs"],
    denominator: Float[np.ndarray, " pairs"],
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
) -> Interval | None:
    """Return a ratio of means with Fieller's interval, or none where the denominator may be zero.

    Args:
        numerator: One value per pair, such as PIE.
        denominator: One value per pair, such as TE.
        clusters: What each pair belongs to.
        level: Coverage aimed at.

    Source: Fieller 1954, with cluster-robust covariance and Student's t.
    """
    held = clustered(np.stack([numerator, denominator], axis=1), clusters)
    if held.n < 2 or not np.isfinite(held.sums).all():
        return None
    top, bottom = held.means
    covariance = held.covariance
    t = stats.t.ppf((1 + level) / 2, held.n - 1)
    leading = bottom**2 - t**2 * covariance[1, 1]
    if leading <= 0:  # the denominator's own interval covers zero
        return None
    middle = top * bottom - t**2 * covariance[0, 1]
    root = np.sqrt(max(middle**2 - leading * (top**2 - t**2 * covariance[0, 0]), 0.0))
    return Interval(
        float(top / bottom), float((middle - root) / leading), float((middle + root) / leading)
    )
