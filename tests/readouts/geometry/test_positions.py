"""Runs become one array only if they have equally many slots; windows are pieces of runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindseye.errors import SampleError
from mindseye.readouts.geometry import stack, windows
from tests.readouts.geometry.clouds import rng
from tests.strategies import seeds


def run(length, d=3, begin=0):
    """Position p of a run holds p in every dimension."""
    return np.tile(np.arange(begin, begin + length, dtype=np.float32)[:, None], (1, d))


def test_runs_of_equal_shape_are_stacked_in_double_precision():
    held = stack([run(4), run(4, begin=9)])
    assert held.shape == (2, 4, 3)
    assert held.dtype == np.float64
    assert held[1, 0, 0] == 9


@given(st.lists(st.integers(5, 12), min_size=1, max_size=6), st.integers(1, 5), seeds)
def test_windows_are_neighbouring_positions_from_anywhere(lengths, n_slots, seed):
    held = windows([run(length) for length in lengths], n_slots, rng=rng(seed))
    assert held.shape == (len(lengths), n_slots, 3)
    assert (np.diff(held, axis=1) == 1).all()
    assert (held.max(axis=(1, 2)) < lengths).all()


def test_windows_begin_at_every_place():
    held = windows([run(6)] * 200, 4, rng=rng())
    assert set(held[:, 0, 0]) == {0, 1, 2}


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([], "got runs of shapes none"),
        ([run(4), run(5)], r"shapes \(4, 3\), \(5, 3\)"),
        ([run(4)[0]], "expected equal ones"),
    ],
)
def test_runs_that_differ_in_their_slots_are_refused(runs, words):
    with pytest.raises(SampleError, match=words):
        stack(runs)


@pytest.mark.parametrize(
    ("runs", "n_slots", "words"),
    [
        ([run(9), run(3)], 4, "run 1 has 3 positions only"),
        ([], 4, "windows got 0 runs"),
        ([run(9)], 0, "n_slots=0"),
    ],
)
def test_runs_too_short_for_a_window_are_refused(runs, n_slots, words):
    with pytest.raises(SampleError, match=words):
        windows(runs, n_slots, rng=rng())
