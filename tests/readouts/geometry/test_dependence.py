"""Dependence of any shape is seen, and its p-value is honest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist

from mindseye.errors import SampleError
from mindseye.readouts.geometry import cka, dependence
from tests.readouts.geometry.clouds import (
    cloud,
    permuted,
    rng,
    rotated,
    scaled,
    shifted,
    stretched,
)
from tests.strategies import seeds

LABELS = [str(i % 3) for i in range(12)]


def of(rows, factor, groups=None, n_permutations=99, seed=0):
    return dependence(rows, factor, groups=groups, n_permutations=n_permutations, rng=rng(seed))


@given(seeds, st.integers(4, 9))
def test_the_statistic_is_szekelys_bias_corrected_distance_correlation(seed, n):
    def centred(a):
        out = np.zeros((n, n))
        for i in range(n):
            for j in range(n):
                if i != j:
                    rows = a[i].sum() / (n - 2) + a[:, j].sum() / (n - 2)
                    out[i, j] = a[i, j] - rows + a.sum() / ((n - 1) * (n - 2))
        return out

    x, y = cloud(seed, n=n, d=6), cloud(seed + 1, n=n, d=2)
    a, b = centred(cdist(x, x)), centred(cdist(y, y))
    slow = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    assert of(x, y, n_permutations=1).value == pytest.approx(slow, abs=1e-8)


@pytest.mark.parametrize("motion", [rotated, scaled, shifted])
@given(seed=seeds)
def test_it_does_not_notice_rotation_scale_and_shift(motion, seed):
    rows = cloud(seed)
    plain = of(rows, LABELS)
    moved = of(motion(rows, seed), LABELS)
    assert moved.value == pytest.approx(plain.value, abs=1e-7)


def test_it_notices_stretching_and_another_order():
    rows = cloud(0) + 9 * np.array(LABELS, dtype=float)[:, None]
    assert abs(of(stretched(rows, 0), LABELS).value - of(rows, LABELS).value) > 1e-3
    assert of(permuted(rows, 1), LABELS).value < of(rows, LABELS).value - 0.3


def test_latents_that_ignore_labels_have_uniform_p_and_a_mean_of_zero():
    held = [of(rng(seed).standard_normal((12, 8)), LABELS) for seed in range(300)]
    values = [each.value for each in held]
    assert abs(np.mean(values)) < 3.5 * stats.sem(values)
    assert stats.kstest([each.p_value for each in held], "uniform").pvalue > 0.01


def test_latents_that_spell_out_labels_depend_on_them():
    assert of(np.eye(3)[np.arange(12) % 3] + 0.01 * cloud(0, d=3), LABELS).value > 0.9


def test_a_dependence_without_any_linear_part_is_seen_and_cka_does_not_see_it():
    angle = rng(0).uniform(0, 2 * np.pi, 100)
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    factor = np.stack([np.cos(2 * angle)], axis=1)
    assert of(rows, factor).p_value == 0.01
    assert abs(cka(rows, factor)) < 0.1


def test_a_change_of_spread_alone_is_seen():
    labels = [str(i % 2) for i in range(100)]
    rows = rng(1).standard_normal((100, 5)) * np.where(np.arange(100) % 2, 4, 1)[:, None]
    assert of(rows, labels).p_value == 0.01


def test_groups_move_whole():
    """Runs of an image are alike and share an answer; that alone is no dependence on answers."""
    groups = [str(i // 5) for i in range(40)]
    answers = [str(i // 5 % 2) for i in range(40)]
    whole, single = [], []
    for seed in range(60):
        rows = np.repeat(rng(seed).standard_normal((8, 3)), 5, axis=0)
        rows = rows + 0.3 * rng(seed + 999).standard_normal((40, 3))
        whole.append(of(rows, answers, groups, n_permutations=49).p_value <= 0.1)
        single.append(of(rows, answers, n_permutations=49).p_value <= 0.1)
    assert np.mean(whole) < 0.25
    assert np.mean(single) > 0.4


def test_groups_of_all_different_sizes_cannot_be_exchanged():
    groups = ["a"] + ["b"] * 2 + ["c"] * 3 + ["d"] * 6
    assert of(cloud(0), LABELS, groups).p_value == 1


@pytest.mark.parametrize(
    ("rows", "factor", "words"),
    [
        (cloud(0), LABELS[:3], "12 vectors and 3 values"),
        (cloud(0), ["a"] * 12, "factor are of one kind"),
        (cloud(0), [str(i) for i in range(12)], "factor are of one kind"),
        (np.ones((12, 3)), LABELS, "vectors are of one kind"),
        (cloud(0, n=3), ["a", "b", "a"], "at least 4 runs"),
        (cloud(0), np.full(12, np.nan), "no finite numbers"),
    ],
)
def test_what_cannot_depend_is_refused(rows, factor, words):
    with pytest.raises(SampleError, match=words):
        of(rows, factor)
