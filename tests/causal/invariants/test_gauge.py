"""Rotary positions are relative: where a run begins to count is nobody's business."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mindseye.engine import Branch, EdgePatch, snapshot
from mindseye.engine.levels import transplant
from mindseye.errors import EditError
from mindseye.reasoners.spans import positions
from tests.causal.invariants.measuring import (
    answered,
    assert_refuted,
    assert_same,
    cells,
    difference,
    plain,
    taken,
)
from tests.causal.invariants.systems import LEVELS, MODEL_TYPES, dozen, over_systems

pytestmark = pytest.mark.model

KV = LEVELS.index("kv")
ROTARY = tuple(model_type for model_type in MODEL_TYPES if model_type != "gpt2")


def offset(system):
    """How far every axis of positions is moved; each axis turns frequencies of its own."""
    axes = len(system.runs[0].position_ids)
    return torch.tensor([1 + (system.dice * (axis + 3)) % 40 for axis in range(axes)])


def moved(trace, by):
    return replace(trace, position_ids=trace.position_ids + by[:, None])


def answers_moved(system):
    """What the two runs answer when they begin to count elsewhere."""
    replays = [run.reasoner.replay(moved(run, offset(system))) for run in system.runs]
    return [float(difference(system, replay.logits[0, -1])) for replay in replays]


@over_systems(ROTARY)
def test_a_run_that_begins_to_count_elsewhere_answers_alike(system):
    assert_same(answers_moved(system), plain(system))


def test_learned_positions_are_not_relative():
    learned = dozen(("gpt2",))
    assert_refuted([np.subtract(answers_moved(each), plain(each)) for each in learned])


def turned(trace, keys, by, layer):
    """Keys as they are where positions have moved, pairs of entries being complex numbers."""
    decoder = trace.reasoner.architecture.text_decoder(trace.reasoner.model)
    kinds = getattr(decoder.config, "layer_types", None)
    rotary = decoder.rotary_emb
    name = "inv_freq" if hasattr(rotary, "inv_freq") else f"{kinds[layer]}_inv_freq"
    frequencies = getattr(rotary, name)
    sections = getattr(rotary, "mrope_section", [len(frequencies)])
    axis = torch.arange(len(sections)).repeat_interleave(torch.tensor(sections))
    real, imaginary = keys.chunk(2, dim=-1)
    angles = by[axis] * frequencies
    spun = torch.complex(real, imaginary) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([spun.real, spun.imag], dim=-1)


def grafted(system, *, corrected):
    """Y(x0, Z(x1)) with keys and values of slots that were cached where the count was other."""
    reference, clean = system.runs
    by = offset(system)
    held, _ = taken(system, LEVELS)
    elsewhere = snapshot(moved(clean, by), held.start)
    slots, readers = clean.latent_positions, positions(reference.labels, "post")
    patches = []
    for layer, (keys, values) in enumerate(elsewhere.tail):
        cached = [each[:, elsewhere.columns(slots)].transpose(0, 1) for each in (keys, values)]
        if corrected:
            cached[0] = turned(clean, cached[0], -by, layer)
        patches.append(EdgePatch(layer, slots, *cached, readers))
    return answered(system, held, [Branch(patches=patches)])[0]


@over_systems(ROTARY)
def test_keys_turned_back_are_those_of_an_aligned_run(system):
    assert_same(grafted(system, corrected=True), cells(system)[KV, 0, 1])


def test_keys_that_are_not_turned_back_are_others():
    turning = [system for system in dozen() if system.model_type in ROTARY]
    aligned = [cells(system)[KV, 0, 1] for system in turning]
    found = [grafted(system, corrected=False) for system in turning]
    assert_refuted([one - other for one, other in zip(found, aligned, strict=True)])


@over_systems(ROTARY)
def test_latents_from_where_the_count_is_other_are_refused(system):
    reference, clean = system.runs
    elsewhere = snapshot(moved(clean, offset(system)), reference.n_prompt)
    with pytest.raises(EditError, match="rotary positions"):
        transplant("kv", elsewhere, reference)
