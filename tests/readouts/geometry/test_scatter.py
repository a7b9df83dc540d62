"""Scatter between images and under placebos: unbiased, honest, and blind to what it should be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mindseye.errors import SampleError
from mindseye.readouts.geometry import scatter
from tests.readouts.geometry.clouds import cloud, rng, rotated
from tests.strategies import seeds


def layout(seed, n=20, d=5, sets=3, image=0.0, noise=1.0):
    """Runs and placebos: what the image makes of a vector, and noise of its own in each set."""
    draw = rng(seed)
    every = image * draw.standard_normal((n, d)) + noise * draw.standard_normal((sets, n, d))
    return every[0], every[1:]


def measured(latents, placebos, seed=0, groups=None, n_permutations=99):
    return scatter(latents, placebos, groups=groups, n_permutations=n_permutations, rng=rng(seed))


@given(seeds, st.integers(1, 3))
@settings(max_examples=30)
def test_scatters_are_those_of_a_two_way_table(seed, n_placebos):
    latents, placebos = layout(seed, image=1.0, sets=1 + n_placebos)
    every = np.concatenate([latents[None], placebos])
    every = every - every.mean(axis=1, keepdims=True)
    n = len(latents)
    between = np.mean([np.trace(np.cov(rows.T)) for rows in every])
    residual = every - every.mean(axis=0)
    within = (residual**2).sum() / (n_placebos * (n - 1))
    held = measured(latents, placebos, n_permutations=1)
    assert held.between == pytest.approx(between)
    assert held.within == pytest.approx(within)
    assert held.ratio.mean == pytest.approx(between / within)


def test_both_are_unbiased():
    held = [measured(*layout(seed, image=2.0), n_permutations=1) for seed in range(400)]
    between = [each.between for each in held]
    within = [each.within for each in held]
    assert np.mean(between) == pytest.approx(5 * (4 + 1), abs=4 * stats.sem(between))
    assert np.mean(within) == pytest.approx(5, abs=4 * stats.sem(within))


def test_latents_that_do_not_know_their_image_have_a_ratio_of_one_and_uniform_p():
    held = [measured(*layout(seed)) for seed in range(200)]
    ratios = [each.ratio.mean for each in held]
    assert np.mean(ratios) == pytest.approx(1, abs=0.03)
    assert stats.kstest([each.p_value for each in held], "uniform").pvalue > 0.01
    covered = np.mean([each.ratio.low <= 1 <= each.ratio.high for each in held])
    assert 0.9 <= covered <= 0.99


def test_latents_that_know_their_image_have_a_large_ratio_and_a_small_p():
    held = measured(*layout(0, image=3.0))
    assert held.ratio.low > 4
    assert held.p_value == 0.01


@given(seeds)
@settings(max_examples=20)
def test_turning_and_scaling_all_sets_and_shifting_each_change_nothing(seed):
    latents, placebos = layout(seed, image=1.0)
    plain = measured(latents, placebos)
    turned = measured(rotated(latents, seed), rotated(placebos, seed))
    assert turned.ratio.mean == pytest.approx(plain.ratio.mean)
    for scale in (1e-9, 7.0):
        found = measured(scale * latents, scale * placebos)
        assert found.ratio.mean == pytest.approx(plain.ratio.mean)
        assert found.p_value == plain.p_value
    moved = measured(latents + 3, placebos + rng(seed).standard_normal((2, 1, 5)))
    assert (moved.ratio.mean, moved.p_value) == pytest.approx((plain.ratio.mean, plain.p_value))


def test_another_order_of_placebos_is_noticed():
    latents, placebos = layout(0, image=3.0)
    assert measured(latents, placebos[:, ::-1]).ratio.mean < 2


def test_groups_widen_the_interval():
    """Ten runs of an image, say, whose placebos are noisy together."""
    draw = rng(3)
    loud = np.repeat(np.exp(draw.standard_normal(8)), 10)[:, None]
    latents = 3 * draw.standard_normal((80, 5))
    placebos = (latents + loud * draw.standard_normal((80, 5)))[None]
    groups = [str(i // 10) for i in range(80)]
    alone = measured(latents, placebos).ratio
    together = measured(latents, placebos, groups=groups).ratio
    assert together.mean == pytest.approx(alone.mean)
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_placebos_that_change_nothing_make_the_ratio_infinite():
    rows = cloud(0)
    held = measured(rows, np.stack([rows, rows]))
    assert held.within == 0
    assert held.ratio.low == np.inf
    assert held.p_value == 0.01


def test_latents_that_never_change_have_no_ratio():
    rows = np.ones((6, 4))
    held = measured(rows, rows[None])
    assert np.isnan(held.ratio.mean)
    assert held.p_value == 1


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("placebos", "words"),
    [
        (cloud(0), "expected \\(placebos, runs, dims\\)"),
        (cloud(0)[None, :5], "the same runs and dims"),
        (np.empty((0, 12, 20)), "expected \\(placebos, runs, dims\\)"),
        (np.full((1, 12, 20), np.nan), "placebo 0 has entries"),
    ],
)
def test_what_are_no_placebos_is_refused(placebos, words):
    with pytest.raises(SampleError, match=words):
        measured(cloud(0), placebos)
