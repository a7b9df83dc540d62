"""CKA, RSA and Procrustes against the slow way, under motions, and on independent vectors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import procrustes as disparity
from scipy.spatial.distance import pdist

from mindseye.errors import SampleError
from mindseye.readouts.geometry import cka, procrustes_distance, rsa
from mindseye.readouts.geometry.cka import u_centred
from tests.readouts.geometry.clouds import (
    cloud,
    permuted,
    related,
    rng,
    rotated,
    scaled,
    shifted,
    stretched,
)
from tests.strategies import seeds

MEASURES = {
    "cka debiased": cka,
    "cka biased": lambda x, y: cka(x, y, debiased=False),
    "rsa": lambda x, y: rsa(x, y, n_permutations=1, rng=rng()).value,
    "procrustes": procrustes_distance,
}
named = pytest.mark.parametrize("name", MEASURES)


@named
@pytest.mark.parametrize("motion", [rotated, scaled, shifted])
@given(seed=seeds)
def test_alignment_does_not_notice_rotating_scaling_and_shifting_a_side(name, motion, seed):
    x = cloud(seed)
    y = related(seed, x)
    plain = MEASURES[name](x, y)
    assert MEASURES[name](motion(x, seed), y) == pytest.approx(plain, abs=1e-7)
    assert MEASURES[name](x, motion(y, seed)) == pytest.approx(plain, abs=1e-7)


@named
@given(seed=seeds)
def test_alignment_is_symmetric_and_does_not_notice_a_common_order(name, seed):
    x = cloud(seed)
    y = related(seed, x)
    plain = MEASURES[name](x, y)
    assert MEASURES[name](y, x) == pytest.approx(plain, abs=1e-7)
    assert MEASURES[name](permuted(x, seed), permuted(y, seed)) == pytest.approx(plain, abs=1e-7)


@named
def test_alignment_notices_stretching_and_an_order_of_one_side(name):
    x = cloud(2, n=20)
    y = related(2, x)
    plain = MEASURES[name](x, y)
    assert abs(MEASURES[name](stretched(x, 2), y) - plain) > 1e-3
    assert abs(MEASURES[name](permuted(x, 2), y) - plain) > 0.05


@named
@given(seed=seeds)
def test_vectors_are_fully_aligned_with_themselves(name, seed):
    x = cloud(seed)
    wanted = 0 if name == "procrustes" else 1
    assert MEASURES[name](x, rotated(x, seed)) == pytest.approx(wanted, abs=1e-6)


@given(seeds, st.integers(4, 7))
@settings(max_examples=15)
def test_unbiased_hsic_is_the_mean_over_all_quadruples_of_runs(seed, n):
    k, m = (rows @ rows.T for rows in (cloud(seed, n=n), cloud(seed + 1, n=n)))
    each = [
        k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
        for i, j, q, r in itertools.permutations(range(n), 4)
    ]
    ours = np.vdot(u_centred(k), u_centred(m)) / (n * (n - 3))
    assert ours == pytest.approx(np.mean(each), rel=1e-8, abs=1e-8 * np.abs(each).mean())


@given(seeds, st.integers(4, 12))
@settings(max_examples=20)
def test_debiased_cka_is_songs_formula(seed, n):
    x, y = cloud(seed, n=n), cloud(seed + 1, n=n)

    def hsic(k, m):
        k, m = (each - np.diag(np.diag(each)) for each in (k, m))
        ones = np.ones(n)
        trace = np.trace(k @ m)
        sums = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        return (trace + sums - 2 / (n - 2) * ones @ k @ m @ ones) / (n * (n - 3))

    k, m = x @ x.T, y @ y.T
    slow = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    assert cka(x, y) == pytest.approx(slow, abs=1e-8)


@given(seeds)
def test_biased_cka_is_kornbliths_formula_over_dimensions(seed):
    x = cloud(seed)
    y = related(seed, x)
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    slow = np.linalg.norm(b.T @ a) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert cka(x, y, debiased=False) == pytest.approx(slow)


def test_independent_vectors_look_aligned_to_biased_cka_and_not_to_debiased():
    found = [
        (cka(x, y), cka(x, y, debiased=False))
        for x, y in (rng(seed).standard_normal((2, 100, 2000)) for seed in range(5))
    ]
    debiased, biased = np.mean(found, axis=0)
    assert abs(debiased) < 0.02
    assert biased > 0.94


def test_debiased_cka_is_zero_on_average_over_independent_vectors():
    found = [cka(*rng(seed).standard_normal((2, 20, 10))) for seed in range(400)]
    assert abs(np.mean(found)) < 3 * stats.sem(found)
    biased = [cka(*rng(seed).standard_normal((2, 20, 10)), debiased=False) for seed in range(50)]
    assert np.mean(biased) > 0.2


@given(seeds)
def test_rsa_is_spearmans_correlation_of_distances(seed):
    x = cloud(seed)
    y = related(seed, x)
    slow = stats.spearmanr(pdist(x), pdist(y)).statistic
    assert MEASURES["rsa"](x, y) == pytest.approx(slow, abs=1e-8)


def independent(seed, n=12):
    return rng(seed).standard_normal((n, 2)), rng(seed + 10**6).standard_normal((n, 3))


def test_mantels_p_is_uniform_on_independent_vectors_where_the_ordinary_one_is_not():
    mantel, ordinary = [], []
    for seed in range(300):
        x, y = independent(seed, n=30)
        mantel.append(rsa(x, y, n_permutations=99, rng=rng(seed)).p_value)
        ordinary.append(stats.spearmanr(pdist(x), pdist(y), alternative="greater").pvalue)
    assert stats.kstest(mantel, "uniform").pvalue > 0.01
    assert np.mean(np.array(mantel) <= 0.05) < 0.09
    assert np.mean(np.array(ordinary) <= 0.05) > 0.12


def test_mantels_p_is_small_for_related_vectors_and_never_zero():
    x = cloud(0, n=25)
    assert rsa(x, related(0, x), n_permutations=99, rng=rng()).p_value == 0.01


def test_groups_that_move_whole_keep_mantels_p_honest():
    """Pairs of runs share a vector in both clouds; taken as runs, that looks like a relation."""
    whole, single = [], []
    groups = [str(i // 2) for i in range(20)]
    for seed in range(120):
        x, y = (
            np.repeat(each[:10], 2, axis=0) + 0.1 * rng(seed + 5).standard_normal((20, 1))
            for each in independent(seed)
        )
        whole.append(rsa(x, y, groups=groups, n_permutations=49, rng=rng(seed)).p_value)
        single.append(rsa(x, y, n_permutations=49, rng=rng(seed)).p_value)
    assert np.mean(np.array(whole) <= 0.1) < 0.2
    assert np.mean(np.array(single) <= 0.1) > 0.35


@given(seeds)
def test_procrustes_is_that_of_scipy_without_its_scaling(seed):
    x = cloud(seed, d=7)
    y = related(seed, x)
    alignment = 1 - procrustes_distance(x, y) ** 2 / 2  # the nuclear norm of X'Y
    assert 1 - alignment**2 == pytest.approx(disparity(x, y)[2], abs=1e-8)


def test_no_rotation_of_a_plane_beats_procrustes():
    rows = cloud(4, n=9, d=2)
    x, y = (each - each.mean(axis=0) for each in (rows, rows @ [[1.0, 0.4], [0.0, 0.7]]))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    angles = np.linspace(0, 2 * np.pi, 2000)
    turns = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]])
    turns = np.concatenate([turns, turns * np.array([1, -1])[:, None, None]], axis=2)
    best = min(np.linalg.norm(x - y @ turn) for turn in np.moveaxis(turns, 2, 0))
    assert procrustes_distance(x, y) == pytest.approx(best, abs=1e-5)
    assert procrustes_distance(x, y) <= best + 1e-12


def test_independent_vectors_of_many_dimensions_are_near_in_procrustes():
    x, y = rng().standard_normal((2, 100, 3584))
    assert procrustes_distance(x, y) < 0.3
    few_x, few_y = rng().standard_normal((2, 500, 5))
    assert procrustes_distance(few_x, few_y) > 1.1


@named
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (cloud(0, n=11), "two of every run"),
        (np.ones((12, 5)), "alike|equally far"),
        (np.full((12, 5), np.nan), "no finite numbers"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_what_cannot_be_aligned_is_refused(name, x, words):
    with pytest.raises(SampleError, match=words):
        MEASURES[name](x, cloud(1))
    with pytest.raises(SampleError, match=words):
        MEASURES[name](cloud(1), x)


@pytest.mark.parametrize("name", ["cka debiased", "cka biased", "rsa"])
def test_three_runs_are_too_few(name):
    with pytest.raises(SampleError, match="at least 4 runs"):
        MEASURES[name](cloud(0, n=3), cloud(1, n=3))


@pytest.mark.parametrize("name", ["cka debiased", "rsa"])
def test_vectors_that_are_all_equally_far_apart_have_nothing_to_align(name):
    with pytest.raises(SampleError, match="equally"):
        MEASURES[name](np.eye(6), cloud(0, n=6))
