"""Intervals, equivalence, permutation and answers: what statistics must do on known data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from mindseye.causal import (
    Margin,
    compare_answers,
    corrected,
    equivalent,
    interval,
    needed_clusters,
    needed_items,
    ratio_interval,
    share,
    sign_flip,
    smallest_detectable,
)
from mindseye.causal.intervals import clustered
from mindseye.errors import SampleError

values = arrays(np.float64, st.integers(2, 30), elements=st.floats(-50, 50))


def rng(seed=0):
    return np.random.default_rng(seed)


def grouped(n_clusters=30, size=5, icc=0.6, mean=0.0, seed=0):
    """Values of clusters whose members share much of their noise."""
    draw = rng(seed)
    common = draw.standard_normal(n_clusters) * np.sqrt(icc)
    own = draw.standard_normal((n_clusters, size)) * np.sqrt(1 - icc)
    return (common[:, None] + own + mean).ravel(), np.repeat(np.arange(n_clusters), size).tolist()


@settings(max_examples=30)
@given(values)
def test_an_interval_holds_the_mean_and_follows_shifts(x):
    found = interval(x, rng=rng())
    assert found.mean == pytest.approx(x.mean())
    assert found.low <= found.mean + 1e-9
    moved = interval(x + 7, rng=rng())
    assert moved.low == pytest.approx(found.low + 7, rel=1e-3, abs=1e-3)


def test_clusters_widen_an_interval_that_takes_pairs_for_independent():
    x, clusters = grouped()
    naive, honest = interval(x, rng=rng()), interval(x, clusters, rng=rng())
    assert honest.high - honest.low > 1.5 * (naive.high - naive.low)


def test_coverage_is_near_what_is_aimed_at():
    hits = 0
    for seed in range(200):
        x, clusters = grouped(n_clusters=25, size=4, seed=seed)
        found = interval(x, clusters, rng=rng(seed))
        hits += found.low <= 0 <= found.high
    assert 0.90 <= hits / 200 <= 0.99


@pytest.mark.parametrize("n_clusters", [2, 3])
def test_few_clusters_have_wide_intervals_not_narrow_ones(n_clusters):
    hits = 0
    for seed in range(100):
        x = rng(seed).standard_normal(n_clusters)
        found = interval(x, rng=rng(seed))
        hits += found.low <= 0 <= found.high
    assert hits / 100 > 0.85


@pytest.mark.parametrize("n_clusters", [4, 6])
def test_a_handful_of_clusters_still_covers(n_clusters):
    hits = 0
    for seed in range(200):
        x = rng(seed).standard_normal(n_clusters)
        found = interval(x, rng=rng(seed))
        hits += found.low <= 0 <= found.high
    assert hits / 200 > 0.88


def test_equal_generators_give_equal_intervals():
    x = rng(1).standard_normal(30)
    assert interval(x, rng=rng()) == interval(x, rng=rng()) != interval(x, rng=rng(5))


def test_odd_data_give_odd_intervals_and_no_error():
    assert interval(np.ones(5), rng=rng()) == interval(np.ones(5), rng=rng(1))
    assert interval(np.ones(5), rng=rng()).high == 1
    assert interval(np.array([1.0, 2.0]), ["a", "a"], rng=rng()).low == -np.inf
    assert np.isnan(interval(np.array([1.0, np.nan]), rng=rng()).mean)


def test_the_clustered_variance_is_the_plain_one_for_clusters_of_one():
    x = rng().standard_normal(40)
    assert clustered(x, None).covariance[0, 0] == pytest.approx(x.var(ddof=1) / 40)


def test_a_ratio_is_of_means_and_refused_where_the_denominator_may_be_zero():
    te = 2 + rng().standard_normal(60) * 0.5
    pie = 0.25 * te + rng(1).standard_normal(60) * 0.05
    found = ratio_interval(pie, te)
    assert found is not None
    assert found.mean == pytest.approx(pie.mean() / te.mean())
    assert found.low < 0.25 < found.high
    assert ratio_interval(pie, te - te.mean()) is None
    assert ratio_interval(pie[:1], te[:1]) is None


def test_fiellers_interval_covers():
    hits = 0
    for seed in range(300):
        te = 2 + rng(seed).standard_normal(30)
        found = ratio_interval(0.5 * te + 0.3 * rng(seed + 999).standard_normal(30), te)
        hits += found is not None and found.low <= 0.5 <= found.high
    assert 0.91 <= hits / 300 <= 0.98


def test_two_one_sided_tests_are_the_intervals_inclusion():
    x, clusters = grouped(n_clusters=60)
    for margin in (0.05, 0.2, 0.5, 1.0):
        found = equivalent(x, np.full_like(x, margin), clusters)
        inside = interval(x, clusters, rng=rng(), level=0.9)
        assert found.absent == (-margin < inside.low and inside.high < margin)


def test_at_the_margin_the_clustered_test_keeps_its_size_and_the_naive_one_does_not():
    honest = naive = 0
    for seed in range(150):
        x, clusters = grouped(n_clusters=40, mean=0.3, seed=seed)
        bounds = np.full_like(x, 0.3)
        honest += equivalent(x, bounds, clusters, seed=seed).absent
        naive += equivalent(x, bounds, None, seed=seed).absent
    assert honest / 150 <= 0.08
    assert naive / 150 > 2 * honest / 150
    assert naive / 150 > 0.1


def test_an_effect_beyond_the_margin_is_present_and_one_between_is_neither():
    x, clusters = grouped(n_clusters=60, mean=1.0)
    assert equivalent(x, np.full_like(x, 0.2), clusters).present
    found = equivalent(x, np.full_like(x, 1.0), clusters)
    assert not found.present
    assert not found.absent


def test_a_margin_is_a_share_of_te_but_never_below_what_is_claimed_or_noise():
    te = np.array([8.0, 12.0])
    assert Margin(0.1).bounds(te).tolist() == pytest.approx([0.8, 1.2])
    assert Margin(0.1).bounds(-te).tolist() == pytest.approx([0.8, 1.2])
    assert Margin(0.1, absolute=3.0).bounds(te).tolist() == [3.0, 3.0]
    assert Margin(0.1, floor=2.0).bounds(te).tolist() == [2.0, 2.0]


@pytest.mark.parametrize("wrong", [{"share_of_te": 0.0}, {"absolute": -1.0}, {"floor": -1.0}])
def test_margins_that_mean_nothing_are_refused(wrong):
    with pytest.raises(SampleError, match="margin"):
        Margin(**wrong)


def test_power_formulas_give_the_published_numbers():
    """10 % discordance, 80 % power: 8,560, 2,140 and 950 items for 1, 2 and 3 points."""
    found = [needed_items(0.1, margin) for margin in (0.01, 0.02, 0.03)]
    assert found == pytest.approx([8560, 2140, 950], rel=0.005)
    assert needed_items(0.1, 0.02, per_cluster=5, icc=0.5) == pytest.approx(3 * 2141, abs=3)
    assert needed_clusters(1.0, 0.5) == 36  # 35 if the spread were known


def test_the_smallest_detectable_effect_is_detected_about_as_often_as_said():
    x, clusters = grouped(n_clusters=40)
    least = smallest_detectable(x, clusters)
    hits = 0
    for seed in range(200):
        drawn, names = grouped(n_clusters=40, mean=least, seed=seed + 1)
        held = clustered(drawn, names)
        t = held.means[0] / np.sqrt(held.covariance[0, 0])
        hits += abs(t) > stats.t.ppf(0.975, 39)
    assert 0.65 <= hits / 200 <= 0.95
    assert smallest_detectable(x, ["one"] * len(x)) == np.inf


def test_a_map_has_its_true_cell_found_and_its_false_ones_held():
    effects = rng(2).standard_normal((40, 12))
    effects[:, 5] += 1.5
    p = sign_flip(effects, rng=rng())
    assert p[5] < 0.01
    assert (np.delete(p, 5) > 0.05).all()


def test_family_wise_error_is_held_over_maps_of_nothing():
    false = sum(
        sign_flip(rng(seed).standard_normal((20, 15)), rng=rng(seed)).min() < 0.05
        for seed in range(200)
    )
    assert false / 200 <= 0.09


def test_few_clusters_are_flipped_in_every_way():
    effects = np.ones((4, 1))
    assert sign_flip(effects, rng=rng())[0] == 2 / 16
    assert sign_flip(np.zeros((4, 1)), rng=rng())[0] == 1


def test_corrections_are_the_textbook_ones():
    p = [0.01, 0.02, 0.03, 0.5]
    assert corrected(p).tolist() == pytest.approx([0.04, 0.06, 0.06, 0.5])
    assert corrected(p, "bh").tolist() == pytest.approx([0.04, 0.04, 0.04, 0.5])


def test_shares_have_exact_bounds():
    assert share(0, 299).high < 0.0123
    assert share(0, 299).low == 0
    assert share(7, 7).high == 1


def test_equal_accuracies_can_hide_flips():
    gold = list("aaaaaaaa")
    found = compare_answers(list("aaaabbbb"), list("bbbbaaaa"), gold)
    assert (found.both, found.only_first, found.only_second, found.neither) == (0, 4, 4, 0)
    assert found.flip_rate.mean == 1
    assert found.p_value == 1
