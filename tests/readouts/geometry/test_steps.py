"""Steps along the slots: their length, and what they make of a nudge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindseye.errors import SampleError
from mindseye.readouts.geometry import contraction, drift
from tests.readouts.geometry.clouds import rng, rotated, scaled, shifted
from tests.strategies import seeds


def latents(seed, n=5, slots=4, d=6):
    return rng(seed).standard_normal((n, slots, d))


@given(seeds)
def test_drift_is_the_relative_length_of_each_step(seed):
    held = latents(seed)
    steps = drift(held)
    assert steps.shape == (5, 3)
    for run in range(5):
        for k in range(3):
            step = np.linalg.norm(held[run, k + 1] - held[run, k])
            assert steps[run, k] == pytest.approx(step / np.linalg.norm(held[run, k]))


@given(seeds)
def test_drift_notices_shifts_but_not_rotation_or_scale(seed):
    held = latents(seed)
    assert drift(rotated(held, seed)) == pytest.approx(drift(held))
    assert drift(scaled(held, seed)) == pytest.approx(drift(held))
    assert not np.allclose(drift(shifted(held, seed)), drift(held))


def test_slots_that_stand_still_do_not_drift_and_one_slot_makes_no_step():
    assert not drift(np.ones((3, 4, 5))).any()
    assert drift(latents(0, slots=1)).shape == (5, 0)


def test_a_step_away_from_zero_has_no_relative_length():
    held = latents(0)
    held[2, 1] = 0
    assert np.isnan(drift(held)[2, 1])
    assert np.isfinite(drift(held)).sum() == 14


@given(seeds, st.floats(0.1, 3), st.integers(0, 2))
def test_contraction_is_the_factor_of_a_linear_step(seed, factor, at):
    """z_{k+1} = factor * R z_k, nudged at one slot."""
    draw = rng(seed)
    turn = np.linalg.qr(draw.standard_normal((6, 6)))[0]

    def unroll(first, push):
        slots = [first]
        for k in range(4):
            slots[-1] = slots[-1] + (k == at) * push
            slots.append(factor * slots[-1] @ turn)
        return np.stack(slots[:4], axis=1)

    first, push = draw.standard_normal((2, 5, 6))
    held = contraction(unroll(first, 0 * push), unroll(first, 1e-3 * push))
    assert np.isnan(held[:, :at]).all()
    assert held[:, at:] == pytest.approx(np.full((5, 3 - at), factor), rel=1e-6)


def test_a_nudge_that_later_slots_ignore_is_forgotten_at_once():
    held = latents(0)
    nudged = held.copy()
    nudged[:, 1] += 0.1
    found = contraction(held, nudged)
    assert np.isnan(found[:, [0, 2]]).all()
    assert not found[:, 1].any()


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("nudged", "words"),
    [(latents(0), "no nudge fired"), (latents(0, slots=3), "the same runs and slots")],
)
def test_what_is_no_nudge_is_refused(nudged, words):
    with pytest.raises(SampleError, match=words):
        contraction(latents(0), nudged)
