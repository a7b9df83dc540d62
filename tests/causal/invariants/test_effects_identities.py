"""What the six effects are to each other, over random weights, masks and inputs, at every level."""

from dataclasses import replace

import numpy as np
import pytest

from mindseye.causal import EFFECTS, effects
from mindseye.engine import Branch, dose_response
from mindseye.reasoners import Knockout
from tests.causal.invariants.measuring import (
    answered,
    assert_refuted,
    assert_same,
    cells,
    effects_of,
    elsewhere,
    mediator,
    plain,
    taken,
)
from tests.causal.invariants.systems import LEVELS, dozen, over_systems, served

pytestmark = pytest.mark.model

UNSEEN = (Knockout("latents", "prefix"), Knockout("start", "prefix"))
"""The latents start from nothing that has read the input."""


@over_systems()
def test_the_plain_difference_is_direct_and_indirect_in_either_order(system):
    reference, clean = plain(system)
    found, whole = effects_of(system), np.full(len(LEVELS), clean - reference)
    assert_same(found["te"], whole)
    assert_same(found["pde"] + found["tie"], whole)
    assert_same(found["tde"] + found["pie"], whole)


def test_pure_effects_do_not_add_up_to_the_plain_difference():
    """They miss the interaction, which no random weights are without."""
    found = [effects_of(system) for system in dozen()]
    assert_refuted([each["pde"] + each["pie"] - each["te"] for each in found])


def patched(system, level):
    """What the clean run's mediator does to the reference run."""
    with served(system) as pairs:
        rows = dose_response(system.runs[0].reasoner, pairs, level=level, doses=(1.0,))
    return rows["effect"].item()


@over_systems()
def test_the_interaction_is_what_denoising_and_noising_disagree_by(system):
    level = LEVELS[system.dice % len(LEVELS)]
    denoising, noising = patched(system, level), -patched(system.swapped, level)
    found = effects_of(system)
    assert_same(found["int"][LEVELS.index(level)], noising - denoising)
    assert_same(found["int"], found["tie"] - found["pie"])
    assert_same(found["int"], found["tde"] - found["pde"])


def test_denoising_alone_does_not_tell_what_noising_would_do():
    found = [effects_of(system) for system in dozen()]
    assert_refuted([each["tie"] - each["pie"] for each in found])


@over_systems()
def test_swapping_the_inputs_swaps_pure_and_total_and_turns_signs(system):
    found, swapped = effects_of(system), effects_of(system.swapped)
    assert_same(swapped["te"], -found["te"])
    assert_same(swapped["pde"], -found["tde"])
    assert_same(swapped["pie"], -found["tie"])
    assert_same(swapped["int"], found["int"])


def test_a_pure_effect_does_not_merely_turn_its_sign():
    """As it would if, like the total effect, it treated both inputs alike."""
    found = [effects_of(system) for system in dozen()]
    swapped = [effects(cells(system)[:, ::-1, ::-1]) for system in dozen()]
    for name in ("pde", "pie"):
        assert_refuted([one[name] + other[name] for one, other in zip(found, swapped, strict=True)])


def controlled(system, pinned):
    """CDE(z*): what the input does while the mediator is pinned to each of these."""
    reference, clean = (
        np.array(answered(system, held, [Branch(edits) for edits in pinned]))
        for held in taken(system, LEVELS)
    )
    return clean - reference


def anywhere(system, scale):
    """A z* of every level that no run has."""
    reference, _ = taken(system, LEVELS)
    return [elsewhere(mediator(reference, level), system.dice, scale) for level in LEVELS]


@over_systems()
def test_the_total_effect_has_four_parts_wherever_the_mediator_is_pinned(system):
    """Pinned to a run's own mediator, INTref is known: nothing, or all of the interaction."""
    own = [mediator(held, level) for held in taken(system, LEVELS) for level in LEVELS]
    cde = controlled(system, [*anywhere(system, 10 ** (system.dice % 3 - 1)), *own])
    at_random, at_reference, at_clean = cde.reshape(3, len(LEVELS))
    found = effects_of(system)
    four = at_random + (found["pde"] - at_random) + found["int"] + found["pie"]
    reference, clean = plain(system)
    assert_same(four, np.full(len(LEVELS), clean - reference))
    assert_same(found["pde"] - at_reference, np.zeros(len(LEVELS)))
    assert_same(found["pde"] - at_clean, -found["int"])


def test_three_parts_do_not_add_up_unless_the_mediator_is_pinned_to_the_references():
    """Without INTref(z*) the wrong twin takes CDE(z*) for PDE."""
    misses = []
    for system in dozen():
        found = effects_of(system)
        three = controlled(system, anywhere(system, 1.0)) + found["int"] + found["pie"]
        misses.append(three - found["te"])
    assert_refuted(misses)


@over_systems()
def test_equal_inputs_have_no_effect_of_any_kind(system):
    same = replace(system, words=system.words[:1] * 2, pictures=system.pictures[:1] * 2)
    for effect in effects_of(same, ("kv",)).values():
        assert_same(effect, [0])


def test_different_inputs_have_effects_of_every_kind():
    found = [effects_of(system) for system in dozen()]
    for name in EFFECTS:
        assert_refuted([each[name] for each in found])


@over_systems(wiring=UNSEEN)
def test_latents_that_the_input_does_not_move_leave_only_a_direct_effect(system):
    reference, clean = system.runs
    assert_same(reference.fed_latents, clean.fed_latents)
    found = effects_of(system, ("embedding", "kv"))
    for name in ("pie", "tie", "int"):
        assert_same(found[name], [0, 0])
    assert_same(found["pde"], found["te"])


def test_latents_that_only_may_not_read_the_input_are_moved_by_a_marker_that_did():
    """The first latent is the start marker's state, so cutting the latents' edges cuts too few."""
    moved = dozen(wiring=UNSEEN[:1])
    assert_refuted([effects_of(system, ("kv",))["pie"] for system in moved])
