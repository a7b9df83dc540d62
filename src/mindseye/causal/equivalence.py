"""A null result as a claim: margins, two one-sided tests, power."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import stats

from mindseye.causal.intervals import Interval, clustered, interval
from mindseye.errors import SampleError

__all__ = [
    "Equivalence",
    "Margin",
    "equivalent",
    "needed_clusters",
    "needed_items",
    "smallest_detectable",
]


@dataclass(frozen=True, slots=True)
class Margin:
    """How small an effect must be to count as none; named before the data are seen.

    The margin is the larger of a share of the total effect and, where a gain is claimed for the
    latents, half of it, but never below what arithmetic alone moves. A share of the total effect is
    tested as a contrast with it, effect - share * TE, so that no ratio is formed.

    Attributes:
        share_of_te: Of the total effect.
        absolute: In the outcome's unit, such as half the claimed gain; none if nothing is claimed.
        floor: The measured noise floor, in the outcome's unit.
    """

    share_of_te: float = 0.1
    absolute: float | None = None
    floor: float = 0.0

    def __post_init__(self) -> None:
        """Refuse margins that mean nothing.

        Raises:
            SampleError: A share outside (0, 1), or a negative margin.
        """
        if not 0 < self.share_of_te < 1:
            raise SampleError(
                f"A margin got share_of_te={self.share_of_te}; it is a share of TE between 0 and 1."
            )
        if (self.absolute is not None and self.absolute <= 0) or self.floor < 0:
            raise SampleError(
                f"A margin got absolute={self.absolute} and floor={self.floor}; expected a "
                "positive margin and a floor of at least 0."
            )

    def above(self, noise: float) -> Margin:
        """Return this margin, never below a measured noise floor."""
        return replace(self, floor=max(self.floor, noise))

    def bounds(self, te: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " pairs"]:
        """Return what to hold each pair's effect against; its mean is the margin."""
        size = self.share_of_te * te * np.sign(te.mean() or 1.0)
        least = max(self.floor, self.absolute or 0.0)
        return size if size.mean() >= least else np.full_like(te, least)


@dataclass(frozen=True, slots=True)
class Equivalence:
    """What two one-sided tests say.

    Attributes:
        above: `effect - margin`, with its 1 - 2 alpha interval.
        below: `effect + margin`, likewise.
        margin: The mean margin, in the outcome's unit.
        present: Whether the effect is shown to exceed the margin, in the margin's direction.
        absent: Whether it is shown to lie within it.
    """

    above: Interval
    below: Interval
    margin: float
    present: bool
    absent: bool


def equivalent(
    effect: Float[np.ndarray, " pairs"],
    bounds: Float[np.ndarray, " pairs"],
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    alpha: float = 0.05,
) -> Equivalence:
    """Hold a mean effect against a margin by two one-sided tests on clusters.

    Args:
        effect: One value per pair.
        bounds: The margin as pairs see it (`Margin.bounds`): a share of each pair's total effect,
            or a constant.
        clusters: What each pair belongs to.
        seed: Of the bootstrap; both contrasts draw the same resamples.
        alpha: Of each one-sided test, so the intervals are of level 1 - 2 alpha.

    Source: Berger & Hsu 1996 (intersection-union); Lakens 2017.
    """
    above, below = (
        interval(
            effect + sign * bounds, clusters, rng=np.random.default_rng(seed), level=1 - 2 * alpha
        )
        for sign in (-1, 1)
    )
    return Equivalence(
        above,
        below,
        float(bounds.mean()),
        present=bool(above.low > 0),
        absent=bool(above.high < 0 and below.low > 0),
    )


def needed_clusters(
    spread: float, margin: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Return how many clusters show an effect of zero to lie within a margin.

    Args:
        spread: Standard deviation of clusters' mean effects.
        margin: In the same unit.
        alpha: Of each one-sided test.
        power: Wanted.

    Source: n = (t_{1-alpha} + t_{1-beta/2})^2 (spread / margin)^2, Chow et al. 2008, with t of
        n - 1 degrees of freedom, because the spread is estimated along.
    """
    n = 2
    while n < _shown_by(n, alpha, power) * (spread / margin) ** 2:
        n += max(1, n // 100)  # exact where few are enough, within 1 % where many are needed
    return n


def _shown_by(n: int, alpha: float, power: float) -> float:
    """Return the squared standard errors that a margin must be away, with so many clusters."""
    error, miss = (stats.t.ppf(1 - tail, n - 1) for tail in (alpha, (1 - power) / 2))
    return float(error + miss) ** 2


def needed_items(
    discordant: float,
    margin: float,
    *,
    per_cluster: int = 1,
    icc: float = 0.0,
    alpha: float = 0.05,
    power: float = 0.8,
) -> int:
    """Return how many items show two accuracies to be equal within a margin.

    Args:
        discordant: Share of items on which two arms' correctness differs.
        margin: Largest difference of accuracies that counts as none, as a share.
        per_cluster: Items per image.
        icc: Correlation of items of one image.
        alpha: Of each one-sided test.
        power: Wanted.

    Source: as `needed_clusters`, with variance `discordant`, times the design effect
        1 + (m - 1) ICC.
    """
    z = stats.norm.ppf(1 - alpha) + stats.norm.ppf(1 - (1 - power) / 2)
    plain = z**2 * discordant / margin**2
    return int(np.ceil(plain * (1 + (per_cluster - 1) * icc)))


def smallest_detectable(
    values: Float[np.ndarray, " pairs"],
    clusters: Sequence[Hashable] | None = None,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """Return the mean effect that as many pairs as spread out as these would probably show.

    Args:
        values: One value per pair, from a pilot or the study itself.
        clusters: What each pair belongs to.
        alpha: Of a two-sided test.
        power: Wanted.

    Returns:
        In the values' unit; infinite if there is only one cluster, not a number where a value is
        none or has no bound.
    """
    if not np.isfinite(values).all():
        return float("nan")
    held = clustered(values, clusters)
    if held.n < 2:
        return float("inf")
    error = np.sqrt(held.covariance[0, 0])
    df = held.n - 1
    return float((stats.t.ppf(1 - alpha / 2, df) + stats.t.ppf(power, df)) * error)
