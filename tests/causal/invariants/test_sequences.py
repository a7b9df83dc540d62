"""Slots forced one after another, re-rolled and shared out."""

import functools

import numpy as np
import pytest

from mindseye.engine import slot_effects
from mindseye.reasoners import Edit
from tests.causal.invariants.measuring import assert_refuted, assert_same, cells
from tests.causal.invariants.systems import (
    LEVELS,
    N_SLOTS,
    SLOT_LEVELS,
    dozen,
    over_systems,
    served,
    twins,
)

pytestmark = pytest.mark.model


@functools.cache
def by_slot(system, level="embedding"):
    with served(system) as pairs:
        rows = slot_effects(system.runs[0].reasoner, pairs, level=level)
    return rows.set_index(["way", "slot"])["effect"]


def joint(system, level="embedding"):
    """PIE, from the cells: all slots at once, frozen."""
    found = cells(system)[LEVELS.index(level)]
    return found[0, 1] - found[0, 0]


def forced(system, *fed):
    """The reference run decoded again with its slots forced to these vectors."""
    said = twins(system).said[1]
    edits = [[Edit("hook_embed", said.latent_positions, each)] for each in fed]
    return said.reasoner.replay(said, edits, mode="closed_loop")


@over_systems()
def test_forcing_all_slots_is_the_frozen_joint_swap_and_forcing_own_ones_the_run_itself(system):
    reference, clean = system.runs
    own, other = forced(system, reference.fed_latents, clean.fed_latents)
    assert_same(own.logits, twins(system).said[1].logits)
    assert_same(other.fed_latents, clean.fed_latents)
    effects = by_slot(system)
    assert_same(effects["prefix", N_SLOTS], joint(system))
    assert_same(effects["prefix", 0], 0)


def test_forcing_all_slots_but_the_last_is_not_the_joint_swap():
    """The last slot is made again, from the reference input."""
    assert_refuted([by_slot(each)["prefix", N_SLOTS - 1] - joint(each) for each in dozen()])


@over_systems()
def test_steps_of_the_prefix_curve_add_up_to_the_joint_effect(system):
    """The first is a re-rolled slot, the last a frozen one in the clean run's company."""
    effects = by_slot(system)
    curve = effects["prefix"].sort_index().to_numpy()
    assert_same(np.diff(curve).sum(), joint(system))
    assert_same(curve[1], effects["rerolled", 0])
    assert_same(effects["rerolled", N_SLOTS - 1], effects["frozen", N_SLOTS - 1])


@over_systems()
def test_shapley_shares_add_up_to_the_joint_effect(system):
    level = SLOT_LEVELS[system.dice % len(SLOT_LEVELS)]
    effects = by_slot(system, level)
    assert_same(effects["joint", -1], joint(system, level))
    assert_same(effects["shapley"].sum(), joint(system, level))


@pytest.mark.parametrize("way", ["frozen", "rerolled"])
def test_single_slots_do_not_add_up_to_the_joint_effect(way):
    assert_refuted([by_slot(each)[way].sum() - joint(each) for each in dozen()])
