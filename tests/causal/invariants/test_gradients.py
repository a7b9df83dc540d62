"""Attributions that are exact: affine readouts, paths that add up, and both ends of a dose."""

import pytest

from mindseye.engine import attribute, dose_response
from mindseye.readouts import logit_difference
from tests.causal.invariants.measuring import assert_refuted, assert_same, cells
from tests.causal.invariants.systems import LEVELS, N_LAYERS, dozen, over_systems, served

pytestmark = pytest.mark.model

AFTER = [
    ("latents", "attn.hook_v"),
    ("post", "attn.hook_z"),
    ("post", "hook_resid_mid"),
    ("post", "hook_mlp_out"),
    ("post", "hook_resid_post"),
]
"""What the logits are an affine function of, where all after the last attention is affine."""


def squared(logits, parting):
    """An outcome that is no affine function of anything."""
    return logit_difference(logits, parting).square()


def attributed(system, at="latents", hook="attn.hook_v", **asked):
    """Attributions of one hook of the last layer, each with its exact effect."""
    with served(system) as pairs:
        return attribute(
            system.runs[0].reasoner,
            pairs,
            at=at,
            hooks=(hook,),
            layers=(N_LAYERS - 1,),
            top=100,
            **asked,
        )


@over_systems(affine=True)
def test_a_gradient_is_the_exact_effect_where_the_readout_is_affine(system):
    """Slot by slot, and so for all at once: affine effects add up."""
    at, hook = AFTER[system.dice % len(AFTER)]
    found = attributed(system, at, hook)
    assert_same(found.rows["attribution"], found.rows["exact"])
    assert_same(found.completeness["total"], found.completeness["joint"])


def test_a_gradient_is_not_the_exact_effect_where_a_norm_follows():
    rows = [attributed(system, "post", "hook_resid_post").rows for system in dozen()]
    assert_refuted([each["attribution"] - each["exact"] for each in rows])


@over_systems(affine=True)
def test_integrated_gradients_add_up_to_the_joint_effect(system):
    """Of an affine readout's square the gradient is affine on the way: any midpoints will do."""
    at, hook = AFTER[system.dice % len(AFTER)]
    for steps in (1, 3):
        found = attributed(system, at, hook, method="integrated", steps=steps, outcome=squared)
        assert_same(found.completeness["total"], found.completeness["joint"])


def test_a_gradient_at_the_start_does_not_add_up():
    found = [
        attributed(system, "post", "hook_resid_post", outcome=squared).completeness
        for system in dozen(affine=True)
    ]
    assert_refuted([each["residual"] for each in found])


@over_systems()
def test_of_any_readout_the_residual_is_gone_as_steps_grow(system):
    """By the order of the midpoint rule: four times as many leave a sixteenth."""
    few, many = (
        attributed(system, method="integrated", steps=steps).completeness["residual"].item()
        for steps in (64, 256)
    )
    assert abs(many) < 1e-3
    assert many == pytest.approx(few / 16, rel=0.1, abs=1e-7)


def dosed(system, level, *doses):
    with served(system) as pairs:
        rows = dose_response(system.runs[0].reasoner, pairs, level=level, doses=doses)
    return rows["effect"].to_numpy()


@over_systems()
def test_no_dose_does_nothing_and_a_whole_one_is_the_pure_indirect_effect(system):
    level = LEVELS[system.dice % len(LEVELS)]
    y = cells(system)[LEVELS.index(level)]
    assert_same(dosed(system, level, 0.0, 1.0), [0, y[0, 1] - y[0, 0]])


def test_half_a_dose_is_not_half_the_effect():
    effects = [dosed(system, "kv", 0.5, 1.0) for system in dozen()]
    assert_refuted([half - whole / 2 for half, whole in effects])
