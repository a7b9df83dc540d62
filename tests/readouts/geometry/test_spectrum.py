"""Ranks: their order, their bounds, and what theory predicts of Gaussian clouds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindseye.errors import SampleError
from mindseye.readouts.geometry import spectrum
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

SOFT = (
    "effective_rank_of_singular_values",
    "effective_rank_of_eigenvalues",
    "participation_ratio",
    "stable_rank",
)
shapes = st.tuples(st.integers(2, 14), st.integers(1, 25))


@given(seeds, shapes, st.booleans())
def test_every_definition_lies_between_one_and_the_rank_in_this_order(seed, shape, centred):
    held = spectrum(cloud(seed, *shape), centred=centred)
    n, d = shape
    assert held.rank <= min(n - centred, d)
    values = [held.rank, *(getattr(held, name) for name in SOFT), 1]
    for above, below in itertools.pairwise(values):
        assert above >= below - 1e-9
    assert 1 <= held.components(0.9) <= held.components(1.0) <= held.rank


@given(seeds, shapes)
def test_numbers_are_those_of_the_covariance(seed, shape):
    rows = cloud(seed, *shape)
    values = np.linalg.eigvalsh(np.atleast_2d(np.cov(rows.T)))
    values = values[values > 1e-10 * values.max()]
    held = spectrum(rows)
    assert held.rank == len(values)
    assert held.participation_ratio == pytest.approx(values.sum() ** 2 / (values**2).sum())
    assert held.stable_rank == pytest.approx(values.sum() / values.max())
    for name, shares in (
        ("effective_rank_of_eigenvalues", values / values.sum()),
        ("effective_rank_of_singular_values", np.sqrt(values) / np.sqrt(values).sum()),
    ):
        assert getattr(held, name) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("motion", [rotated, scaled, shifted, permuted])
@given(seed=seeds)
def test_a_centred_spectrum_does_not_notice_rotation_scale_shift_and_order(name, motion, seed):
    rows = cloud(seed)
    found = getattr(spectrum(motion(rows, seed)), name)
    assert found == pytest.approx(getattr(spectrum(rows), name), rel=1e-6)


@pytest.mark.parametrize("name", SOFT)
def test_it_notices_stretching_and_an_uncentred_one_notices_shifts(name):
    rows = cloud(1)
    plain = getattr(spectrum(rows), name)
    assert abs(getattr(spectrum(stretched(rows, 1)), name) / plain - 1) > 0.01
    far = getattr(spectrum(rows + 1000, centred=False), name)
    assert far < 1.2 < plain


@pytest.mark.parametrize("name", SOFT)
def test_equal_directions_count_fully_in_every_definition(name):
    rows = np.vstack([np.eye(6), -np.eye(6)])
    assert getattr(spectrum(rows), name) == pytest.approx(6)


@pytest.mark.parametrize(("n", "d"), [(100, 3584), (100, 100), (400, 50)])
def test_isotropic_gaussians_have_the_participation_ratio_that_theory_predicts(n, d):
    held = [rng(seed).standard_normal((n, d)) for seed in range(3)]
    raw = np.mean([spectrum(rows, centred=False).participation_ratio for rows in held])
    centred = np.mean([spectrum(rows).participation_ratio for rows in held])
    assert raw == pytest.approx(n * d / (n + d + 1), rel=0.01)
    assert centred == pytest.approx((n - 1) * d / (n + d), rel=0.01)
    assert raw != pytest.approx(d, rel=0.01)  # what infinitely many vectors would show


def test_definitions_disagree_about_one_strong_direction_in_noise():
    rows = rng().standard_normal((100, 1000))
    rows[:, 0] *= 20
    held = spectrum(rows)
    assert held.effective_rank_of_singular_values > 80
    assert 40 < held.effective_rank_of_eigenvalues < 70
    assert 8 < held.participation_ratio < 20
    assert held.stable_rank < 5


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.ones((5, 8)), "all alike"),
        (np.full((1, 8), 2.0), "at least 2 runs"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), "no finite numbers, first in row 0"),
    ],
)
def test_what_has_no_spectrum_is_refused(rows, words):
    with pytest.raises(SampleError, match=words):
        spectrum(rows)


def test_constant_vectors_have_one_direction_until_they_are_centred():
    assert spectrum(np.ones((5, 8)), centred=False).rank == 1
    with pytest.raises(SampleError, match="all 0"):
        spectrum(np.zeros((5, 8)), centred=False)
