"""The ladder of mediators: where its rungs are the same, and where they are not."""

import itertools

import numpy as np
import pytest

from mindseye.engine import Branch
from mindseye.engine.levels import transplant
from tests.causal.invariants.measuring import answered, assert_refuted, assert_same, cells, taken
from tests.causal.invariants.systems import LEVELS, N_LAYERS, dozen, over_systems

pytestmark = pytest.mark.model

KV = LEVELS.index("kv")


def with_residuals(system, *sets):
    """The cells with what the slots hold exchanged as they enter each of these sets of layers."""
    held = taken(system, LEVELS)
    rows = []
    for recipient in held:
        edits = [
            [transplant(f"residual:{layer}", donor, recipient.trace)[0] for layer in layers]
            for layers in sets
            for donor in held
        ]
        rows.append(answered(system, recipient, [Branch(each) for each in edits]))
    return np.array(rows).reshape(2, len(sets), 2).swapaxes(0, 1)


@over_systems()
def test_residuals_entering_the_first_layer_are_the_vectors_fed(system):
    found = dict(zip(LEVELS, cells(system), strict=True))
    assert_same(found["residual:0"], found["embedding"])


@over_systems()
def test_residuals_entering_every_layer_are_all_keys_and_values(system):
    assert_same(with_residuals(system, range(N_LAYERS)), cells(system)[KV, None])


def test_residuals_entering_some_layers_are_less_than_all_keys_and_values():
    """What the slots read of the input comes in again in a layer that is left out."""
    some = list(itertools.combinations(range(N_LAYERS), N_LAYERS - 1))
    misses = [with_residuals(each, *some) - cells(each)[KV] for each in dozen()]
    for left_out in range(N_LAYERS):
        assert_refuted([miss[left_out] for miss in misses])
