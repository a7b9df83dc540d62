"""Other wordings, and hidden words."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindseye.errors import EditError, SampleError
from mindseye.interventions.perturbations import mask_words, paraphrase
from mindseye.samples import Sample
from mindseye.tasks.digits import Digits
from tests.interventions.perturbations.scenes import rng
from tests.strategies import samples, seeds, words

variants = st.lists(words, min_size=1, max_size=5)
shares = st.lists(st.floats(0, 1), min_size=2, max_size=4).map(sorted)


@given(samples(), variants, seeds)
def test_paraphrase_asks_one_of_the_wordings_of_the_sample(
    sample: Sample, wordings: list[str], seed: int
) -> None:
    worded = replace(sample, meta={"paraphrases": wordings, "other": 1})
    after = paraphrase(worded, rng=rng(seed))
    assert after.question in wordings
    assert (after.answer, after.meta) == (sample.answer, worded.meta)


@given(samples(), variants, seeds)
def test_paraphrase_prefers_wordings_that_are_passed_in(
    sample: Sample, wordings: list[str], seed: int
) -> None:
    worded = replace(sample, meta={"paraphrases": ["never this one"]})
    after = paraphrase(worded, variants={sample.question: wordings}, rng=rng(seed))
    assert after.question in wordings


def test_paraphrase_never_asks_the_question_itself_and_draws_all_others() -> None:
    sample = Sample((), "one?", "!", meta={"paraphrases": ["one?", "two?", "three?", " "]})
    assert {paraphrase(sample, rng=rng(seed)).question for seed in range(40)} == {"two?", "three?"}


@pytest.mark.parametrize("wordings", [[], ["Which?"], ["", "  "], "What?"])
def test_a_sample_without_another_wording_is_refused(wordings: Any) -> None:
    sample = Sample((), "Which?", "!", id="plain", meta={"paraphrases": wordings})
    with pytest.raises(SampleError, match=r"'plain' has no other wording of 'Which\?'"):
        paraphrase(sample, rng=rng())


def test_a_sample_whose_question_was_given_no_variants_is_refused() -> None:
    with pytest.raises(SampleError, match=r"pass variants=\{question: \[wording"):
        paraphrase(Digits().samples(1)[0], variants={"Who?": ["Which?"]}, rng=rng())


@given(samples(), st.floats(0, 1), seeds)
def test_mask_words_hides_the_share_it_was_told_and_no_other_word(
    sample: Sample, share: float, seed: int
) -> None:
    before = sample.question.split()
    after = mask_words(sample, share=share, mask="#", rng=rng(seed)).question.split()
    assert len(after) == len(before)
    hidden = [old != new for old, new in zip(before, after, strict=True)]
    assert sum(hidden) == round(share * len(before))
    assert all(new == "#" for is_hidden, new in zip(hidden, after, strict=True) if is_hidden)


@given(samples(), shares, seeds)
def test_mask_words_hides_more_and_more_of_the_same_words(
    sample: Sample, doses: list[float], seed: int
) -> None:
    hidden = []
    for dose in doses:
        after = mask_words(sample, share=dose, mask="#", rng=rng(seed)).question.split()
        hidden.append({i for i, word in enumerate(after) if word == "#"})
    assert all(fewer <= more for fewer, more in itertools.pairwise(hidden))


@given(samples(), seeds)
def test_mask_words_of_dose_0_is_the_identity_and_of_dose_1_hides_all(
    sample: Sample, seed: int
) -> None:
    assert mask_words(sample, share=0.0, rng=rng(seed)).question == sample.question
    assert set(mask_words(sample, share=1.0, rng=rng(seed)).question.split()) == {"___"}


def test_mask_words_leaves_the_space_between_words() -> None:
    spaced = Sample((), " Is  it\n\ta cat? ", "!")
    assert mask_words(spaced, share=1.0, mask="x", rng=rng()).question == " x  x\n\tx x "


@pytest.mark.parametrize("mask", ["", " ", "two words"])
def test_a_mask_that_is_not_one_word_is_refused(mask: str) -> None:
    with pytest.raises(EditError, match=r"mask_words got mask=.*; it takes one word"):
        mask_words(Digits().samples(1)[0], mask=mask, rng=rng())


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_outside_is_refused(share: float) -> None:
    with pytest.raises(EditError, match=r"mask_words got share=.*; it takes numbers from 0 to 1"):
        mask_words(Digits().samples(1)[0], share=share, rng=rng())
