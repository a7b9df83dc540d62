"""The columns and the measures of the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from statsmodels.stats.proportion import proportion_confint

from mindseye.causal import Interval, interval
from mindseye.errors import SampleError

__all__ = ["COLUMNS", "JOINED", "MEASURES", "Row", "mean_of", "number", "row", "share_of"]

Row = dict[str, Any]

COLUMNS = (
    "population",
    "slot",
    "measure",
    "transform",
    "against",
    "value",
    "low",
    "high",
    "null",
    "p_value",
    "n",
)

JOINED = -1
"""In the place of a slot: the vectors of all slots, put one after the other."""

MEASURES = {
    "inter-instance cosine": "between two runs, at one slot",
    "intra-instance cosine": "between a slot and the others of its run",
    "adjacent cosine": "between a slot and the next one of its run",
    "norm": "length of a vector",
    "variance between instances": "trace of the covariance between runs",
    "share between instances": "what differs between runs, of the mean squared length",
    "rank": "number of singular values that are not 0",
    "effective rank, singular values": "exp of the entropy of normalised singular values",
    "effective rank, eigenvalues": "exp of the entropy of normalised eigenvalues",
    "participation ratio": "squared sum of eigenvalues over the sum of their squares",
    "stable rank": "sum of eigenvalues over the largest",
    "rank 90": "components that hold 90 % of the variance",
    "intrinsic dimension": "TwoNN",
    "drift": "length of the step to the next slot, relative to this one",
    "contraction": "what is left of a nudge at the next slot, relative to this one",
    "cka debiased": "linear CKA with unbiased HSIC",
    "cka biased": "linear CKA as it is usually computed",
    "rsa": "Spearman's correlation of distances, with Mantel's p",
    "procrustes distance": "after the best rotation; both of length 1",
    "oracle cosine": "between a run's vector and its oracle",
    "retrieval top 1": "runs whose own match is the nearest",
    "retrieval top 5": "runs whose own match is among the nearest five",
    "retrieval rank": "share of other runs that are farther than the own match",
    "trS/trN": "scatter between images over scatter under placebos",
    "placebo participation ratio": "participation ratio of what placebos change",
    "dependence": "bias-corrected distance correlation",
}
"""Every measure, in a few words."""


def row(
    measure: str,
    value: Interval | float,
    *,
    transform: str = "",
    against: str = "",
    null: float = np.nan,
    p_value: float = np.nan,
) -> Row:
    """Return one measurement.

    Args:
        measure: One of `MEASURES`.
        value: The number, with its interval if it has one.
        transform: What was done to the vectors before.
        against: What it compares them with, if not with each other.
        null: What the measure would be if there were nothing.
        p_value: Of a permutation test.
    """
    held = value if isinstance(value, Interval) else Interval(value, np.nan, np.nan)
    return {
        "measure": measure,
        "transform": transform,
        "against": against,
        "value": held.mean,
        "low": held.low,
        "high": held.high,
        "null": null,
        "p_value": p_value,
    }


def number(measure: Callable[[], float]) -> float:
    """Return a measure, or no number where the vectors have none (they are all alike, say)."""
    try:
        return measure()
    except SampleError:
        return np.nan


def mean_of(
    values: Float[np.ndarray, " runs"],
    groups: Int[np.ndarray, " runs"],
    rng: np.random.Generator,
) -> Interval:
    """Return the mean over runs that have a value, with its interval over groups."""
    known = np.isfinite(values)
    if not known.any():
        return Interval(np.nan, np.nan, np.nan)
    return interval(values[known], groups[known].tolist(), rng=rng)


def share_of(hits: Float[np.ndarray, " runs"], groups: Int[np.ndarray, " runs"]) -> Interval:
    """Return the share of hits with Wilson's interval, of as many trials as there are groups.

    It keeps a width where all or none are hits; a resampled interval has none there.
    """
    n, mean = len(np.unique(groups)), float(hits.mean())
    ends: Any = proportion_confint(mean * n, n, method="wilson")
    return Interval(mean, float(ends[0]), float(ends[1]))
