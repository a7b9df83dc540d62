"""Folds keep groups whole; shuffles keep folds as they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindseye.readouts.probes.folds import folds, within
from tests.strategies import seeds


@st.composite
def grouped(draw):
    rng = np.random.default_rng(draw(seeds))
    n, n_groups = int(rng.integers(20, 60)), int(rng.integers(5, 15))
    groups = np.unique(np.r_[np.arange(n_groups), rng.integers(n_groups, size=n)])
    groups = np.r_[groups, rng.integers(n_groups, size=n)]
    return rng.integers(3, size=len(groups)), groups, draw(seeds) % 1000


@given(grouped())
def test_no_group_is_split_and_every_sample_is_tested_once(drawn):
    labels, groups, seed = drawn
    splits = folds(labels, groups, seed=seed)
    for train, test in splits:
        assert not set(groups[train]) & set(groups[test])
        assert len(train) + len(test) == len(labels)
    assert sorted(np.concatenate([test for _, test in splits])) == list(range(len(labels)))


def test_plain_folds_would_split_groups():
    from sklearn.model_selection import StratifiedKFold

    groups, labels = np.arange(60) // 3, np.arange(60) % 2
    splits = StratifiedKFold(5, shuffle=True, random_state=0).split(labels, labels)
    assert any(set(groups[train]) & set(groups[test]) for train, test in splits)


@given(grouped())
def test_shuffles_keep_every_folds_labels_and_every_groups_company(drawn):
    labels, groups, seed = drawn
    splits = folds(labels, groups, seed=seed)
    for order in within(splits, groups, 3, np.random.default_rng(seed)):
        for _, test in splits:
            assert sorted(order[test]) == sorted(test)
        for group in np.unique(groups):
            assert len(np.unique(groups[order[groups == group]])) == 1


def test_shuffles_move_samples_that_are_alone():
    splits = folds(np.arange(50) % 2, np.arange(50), seed=0)
    orders = within(splits, np.arange(50), 20, np.random.default_rng(0))
    assert (orders != np.arange(50)).mean() > 0.8


def test_too_few_groups_make_no_folds():
    assert folds(np.arange(8) % 2, np.arange(8) % 4, seed=0) == []


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_folds_are_about_equally_rich_in_each_label(share):
    labels = (np.arange(100) < 100 * share).astype(int)
    shares = [labels[test].mean() for _, test in folds(labels, np.arange(100), seed=0)]
    assert np.ptp(shares) <= 0.05
