"""Intervals of accuracies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from mindseye.readouts.probes.shares import share_interval


@given(st.lists(st.booleans(), min_size=2, max_size=60))
def test_independent_samples_have_the_exact_binomial_interval(right):
    found = share_interval(np.array(right), np.arange(len(right)))
    exact = binomtest(sum(right), len(right)).proportion_ci()
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-6)


@given(st.lists(st.booleans(), min_size=5, max_size=20))
def test_copies_of_samples_add_nothing(right):
    """Each sample three times is worth no more than once, and never as much as three."""
    alone = share_interval(np.array(right), np.arange(len(right)))
    groups = np.repeat(np.arange(len(right)), 3)
    copied = share_interval(np.repeat(right, 3), groups)
    naive = share_interval(np.repeat(right, 3), np.arange(len(groups)))
    assert copied.mean == pytest.approx(alone.mean)
    assert copied.high - copied.low >= naive.high - naive.low
    assert copied.high - copied.low >= 0.8 * (alone.high - alone.low)


@pytest.mark.parametrize("right", [True, False])
def test_groups_that_are_all_right_or_all_wrong_leave_room(right):
    found = share_interval(np.full(60, right), np.arange(60) // 3)
    exact = binomtest(20 * right, 20).proportion_ci()
    assert found.high - found.low >= 0.8 * (exact.high - exact.low)
    assert 0 <= found.low <= found.mean <= found.high <= 1
