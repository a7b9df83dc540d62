"""Natural direct and indirect effects from the four cells, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from mindseye.causal.intervals import Interval

__all__ = ["EFFECTS", "bootstrap_mean", "effects"]

EFFECTS = ("te", "pde", "tde", "pie", "tie", "int")
"""Total; pure and total direct; pure and total indirect; mediated interaction."""

_RESAMPLES = 2000


def effects(cells: Float[np.ndarray, "pairs 2 2"]) -> dict[str, Float[np.ndarray, " pairs"]]:
    """Split the effect of each pair's input change into direct and mediated parts.

    Args:
        cells: Outcome Y[x, z] of input x with the latents of z; 0 is the reference, 1 the clean
            run. Any unit; logit differences come in nats.

    Returns:
        By name, one value per pair, in the outcome's unit; te = pde + tie = tde + pie, and
        int = tie - pie = tde - pde.

    Source: Robins & Greenland 1992; Pearl 2001 (his NDE and NIE are pde and pie).
    """
    y00, y01, y10, y11 = cells[:, 0, 0], cells[:, 0, 1], cells[:, 1, 0], cells[:, 1, 1]
    return {
        "te": y11 - y00,
        "pde": y10 - y00,
        "tde": y11 - y01,
        "pie": y01 - y00,
        "tie": y11 - y10,
        "int": y11 - y10 - y01 + y00,
    }


def bootstrap_mean(
    values: Float[np.ndarray, " pairs"], *, rng: np.random.Generator, level: float = 0.95
) -> Interval:
    """Return the mean over pairs with a bias-corrected and accelerated bootstrap interval.

    Pairs are resampled whole, so effects of one pair stay together (a paired bootstrap).

    Args:
        values: One value per pair.
        rng: Draws 2,000 resamples.
        level: Coverage aimed at.

    Returns:
        The interval; of no width if all values are equal, and unbounded if there is only one.

    Source: Efron 1987 (BCa), as in `scipy.stats.bootstrap`.
    """
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, -np.inf, np.inf)
    if np.ptp(values) == 0:
        return Interval(mean, mean, mean)
    drawn: Any = stats.bootstrap(
        (values,), np.mean, n_resamples=_RESAMPLES, confidence_level=level, method="BCa", rng=rng
    )
    low, high = drawn.confidence_interval
    return Interval(mean, float(low), float(high))
