"""Subspaces, outcomes and equivalence."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mindseye.causal import equivalent, interval
from mindseye.engine import Branch, compute
from mindseye.engine.levels import transplant
from mindseye.readouts.outcomes import log_probability, logit_difference
from tests.causal.invariants.measuring import (
    answered,
    assert_refuted,
    assert_same,
    cells,
    mediator,
    taken,
)
from tests.causal.invariants.systems import dozen, over_systems, twins

LEVEL = "residual:1"


def swapped(system, basis):
    """What the reference run answers with the clean mediator in the span of a basis' columns."""
    reference, clean = taken(system, (LEVEL,))
    (own,), (other,) = mediator(reference, LEVEL), transplant(LEVEL, clean, reference.trace)
    value = own.value + (other.value - own.value) @ basis @ basis.T
    return answered(system, reference, [Branch([replace(own, value=value)])])[0]


def directions(system):
    """As many orthonormal directions as there are, and as many that are not."""
    width = twins(system).clean.embeds.shape[1]
    draw = torch.Generator().manual_seed(system.dice)
    oblique = torch.randn(width, width, generator=draw, dtype=torch.float64)
    return torch.linalg.qr(oblique).Q, oblique / oblique.norm(dim=0)


@pytest.mark.model
@over_systems()
def test_swapping_every_direction_is_the_full_swap_and_none_is_none(system):
    orthonormal, _ = directions(system)
    ((own, full), _) = cells(system, (LEVEL,))[0]
    assert_same(swapped(system, orthonormal), full)
    assert_same(swapped(system, orthonormal[:, :0]), own)


@pytest.mark.model
def test_swapping_half_the_directions_or_oblique_ones_is_neither():
    halves, obliques = [], []
    for system in dozen():
        orthonormal, oblique = directions(system)
        (ends, _) = cells(system, (LEVEL,))[0]
        halves.append(np.abs(swapped(system, orthonormal[:, ::2]) - ends).min())
        obliques.append(swapped(system, oblique) - ends[1])
    assert_refuted(halves)
    assert_refuted(obliques)


def read(system):
    """Logits of both runs where the answers part."""
    held = taken(system, (LEVEL,))
    return torch.cat([compute(each, [Branch()]).logits[:, 0] for each in held])


@pytest.mark.model
@over_systems()
def test_a_difference_of_logits_is_one_of_log_probabilities(system):
    parting, logits = twins(system).parting, read(system)
    normalised = logits.log_softmax(dim=-1)
    assert_same(logit_difference(logits, parting), logit_difference(normalised, parting))


@pytest.mark.model
def test_a_difference_of_logits_is_not_the_log_probability_of_one_answer():
    """Whose effects move with every other answer's logits."""
    misses = []
    for system in dozen():
        parting, logits = twins(system).parting, read(system)
        both, one = logit_difference(logits, parting), log_probability(logits, parting)
        misses.append((both[1] - both[0]) - (one[1] - one[0]))
    assert_refuted(misses)


samples = arrays(np.float64, st.integers(2, 30), elements=st.floats(-5, 5))


@given(samples, st.floats(0.01, 6), st.sampled_from([0.01, 0.05, 0.1]))
def test_two_one_sided_tests_are_the_intervals_inclusion(values, margin, alpha):
    """Of the interval of level 1 - 2 alpha, whatever the data and the margin."""
    found = equivalent(values, np.full_like(values, margin), alpha=alpha)
    inside = interval(values, rng=np.random.default_rng(0), level=1 - 2 * alpha)
    if min(abs(inside.low + margin), abs(inside.high - margin)) > 1e-9:
        assert found.absent == (-margin < inside.low and inside.high < margin)
        assert found.present == (inside.low > margin)
    assert not (found.absent and found.present)


def test_the_interval_of_level_one_less_alpha_refuses_too_much():
    """The wrong twin takes each tail for half of alpha."""
    differ = 0
    for number in range(12):
        values = np.random.default_rng(number).standard_normal(20)
        narrow, wide = (
            interval(values, rng=np.random.default_rng(0), level=level) for level in (0.9, 0.95)
        )
        margin = (max(-narrow.low, narrow.high) + max(-wide.low, wide.high)) / 2
        absent = equivalent(values, np.full_like(values, margin)).absent
        differ += absent != (-margin < wide.low and wide.high < margin)
    assert differ == 12
