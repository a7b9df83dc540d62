"""The word follows from the numbers, and silence from missing ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindseye.causal import Interval
from mindseye.readouts.geometry import LIMITS, Limits, Signs, degeneracy
from mindseye.readouts.geometry.degeneracy import State

WORDS = {"spread", "anisotropic", "collapsed", "collapsed-but-functional", "inconclusive"}

TOLD_APART = Signs(
    cosine=0.3,
    between=0.7,
    ratio=Interval(9.0, 6.0, 14.0),
    rank=Interval(0.97, 0.94, 0.99),
    participation=20.0,
    placebo_participation=22.0,
)
ALIKE = replace(
    TOLD_APART,
    cosine=0.97,
    between=0.03,
    ratio=Interval(1.02, 0.94, 1.1),
    rank=Interval(0.51, 0.46, 0.56),
)
CONSTANT = Signs(cosine=1.0, between=1e-14)
FUNCTIONAL: dict[str, State] = {"pie": "absent", "tie": "absent", "nec": "present"}

states = st.sampled_from([None, "present", "absent", "mixed", "undecided"])
numbers = st.floats(0, 50)
intervals = st.tuples(numbers, numbers, numbers).map(
    lambda drawn: Interval(*(sorted(drawn)[i] for i in (1, 0, 2)))
)
signs = st.builds(
    Signs,
    cosine=st.floats(-1, 1),
    between=st.floats(0, 1),
    ratio=st.none() | intervals,
    rank=st.none() | intervals.map(lambda held: Interval(held.mean / 50, held.low / 50, 1.0)),
    participation=st.floats(1, 90),
    placebo_participation=st.floats(1, 90),
)


def word(held, **effects):
    return degeneracy(held, **effects).word


def test_latents_that_tell_images_apart_are_spread_or_anisotropic_by_their_raw_cosine():
    assert word(TOLD_APART) == "spread"
    assert word(replace(TOLD_APART, cosine=0.99)) == "anisotropic"


def test_the_same_raw_cosine_is_collapse_if_placebos_scatter_as_much():
    assert word(replace(TOLD_APART, cosine=0.97)) == "anisotropic"
    assert word(ALIKE) == "collapsed"


def test_collapsed_latents_that_are_needed_as_such_are_functional():
    assert word(ALIKE, **FUNCTIONAL) == "collapsed-but-functional"
    assert word(CONSTANT, **FUNCTIONAL) == "collapsed-but-functional"


@pytest.mark.parametrize("lacking", ["pie", "tie", "nec"])
@pytest.mark.parametrize("state", [None, "undecided"])
def test_functional_takes_all_three_states(lacking, state):
    found = degeneracy(ALIKE, **{**FUNCTIONAL, lacking: state})
    assert found.word == "collapsed"
    assert "not shown" in found.reasons[-1]


def test_collapsed_latents_whose_loss_does_nothing_are_just_collapsed():
    found = degeneracy(ALIKE, **{**FUNCTIONAL, "nec": "absent"})
    assert found.word == "collapsed"
    assert found.reasons[-1] == "Nor is anything lost without them (NEC)."


@pytest.mark.parametrize("effect", ["pie", "tie"])
@pytest.mark.parametrize("state", ["present", "mixed"])
@pytest.mark.parametrize("held", [ALIKE, CONSTANT])
def test_an_exchange_of_collapsed_latents_that_does_something_contradicts(held, effect, state):
    found = degeneracy(held, **{**FUNCTIONAL, effect: state})
    assert found.word == "inconclusive"
    assert effect.upper() in found.reasons[-1]


@pytest.mark.parametrize("lacking", [{"ratio": None}, {"rank": None}])
@pytest.mark.parametrize("held", [TOLD_APART, ALIKE, replace(TOLD_APART, cosine=0.99)])
def test_without_placebo_runs_nothing_is_concluded(held, lacking):
    found = degeneracy(replace(held, **lacking), **FUNCTIONAL)
    assert found.word == "inconclusive"
    assert "placebo" in found.reasons[-1]


def test_constant_latents_need_no_placebo():
    assert word(CONSTANT) == "collapsed"
    assert word(replace(CONSTANT, between=1e-6)) == "inconclusive"


@pytest.mark.parametrize(
    "change",
    [
        {"ratio": Interval(2.5, 1.9, 3.5)},
        {"rank": Interval(0.8, 0.7, 0.9)},
        {"ratio": Interval(1.02, 0.9, 1.1)},
        {"ratio": Interval(9.0, 0.0, np.inf)},
    ],
)
def test_bounds_that_straddle_a_limit_and_signs_that_disagree_are_inconclusive(change):
    assert word(replace(TOLD_APART, **change)) == "inconclusive"


@pytest.mark.parametrize(
    "change",
    [
        {"ratio": Interval(1.2, 1.1, 1.3)},
        {"rank": Interval(0.55, 0.4, 0.7)},
        {"participation": 10.0},
        {"participation": np.nan},
    ],
)
def test_collapse_is_a_claim_too(change):
    assert word(replace(ALIKE, **change)) == "inconclusive"


def test_a_ratio_without_bound_counts_as_told_apart():
    """Placebos that change nothing at all."""
    infinite = replace(TOLD_APART, ratio=Interval(np.inf, np.inf, np.inf))
    assert word(replace(infinite, placebo_participation=np.nan)) == "spread"


def test_limits_can_be_moved():
    strict = Limits(informative_ratio=10.0, noise_ratio=1.05, cosine=0.2)
    assert degeneracy(TOLD_APART, limits=strict).word == "inconclusive"
    assert degeneracy(ALIKE, limits=strict).word == "inconclusive"
    assert degeneracy(TOLD_APART, limits=replace(LIMITS, cosine=0.2)).word == "anisotropic"


@given(signs, states, states, states)
def test_every_answer_is_one_of_the_words_with_reasons(held, pie, tie, nec):
    found = degeneracy(held, pie=pie, tie=tie, nec=nec)
    assert found.word in WORDS
    assert all(reason.endswith(".") for reason in found.reasons)
    assert degeneracy(held, pie=pie, tie=tie, nec=nec) == found


@given(signs, states, states, states)
def test_what_is_told_apart_does_not_hang_on_causal_states(held, pie, tie, nec):
    alone = degeneracy(held).word
    if alone in ("spread", "anisotropic"):
        assert word(held, pie=pie, tie=tie, nec=nec) == alone
    if word(held, pie=pie, tie=tie, nec=nec) == "collapsed-but-functional":
        assert alone == "collapsed"


def test_reasons_say_the_numbers_and_what_is_usual_in_the_model():
    reasons = degeneracy(replace(TOLD_APART, baselines={"text": 0.481})).reasons
    assert reasons == (
        "Mean raw cosine between images: 0.30 (0.48 for text).",
        "Between images latents scatter 9 times as much as under placebos (6 to 14).",
        "A placebo run is nearer to its own run than to 97% of the others (94% to 99%; 50% by "
        "chance).",
    )
