"""Every input with every other one's latents: its diagonal, and how its variance splits."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume

from mindseye import Sample
from mindseye.engine import crossed_design
from mindseye.reasoners import Reasoner
from tests.causal.invariants.measuring import CAUGHT, assert_refuted, assert_same, cells
from tests.causal.invariants.systems import SLOT_LEVELS, dozen, over_systems, twins

pytestmark = pytest.mark.model


class Words:
    """A tokenizer to which every answer is the id it is written as."""

    def encode(self, answer, **_):
        return [int(answer)]


def level_of(system):
    return SLOT_LEVELS[system.dice % len(SLOT_LEVELS)]


@functools.cache
def crossed(system):
    """The design of three inputs, and what each of them answers by itself."""
    third = replace(system, words=(system.words[0] + 100,) * 2, pictures=(system.dice,) * 2)
    said = [*twins(system).said, twins(third).said[0]]
    answers = [*system.answers, next(i for i in range(10, 24) if i not in system.answers)]
    samples = [Sample((), "which?", str(answer), id=str(answer)) for answer in answers]
    traces = [replace(trace, sample=each) for trace, each in zip(said, samples, strict=True)]
    ours = replace(said[0].reasoner, processor=Words())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reasoner, "run_batch", lambda *_, **__: traces)
        found = crossed_design(ours, samples, level=level_of(system))
    own = [trace.logits[len(trace.until_answer().token_ids)][answers] for trace in said]
    return found, torch.stack(own)


def squares(values):
    return float((values**2).sum())


@over_systems()
def test_the_diagonal_is_what_each_input_answers_by_itself(system):
    found, own = crossed(system)
    assert_same(found.logits[range(3), range(3)], own)


@over_systems()
def test_two_of_its_inputs_make_the_four_cells(system):
    """The clean one comes first here; the outcome is read right after the end marker."""
    found, _ = crossed(system)
    (four,) = cells(replace(system, forced=()), (level_of(system),))
    outcome = found.logits[..., 0] - found.logits[..., 1]
    assert_same(outcome[:2, :2].flip(0, 1), four)


def test_an_input_with_anothers_latents_answers_otherwise():
    designs = [crossed(system) for system in dozen()]
    assert_refuted([found.logits[[0, 1, 2], [1, 2, 0]] - own for found, own in designs])


def parts(found):
    """Sums of squares around the grand mean, of all cells and of the two sides' own means."""
    values = found.logits.numpy()
    values = values - values.mean(axis=-1, keepdims=True)
    values = values - values.mean(axis=(0, 1))
    rows, columns = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    return {
        "total": squares(values),
        "input": squares(np.broadcast_to(rows, values.shape)),
        "latents": squares(np.broadcast_to(columns, values.shape)),
        "interaction": squares(values - rows - columns),
    }


@over_systems()
def test_sums_of_squares_add_up_to_the_whole(system):
    found, _ = crossed(system)
    by_hand = parts(found)
    whole = by_hand.pop("total")
    assume(whole > CAUGHT)
    assert_same(sum(by_hand.values()), whole)
    for name, share in found.shares.items():
        assert_same(share * whole, by_hand[name])


def test_the_two_sides_alone_do_not_make_up_the_whole():
    """Shares that leave the interaction out would be too large."""
    found = [parts(crossed(system)[0]) for system in dozen()]
    assert_refuted([1 - (each["input"] + each["latents"]) / each["total"] for each in found])
