"""Rows lose dimensions without losing inner products, and transforms do what they are called."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from mindseye.readouts.geometry import TRANSFORMS, cosines, transformed
from mindseye.readouts.geometry.rows import Cloud, reduced
from tests.readouts.geometry.clouds import cloud, rng, rotated, scaled, shifted, stretched
from tests.strategies import seeds

shapes = st.tuples(st.integers(3, 12), st.integers(1, 30))

UNMOVED = {
    "raw": (rotated, scaled),
    "centred": (rotated, scaled, shifted),
    "z-scored": (scaled, shifted, stretched),
    "without top": (rotated, scaled, shifted),
}
"""What the cosines after each transform must not notice."""

NOTICED = {
    "raw": (shifted, stretched),
    "centred": (stretched,),
    "z-scored": (rotated,),
    "without top": (stretched,),
}


def mean_cosine(rows, how):
    every = cosines(transformed(rows, how, n_top=2))
    return every[~np.eye(len(rows), dtype=bool)].mean()


@given(seeds, shapes)
def test_fewer_coordinates_keep_every_inner_product(seed, shape):
    rows = cloud(seed, *shape)
    small = reduced(rows)
    assert small.shape == (len(rows), min(rows.shape))
    np.testing.assert_allclose(small @ small.T, rows @ rows.T, atol=1e-9 * (rows**2).sum())


@pytest.mark.parametrize("how", TRANSFORMS)
@given(seed=seeds)
def test_a_reduced_cloud_has_the_cosines_of_the_whole_one(how, seed):
    rows = cloud(seed)
    np.testing.assert_allclose(
        cosines(Cloud.of(rows).transformed(how, 2)),
        cosines(transformed(rows, how, n_top=2)),
        atol=1e-8,
    )


@pytest.mark.parametrize("how", TRANSFORMS)
@given(seed=seeds)
def test_joined_clouds_are_the_cloud_of_vectors_put_one_after_the_other(how, seed):
    parts = [cloud(seed, d=15), cloud(seed + 1, d=3), cloud(seed + 2, d=15)]
    joined = Cloud.joined([Cloud.of(rows) for rows in parts])
    assert joined.n_dims == 33
    np.testing.assert_allclose(
        cosines(joined.transformed(how, 2)),
        cosines(transformed(np.hstack(parts), how, n_top=2)),
        atol=1e-8,
    )


@given(seeds)
def test_cosines_are_those_of_scipy(seed):
    rows = cloud(seed)
    np.testing.assert_allclose(cosines(rows), 1 - cdist(rows, rows, "cosine"), atol=1e-12)


@pytest.mark.parametrize(
    ("how", "motion"), [(how, motion) for how in TRANSFORMS for motion in UNMOVED[how]]
)
@given(seed=seeds)
def test_cosines_do_not_notice_what_their_transform_takes_out(how, motion, seed):
    rows = cloud(seed)
    assert mean_cosine(motion(rows, seed), how) == pytest.approx(mean_cosine(rows, how), abs=1e-8)


@pytest.mark.parametrize(
    ("how", "motion"), [(how, motion) for how in TRANSFORMS for motion in NOTICED[how]]
)
def test_cosines_notice_what_it_leaves(how, motion):
    moved = [
        np.abs(
            cosines(transformed(motion(rows, 7), how, n_top=2))
            - cosines(transformed(rows, how, n_top=2))
        ).max()
        for rows in map(cloud, range(5))
    ]
    assert min(moved) > 1e-3


@pytest.mark.parametrize("how", ["centred", "z-scored", "without top"])
def test_the_mean_cosine_of_centred_vectors_is_minus_one_over_the_others(how):
    rows = rng().standard_normal((40, 2000)) + 10
    assert mean_cosine(rows, how) == pytest.approx(-1 / 39, abs=1e-3)
    assert mean_cosine(rows, "raw") == pytest.approx(100 / 101, abs=0.01)  # mean^2 / (mean^2 + 1)


def test_without_top_takes_out_just_the_top_components():
    rows = cloud(3, n=30, d=8)
    left = transformed(rows, "without top", n_top=2)
    axes = PCA(8).fit(rows).components_
    np.testing.assert_allclose(left @ axes[:2].T, 0, atol=1e-9)
    np.testing.assert_allclose(
        left @ axes[2:].T, (rows - rows.mean(axis=0)) @ axes[2:].T, atol=1e-9
    )


def test_one_rogue_dimension_makes_cosines_high_until_it_is_taken_out():
    rows = rng().standard_normal((50, 100))
    rows[:, 7] += 100
    assert mean_cosine(rows, "raw") > 0.98
    assert abs(mean_cosine(rows, "centred")) < 0.05
    rows[:, 7] = np.where(np.arange(50) % 2, 100, -100)  # now it varies, too
    assert np.abs(cosines(transformed(rows, "centred"))).mean() > 0.9
    assert np.abs(cosines(transformed(rows, "without top", n_top=1))).mean() < 0.2
    assert np.abs(cosines(transformed(rows, "z-scored"))).mean() < 0.2


@pytest.mark.parametrize("how", ["centred", "z-scored", "without top"])
def test_of_constant_vectors_nothing_is_left_and_no_cosine(how):
    rows = np.tile(rng().standard_normal(50), (7, 1)) * 1e3
    assert not transformed(rows, how).any()
    assert np.isnan(cosines(transformed(rows, how))).all()
    assert cosines(rows) == pytest.approx(np.ones((7, 7)))


def test_taking_out_every_component_leaves_nothing():
    assert not transformed(cloud(0, n=4), "without top", n_top=3).any()
    assert transformed(cloud(0, n=5), "without top", n_top=3).any()


def test_transforms_leave_their_argument_alone():
    rows = cloud(0)
    held = rows.copy()
    for how in TRANSFORMS:
        transformed(rows, how)
    np.testing.assert_array_equal(rows, held)
