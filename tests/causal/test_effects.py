"""The decomposition into natural effects, and the controlled ones beside it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mindseye.causal import ALIASES, EFFECTS, NAMES, controlled, effects
from mindseye.causal.effects import effect_name
from mindseye.errors import UnknownNameError

values = st.floats(-50, 50)
sizes = st.integers(1, 5)
cells = sizes.flatmap(lambda n: arrays(np.float64, (n, 2, 2), elements=values))
under_a_pin = sizes.flatmap(
    lambda n: st.tuples(
        arrays(np.float64, (n, 2, 2), elements=values), arrays(np.float64, (n, 2), elements=values)
    )
)
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
    assert set(effects(np.zeros((1, 2, 2)))) == set(EFFECTS) == set(NAMES)


def test_pearls_names_are_aliases_and_others_are_refused_with_what_there_is():
    assert {alias: effect_name(alias) for alias in ALIASES} == {"nde": "pde", "nie": "pie"}
    assert all(effect_name(name) == name for name in EFFECTS)
    with pytest.raises(UnknownNameError, match="te, pde, tde, pie, tie, int"):
        effect_name("ate")


@given(under_a_pin)
def test_the_total_effect_splits_in_four_under_any_pin(given_):
    """VanderWeele's identity: controlled direct, reference interaction, interaction, indirect."""
    y, pinned = given_
    e, c = effects(y), controlled(y, pinned)
    four = c["cde"] + c["intref"] + e["int"] + e["pie"]
    np.testing.assert_allclose(four, e["te"], atol=1e-9)


@given(cells)
def test_pinned_to_a_runs_own_mediator_controlled_effects_are_natural_ones(y):
    e = effects(y)
    at_reference, at_clean = controlled(y, y[:, :, 0]), controlled(y, y[:, :, 1])
    np.testing.assert_allclose(at_reference["cde"], e["pde"], atol=1e-9)
    np.testing.assert_allclose(at_reference["intref"], 0, atol=1e-9)
    np.testing.assert_allclose(at_reference["nec"], e["tie"], atol=1e-9)
    np.testing.assert_allclose(at_clean["cde"], e["tde"], atol=1e-9)
    np.testing.assert_allclose(at_clean["nec"], 0, atol=1e-9)


def test_what_is_lost_under_another_pin_is_no_indirect_effect():
    """Latents that nothing distinguishes may still be needed."""
    y, silenced = np.array([[[0.0, 0.0], [5.0, 5.0]]]), np.array([[0.0, 0.0]])
    assert effects(y)["tie"] == 0
    assert controlled(y, silenced)["nec"] == 5
