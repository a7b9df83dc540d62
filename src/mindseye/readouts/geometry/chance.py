"""What chance would do: runs exchanged between images, and images drawn again."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from mindseye.causal import Interval
from mindseye.errors import SampleError

__all__ = ["distinct", "indexed", "p_value", "pair_interval", "resamples", "shuffles"]

_RESAMPLES = 1000
_HAIR = 1e-12
"""Of the largest value: what equals the data but for rounding counts as equal."""


def indexed(groups: Sequence[Hashable] | None, n: int) -> Int[np.ndarray, " runs"]:
    """Return every run's group as a number; without groups every run is its own.

    Args:
        groups: What each run belongs to, such as its image.
        n: How many runs there are.

    Raises:
        SampleError: Not one group per run, or one group only.
    """
    if groups is None:
        return np.arange(n)
    if len(groups) != n:
        raise SampleError(f"{n} runs came with {len(groups)} groups; expected one group per run.")
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(each, len(numbers)) for each in groups])
    if len(numbers) < 2:
        raise SampleError(
            f"All {n} runs belong to one group, so nothing lies between groups. Pass runs on "
            "several images."
        )
    return index


def distinct(groups: Int[np.ndarray, " runs"]) -> Bool[np.ndarray, "runs runs"]:
    """Return which two runs belong to different groups."""
    return groups[:, None] != groups[None, :]


def shuffles(
    groups: Int[np.ndarray, " runs"], times: int, rng: np.random.Generator
) -> Int[np.ndarray, "times runs"]:
    """Return permutations of runs in which whole groups change places.

    Runs of a group need not be exchangeable with others, so a group's place is taken by another
    group of the same size, in its own order. If no two groups are of one size, nothing moves and
    every test that uses them says p = 1.
    """
    members = [np.flatnonzero(groups == each) for each in np.unique(groups)]
    sizes = {len(each) for each in members}
    alike = [np.array([each for each in members if len(each) == size]) for size in sorted(sizes)]
    drawn = np.empty((times, len(groups)), dtype=int)
    for row in drawn:
        for places in alike:
            row[places] = places[rng.permutation(len(places))]
    return drawn


def p_value(own: float, drawn: Float[np.ndarray, " times"]) -> float:
    """Return how often chance does at least as well, the data themselves counted in.

    Source: Phipson & Smyth 2010.
    """
    reached = drawn >= own - _HAIR * max(abs(own), np.abs(drawn).max())
    return float((1 + reached.sum()) / (1 + len(drawn)))


def resamples(
    groups: Int[np.ndarray, " runs"], rng: np.random.Generator
) -> Float[np.ndarray, "resamples groups"]:
    """Return how often each group, in the order of their numbers, is drawn in 1,000 resamples."""
    n = len(np.unique(groups))
    return rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES).astype(float)


def pair_interval(
    values: Float[np.ndarray, "runs runs"],
    kept: Bool[np.ndarray, "runs runs"],
    groups: Int[np.ndarray, " runs"],
    weights: Float[np.ndarray, "resamples groups"],
) -> Interval:
    """Return the mean over pairs of runs, with a 95 % bootstrap interval over groups.

    A pair counts as often as both its groups were drawn; pairs of a group with itself never do.

    Args:
        values: One per pair of runs, symmetric.
        kept: Which pairs the mean is over; values that are no numbers are left out.
        groups: What each run belongs to.
        weights: How often each group is drawn, by resample.

    Returns:
        Percentile interval; not a number if there are no such pairs.
    """
    kept = kept & distinct(groups) & np.isfinite(values)
    if not kept.any():
        return Interval(np.nan, np.nan, np.nan)
    members = (groups[:, None] == np.unique(groups)).astype(float)
    sums = members.T @ np.where(kept, values, 0.0) @ members
    counts = members.T @ kept.astype(float) @ members
    pairs = ((weights @ counts) * weights).sum(axis=1)
    means = ((weights @ sums) * weights).sum(axis=1)[pairs > 0] / pairs[pairs > 0]
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high))
