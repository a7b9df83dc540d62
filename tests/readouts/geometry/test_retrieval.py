"""A vector finds its own run if it knows it, and is at chance if it does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindseye.errors import SampleError
from mindseye.readouts.geometry import retrieval
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


def numbers(held):
    return np.array([held.top_1.mean(), held.top_5.mean(), held.rank.mean()])


@given(seeds, st.integers(2, 15))
def test_identical_vectors_always_find_themselves(seed, n):
    rows = cloud(seed, n=n)
    assert numbers(retrieval(rows, rows)) == pytest.approx(np.ones(3))


def test_independent_vectors_find_themselves_as_often_as_chance_does():
    held = [retrieval(*rng(seed).standard_normal((2, 40, 30))) for seed in range(50)]
    assert held[0].chance_1 == pytest.approx(1 / 40)
    assert held[0].chance_5 == pytest.approx(5 / 40)
    found = np.mean([numbers(each) for each in held], axis=0)
    assert found[0] == pytest.approx(1 / 40, abs=4 * np.sqrt(1 / 40 / 2000))
    assert found[1] == pytest.approx(5 / 40, abs=4 * np.sqrt(5 / 40 / 2000))
    assert found[2] == pytest.approx(0.5, abs=0.03)


def test_noise_makes_retrieval_fall_from_always_to_chance():
    rows = rng().standard_normal((60, 30))
    noise = rng(1).standard_normal((60, 30))
    ranks = [retrieval(rows + much * noise, rows).rank.mean() for much in (0, 1, 3, 100)]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[0] == 1
    assert ranks[-1] < 0.65


@given(seeds, st.integers(6, 12))
def test_ranks_are_those_of_sorting_one_by_one(seed, n):
    queries, gallery = cloud(seed, n=n), cloud(seed + 1, n=n)
    held = retrieval(queries, gallery)
    a, b = queries - queries.mean(axis=0), gallery - gallery.mean(axis=0)
    for i in range(n):
        near = [a[i] @ b[j] / np.linalg.norm(a[i]) / np.linalg.norm(b[j]) for j in range(n)]
        place = sorted(near, reverse=True).index(near[i])
        assert held.top_1[i] == (place < 1)
        assert held.top_5[i] == (place < 5)
        assert held.rank[i] == pytest.approx(1 - place / (n - 1))


@given(seeds)
def test_both_sides_may_turn_together_and_each_may_shift_and_scale(seed):
    queries = cloud(seed)
    gallery = queries + cloud(seed + 1)
    plain = numbers(retrieval(queries, gallery))
    for moved in (
        (rotated(queries, seed), rotated(gallery, seed)),
        (permuted(queries, seed), permuted(gallery, seed)),
        (scaled(queries, seed), shifted(gallery, seed)),
        (shifted(queries, seed), scaled(gallery, seed)),
    ):
        assert numbers(retrieval(*moved)) == pytest.approx(plain)


def test_turning_or_reordering_one_side_is_noticed():
    rows = cloud(0, n=30)
    assert numbers(retrieval(permuted(rows, 0), rows))[0] < 0.2
    assert numbers(retrieval(rotated(rows, 0), rows))[0] < 0.5
    near = rows + 2 * cloud(1, n=30)
    assert retrieval(stretched(rows, 0), near).rank.tolist() != retrieval(rows, near).rank.tolist()


@pytest.mark.parametrize("n", [3, 10])
def test_constant_vectors_are_exactly_at_chance(n):
    held = retrieval(np.ones((n, 8)), cloud(0, n=n, d=8))
    assert held.top_1 == pytest.approx(np.full(n, 1 / n))
    assert held.top_5 == pytest.approx(np.full(n, min(5 / n, 1)))
    assert held.rank == pytest.approx(np.full(n, 0.5))
    assert held.top_1.mean() == pytest.approx(held.chance_1)


def test_vectors_of_a_few_kinds_share_their_hits():
    kinds = rng().standard_normal((3, 10))[np.arange(12) % 3]
    assert retrieval(kinds, kinds).top_1 == pytest.approx(np.full(12, 1 / 4))


def test_other_runs_of_a_group_are_no_rivals():
    """Both questions on an image make the same latents; only other images compete."""
    rows = np.repeat(rng().standard_normal((8, 10)), 2, axis=0)
    groups = [str(i // 2) for i in range(16)]
    assert retrieval(rows, rows).top_1 == pytest.approx(np.full(16, 0.5))
    held = retrieval(rows, rows, groups=groups)
    assert held.top_1 == pytest.approx(np.ones(16))
    assert held.chance_1 == pytest.approx(1 / 15)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("gallery", "groups", "words"),
    [
        (cloud(0, n=11), None, "in one space"),
        (cloud(0, d=19), None, "in one space"),
        (np.full((12, 20), np.inf), None, "no finite numbers"),
        (cloud(0), ["a"] * 12, "belong to one group"),
        (cloud(0), ["a"], "12 runs came with 1 groups"),
    ],
)
def test_what_cannot_be_retrieved_is_refused(gallery, groups, words):
    with pytest.raises(SampleError, match=words):
        retrieval(cloud(0), gallery, groups=groups)


@settings(max_examples=20)
@given(seeds)
def test_a_gallery_is_not_changed(seed):
    rows = cloud(seed)
    held = rows.copy()
    retrieval(rows, rows)
    np.testing.assert_array_equal(rows, held)
