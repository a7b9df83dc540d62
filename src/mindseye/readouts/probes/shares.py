"""Intervals of shares, such as accuracies, when samples come in groups."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int
from scipy import stats

from mindseye.causal import Interval
from mindseye.causal.intervals import clustered

__all__ = ["share_interval"]


def share_interval(
    right: Bool[np.ndarray, " samples"],
    groups: Int[np.ndarray, " samples"],
    *,
    level: float = 0.95,
) -> Interval:
    """Return a share with the exact binomial interval of as many samples as its groups are worth.

    An interval from the spread alone would have no width where all samples, or none, are right.
    There every group counts as one sample. It takes probes of different folds as one, and does not
    count what other folds or other training samples would have changed.

    Source: Clopper & Pearson 1934; Korn & Graubard 1998 for clusters.
    """
    n, found = len(right), clustered(right.astype(float), groups.tolist())
    share = float(found.means[0])
    worth = float(n)
    if found.n < n:
        spread = float(found.covariance[0, 0])
        worth = share * (1 - share) / spread if spread > 0 and 0 < share < 1 else float(found.n)
        narrow, wide = (stats.t.ppf((1 + level) / 2, df) for df in (n - 1, found.n - 1))
        worth = min(worth * (narrow / wide) ** 2, n)
    hits, tail = share * worth, (1 - level) / 2
    low = stats.beta.ppf(tail, hits, worth - hits + 1) if hits > 0 else 0.0
    high = stats.beta.ppf(1 - tail, hits + 1, worth - hits) if hits < worth else 1.0
    return Interval(share, float(low), float(high))
