"""Shuffles keep groups whole, and intervals over pairs know that pairs share runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindseye.readouts.geometry.chance import (
    distinct,
    indexed,
    p_value,
    pair_interval,
    resamples,
    shuffles,
)
from mindseye.readouts.geometry.rows import cosines
from tests.readouts.geometry.clouds import rng
from tests.strategies import seeds

groupings = st.lists(st.sampled_from("abcdef"), min_size=4, max_size=14).filter(
    lambda groups: len(set(groups)) > 1
)


@given(groupings, seeds)
def test_a_shuffle_moves_whole_groups_into_places_of_equally_large_ones(groups, seed):
    index = indexed(groups, len(groups))
    for order in shuffles(index, 5, rng(seed)):
        assert sorted(order) == list(range(len(groups)))
        for each in np.unique(index):
            taken = index[order[index == each]]
            assert len(set(taken)) == 1
            assert (index == taken[0]).sum() == (index == each).sum()


def test_without_groups_every_order_is_as_likely():
    orders = shuffles(np.arange(3), 6000, rng())
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert counts.min() > 850


@given(groupings, seeds)
def test_the_mean_over_pairs_is_that_of_all_pairs_of_different_groups(groups, seed):
    n, index = len(groups), indexed(groups, len(groups))
    values = rng(seed).standard_normal((n, n))
    values = values + values.T
    held = pair_interval(values, np.ones((n, n), bool), index, resamples(index, rng(seed)))
    pairs = [values[i, j] for i in range(n) for j in range(n) if groups[i] != groups[j]]
    assert held.mean == pytest.approx(np.mean(pairs))
    assert held.low <= held.high


def test_intervals_over_pairs_hold_the_true_cosine_as_often_as_they_say():
    """Of vectors around a mean of the same length as their noise, whose cosine is 1/2."""
    hits, naive = 0, 0
    for seed in range(150):
        rows = rng(seed).standard_normal((30, 400)) + 1.0
        scale = 1 + 0.5 * rng(seed + 500).standard_normal((30, 1))
        rows = 1.0 + scale * (rows - 1.0)
        truth = np.mean(1 / np.sqrt(1 + (1 + 0.5 * rng(0).standard_normal(10**5)) ** 2)) ** 2
        every = cosines(rows)
        index = np.arange(30)
        held = pair_interval(every, distinct(index), index, resamples(index, rng(seed)))
        hits += held.low <= truth <= held.high
        pairs = every[np.triu_indices(30, 1)]
        naive += abs(pairs.mean() - truth) <= 1.96 * pairs.std() / np.sqrt(len(pairs))
    assert 0.88 <= hits / 150 <= 0.99
    assert naive / 150 < 0.6


def test_pairs_that_do_not_exist_have_no_mean():
    index = np.arange(4)
    weights = resamples(index, rng())
    held = pair_interval(np.full((4, 4), np.nan), np.ones((4, 4), bool), index, weights)
    assert np.isnan([held.mean, held.low, held.high]).all()


def test_p_counts_the_data_themselves_and_ties():
    assert p_value(3.0, np.array([1.0, 2.0, 4.0])) == 0.5
    assert p_value(3.0, np.array([1.0, 2.0, 3.0])) == 0.5
    assert p_value(9.0, np.array([1.0, 2.0, 3.0])) == 0.25
