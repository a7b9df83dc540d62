"""The decomposition, and the intervals around it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mindseye.causal import EFFECTS, bootstrap_mean, effects

cells = arrays(np.float64, st.tuples(st.integers(1, 5), st.just(2), st.just(2)),
               elements=st.floats(-50, 50))  # fmt: skip
close = pytest.approx


@given(cells)
def test_the_total_effect_splits_in_both_ways(y):
    e = effects(y)
    np.testing.assert_allclose(e["te"], e["pde"] + e["tie"], atol=1e-9)
    np.testing.assert_allclose(e["te"], e["tde"] + e["pie"], atol=1e-9)


@given(cells)
def test_the_interaction_is_what_the_two_directions_disagree_by(y):
    e = effects(y)
    np.testing.assert_allclose(e["int"], e["tie"] - e["pie"], atol=1e-9)
    np.testing.assert_allclose(e["int"], e["tde"] - e["pde"], atol=1e-9)


def test_pure_effects_alone_do_not_add_up():
    e = effects(np.array([[[0.0, 1.0], [1.0, 1.0]]]))  # image OR latents
    assert e["pde"] + e["pie"] != close(e["te"])


@given(cells)
def test_swapping_the_two_inputs_swaps_pure_and_total(y):
    e, swapped = effects(y), effects(y[:, ::-1, ::-1])
    np.testing.assert_allclose(swapped["te"], -e["te"], atol=1e-9)
    np.testing.assert_allclose(swapped["pde"], -e["tde"], atol=1e-9)
    np.testing.assert_allclose(swapped["pie"], -e["tie"], atol=1e-9)
    np.testing.assert_allclose(swapped["int"], e["int"], atol=1e-9)


@pytest.mark.parametrize(
    ("mechanism", "expected"),
    [
        ([[0, 1], [0, 1]], {"pde": 0, "tie": 1, "tde": 0, "pie": 1, "int": 0}),  # latents only
        ([[0, 0], [1, 1]], {"pde": 1, "tie": 0, "tde": 1, "pie": 0, "int": 0}),  # image only
        ([[0, 1], [1, 1]], {"pde": 1, "tie": 0, "tde": 0, "pie": 1, "int": -1}),  # OR
        ([[0, 0], [0, 1]], {"pde": 0, "tie": 1, "tde": 1, "pie": 0, "int": 1}),  # AND
        ([[0, 1], [1, 0]], {"pde": 1, "tie": -1, "tde": -1, "pie": 1, "int": -2}),  # XOR
    ],
)
def test_boolean_mechanisms_give_the_textbook_effects(mechanism, expected):
    found = effects(np.array([mechanism], dtype=float))
    assert {name: found[name].item() for name in expected} == expected


def test_every_effect_is_named_once():
    assert set(effects(np.zeros((1, 2, 2)))) == set(EFFECTS)


def test_equal_values_have_an_interval_of_no_width():
    interval = bootstrap_mean(np.full(8, 0.1), rng=np.random.default_rng(0))
    assert interval.low == interval.mean == interval.high


def test_one_value_has_no_interval():
    interval = bootstrap_mean(np.ones(1), rng=np.random.default_rng(0))
    assert (interval.low, interval.high) == (-np.inf, np.inf)


def test_equal_generators_give_equal_intervals():
    values = np.random.default_rng(1).normal(size=30)
    first, second = (bootstrap_mean(values, rng=np.random.default_rng(0)) for _ in range(2))
    assert first == second


def test_intervals_cover_the_true_mean_about_as_often_as_they_say():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        interval = bootstrap_mean(rng.normal(2.0, 1.0, size=40), rng=rng)
        hits += interval.low <= 2.0 <= interval.high
    # 200 draws at 95 %: fewer than 180 or all 200 would be a one in a thousand event.
    assert 180 <= hits < 200
