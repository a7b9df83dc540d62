"""The crossed design: its cells, its variance shares, and whom the answer follows."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import mindseye as me
from mindseye.engine import Crossing, crossed_design
from mindseye.errors import SampleError
from mindseye.reasoners import Edit
from tests.engine.random_twins import in_double

N = 5
NAMES = tuple("abcde")


@pytest.fixture(scope="module")
def samples():
    return me.task("digits", kinds=("zoom",)).samples(N, seed=3)


def crossing(logits):
    return Crossing(torch.as_tensor(logits), NAMES[: logits.shape[-1]], NAMES[:3], NAMES[:3])


@given(arrays(np.float64, (3, 3, 4), elements=st.floats(-9, 9), unique=True))
def test_shares_sum_to_one(logits):
    assert sum(crossing(logits).shares.values()) == pytest.approx(1)


@given(arrays(np.float64, (3, 4), elements=st.floats(-9, 9), unique=True))
def test_what_only_one_side_moves_is_its_share_alone(rows):
    by_input = np.repeat(rows[:, None], 3, axis=1)
    assert crossing(by_input).shares["input"] == pytest.approx(1)
    assert crossing(by_input.swapaxes(0, 1)).shares["latents"] == pytest.approx(1)


def test_an_exclusive_or_is_all_interaction():
    signs = np.array([[1.0, -1.0], [-1.0, 1.0]])
    logits = torch.tensor(np.stack([signs, -signs], axis=-1))
    shares = Crossing(logits, ("a", "b"), ("a", "b"), ("x", "y")).shares
    assert shares["interaction"] == pytest.approx(1)


@given(arrays(np.float64, (3, 3), elements=st.floats(-9, 9)))
def test_a_level_that_the_softmax_does_not_see_has_no_share(levels):
    logits = np.random.default_rng(0).standard_normal((3, 3, 4))
    shifted = crossing(logits + levels[..., None]).shares
    assert shifted == pytest.approx(crossing(logits).shares)


@pytest.mark.model
def test_in_the_mediator_the_answer_follows_the_latents_and_in_bypass_the_input(samples):
    mediator = crossed_design(in_double("mediator"), samples)
    assert mediator.shares["latents"] == pytest.approx(1, abs=1e-9)
    assert mediator.follows["latents"] > 0.9
    bypass = crossed_design(in_double("bypass"), samples)
    assert bypass.shares["input"] == pytest.approx(1, abs=1e-9)
    assert bypass.follows["input"] > 0.9
    assert bypass.follows["latents"] == 0


@pytest.mark.model
def test_every_cell_is_a_replay_with_the_donors_latents(samples):
    natural = in_double("natural")
    found = crossed_design(natural, samples, level="embedding")
    runs = [natural.run(sample).until_answer() for sample in samples]
    firsts = [natural.tokenizer.encode(answer)[0] for answer in found.candidates]
    for i, recipient in enumerate(runs):
        where = recipient.latent_positions
        branches = [[Edit("hook_embed", where, donor.fed_latents)] for donor in runs]
        plain = natural.replay(recipient, branches).logits[:, -1, firsts]
        torch.testing.assert_close(found.logits[i], plain, atol=1e-8, rtol=1e-8)


@pytest.mark.model
def test_its_frame_has_a_row_per_cell_and_says_what_was_said(samples):
    found = crossed_design(in_double("bypass"), samples)
    frame = found.to_frame()
    assert len(frame) == N * N
    own = frame[frame["input"] == frame["latents"]]
    assert (own["answer"] == own["donor_answer"]).all()
    assert (frame["said"] == frame["answer"]).mean() > 0.9


@pytest.mark.model
def test_one_input_makes_no_design(samples):
    with pytest.raises(SampleError, match="needs two"):
        crossed_design(in_double("bypass"), samples[:1])


@pytest.mark.model
def test_answers_that_begin_alike_are_refused(samples):
    one = me.Sample(samples[0].images, samples[0].question, "73", id="x")
    other = me.Sample(samples[1].images, samples[1].question, "75", id="y")
    with pytest.raises(SampleError, match="first tokens"):
        crossed_design(in_double("bypass"), [one, other])
