"""Derived questions: which latents carry an answer where no image is left."""

from dataclasses import replace

import pytest

import mindseye as me
from mindseye.errors import SampleError
from mindseye.readouts.probes import ARMS, derived_question

N = 6


@pytest.fixture(scope="module")
def samples():
    return me.task("digits").samples(N, seed=3)


@pytest.mark.model
def test_latents_that_are_read_answer_without_the_image(organism, samples):
    found = derived_question(organism("feedback"), samples, samples)
    assert found.to_frame()["arm"].value_counts().to_dict() == dict.fromkeys(ARMS, N)
    share = found.accuracy().set_index("arm")["accuracy"]
    assert share["image"] == share["latents"] == 1
    assert share[["other latents", "own latents", "text only"]].max() < 0.5


@pytest.mark.model
def test_latents_that_are_ignored_do_not(organism, samples):
    found = derived_question(organism("bypass"), samples, samples).accuracy().set_index("arm")
    assert found["accuracy"]["image"] == 1
    assert found["accuracy"]["latents"] < 0.5
    assert (found["low"] <= found["accuracy"]).all()
    assert (found["n"] == N).all()


@pytest.mark.model
def test_samples_and_derived_questions_come_in_pairs(organism, samples):
    with pytest.raises(SampleError, match="6 samples and 5 derived questions"):
        derived_question(organism("feedback"), samples, samples[:-1])


@pytest.mark.model
def test_a_run_without_latents_is_refused(organism, samples):
    deaf = replace(organism("feedback"))
    with pytest.raises(SampleError, match="has no latents to answer from"):
        derived_question(deaf, samples[:2], samples[:2], max_new_tokens=1)
