"""TwoNN finds the dimension of manifolds that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindseye.errors import SampleError
from mindseye.readouts.geometry import intrinsic_dimension
from tests.readouts.geometry.clouds import cloud, permuted, rng, rotated, scaled, shifted
from tests.strategies import seeds


@pytest.mark.parametrize("n_dims", [1, 2, 4])
def test_a_flat_sheet_has_its_own_dimension_in_a_large_space(n_dims):
    sheet = rng(n_dims).uniform(size=(1000, n_dims))
    placed = sheet @ rng(9).standard_normal((n_dims, 300))
    assert intrinsic_dimension(placed) == pytest.approx(n_dims, rel=0.12)


def test_a_bent_sheet_has_two_dimensions_though_it_fills_three():
    draw = rng(1)
    turn, height = draw.uniform(1.5 * np.pi, 4.5 * np.pi, 1500), draw.uniform(0, 20, 1500)
    roll = np.stack([turn * np.cos(turn), height, turn * np.sin(turn)], axis=1)
    assert intrinsic_dimension(roll) == pytest.approx(2, rel=0.12)


def test_few_points_in_many_dimensions_are_underestimated():
    found = intrinsic_dimension(rng().standard_normal((200, 3584)))
    assert found < 500


@pytest.mark.parametrize("motion", [rotated, scaled, shifted, permuted])
@given(seed=seeds)
@settings(max_examples=20)
def test_it_does_not_notice_rotation_scale_shift_and_order(motion, seed):
    rows = cloud(seed, n=30, d=5)
    found = intrinsic_dimension(motion(rows, seed))
    assert found == pytest.approx(intrinsic_dimension(rows), rel=1e-6)


@given(seeds, st.integers(1, 3))
@settings(max_examples=20)
def test_copies_of_vectors_change_nothing(seed, n_copies):
    rows = cloud(seed, n=20, d=4)
    with_copies = np.vstack([rows, *[rows[:7]] * n_copies])
    assert intrinsic_dimension(with_copies) == pytest.approx(intrinsic_dimension(rows))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.ones((9, 3)), "1 different vectors"),
        (np.eye(3)[[0, 1, 2] * 4], "3 different vectors"),
        (np.eye(9), "equally far apart"),
    ],
)
def test_what_has_no_dimension_is_refused(rows, words):
    with pytest.raises(SampleError, match=words):
        intrinsic_dimension(rows)
