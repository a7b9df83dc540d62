"""Folds that keep groups whole, and shuffles that keep folds as they are."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from mindseye.readouts.geometry.chance import shuffles
from mindseye.readouts.probes.samples import N_FOLDS

__all__ = ["Split", "folds", "within"]

Split = tuple[Int[np.ndarray, " _train"], Int[np.ndarray, " _test"]]


def folds(
    labels: Int[np.ndarray, " samples"],
    groups: Int[np.ndarray, " samples"],
    *,
    seed: int,
    n_folds: int = N_FOLDS,
) -> list[Split]:
    """Split samples so that groups stay whole and labels are spread evenly, where possible.

    Returns:
        Splits into train and test, of which every sample is in one test; none if there are fewer
        groups than folds.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    if len(np.unique(groups)) < n_folds:
        return []
    even = np.bincount(labels).max() >= n_folds
    way = StratifiedGroupKFold if even else GroupKFold
    with warnings.catch_warnings():  # a label that is rarer than folds is spread as far as it goes
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        drawn = way(n_folds, shuffle=True, random_state=seed).split(labels, labels, groups)
        return [(train, test) for train, test in drawn if len(test)]


def within(
    splits: Sequence[Split],
    groups: Int[np.ndarray, " samples"],
    times: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, "times samples"]:
    """Return permutations of samples in which groups of one size change places within their fold.

    Each fold keeps its labels, so that folds are no less even than before, and its vectors, so that
    whatever was fitted on vectors alone stays as it is. If vectors and labels are independent,
    every one of these orders is as likely as the order found.
    """
    drawn = np.tile(np.arange(len(groups)), (times, 1))
    for _, test in splits:
        drawn[:, test] = test[shuffles(groups[test], times, rng)]
    return drawn
