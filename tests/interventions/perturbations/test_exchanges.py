"""Another picture, another question, no picture: what is taken along and what is not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindseye.errors import EditError, SampleError
from mindseye.interventions.perturbations import another_image, another_question, drop_image
from mindseye.samples import Sample
from mindseye.tasks.digits import Digits
from tests.interventions.perturbations.scenes import rng
from tests.strategies import samples, seeds

ZOOM = Digits(kinds=("zoom",)).samples(24)
MIXED = Digits().samples(24)


def shows(sample: Sample, other: Sample) -> bool:
    return np.array_equal(sample.image, other.image)


def seen_digit(sample: Sample) -> str:
    """The answer to a zoom question, read from the scene's own description."""
    colour = sample.question.split()[-2]
    return str(sample.meta["digits"][sample.meta["colours"].index(colour)])


@given(st.sampled_from(MIXED), seeds)
def test_another_image_comes_from_the_pool_and_is_never_the_own_one(
    sample: Sample, seed: int
) -> None:
    after = another_image(sample, pool=MIXED, rng=rng(seed))
    assert not shows(after, sample)
    assert any(shows(after, donor) for donor in MIXED)
    assert (after.question, after.options, after.id) == (
        sample.question,
        sample.options,
        sample.id,
    )


@given(st.sampled_from(ZOOM), seeds)
def test_another_image_under_the_same_question_has_its_own_answer(
    sample: Sample, seed: int
) -> None:
    after = another_image(sample, pool=ZOOM, donors="same_question", rng=rng(seed))
    donor = next(each for each in ZOOM if shows(each, after))
    assert after.question == sample.question == donor.question
    assert after.answer == seen_digit(after)
    assert after.regions == donor.regions
    assert after.helper is donor.helper


@given(st.sampled_from(ZOOM), seeds)
def test_another_image_with_another_answer_has_another_answer(sample: Sample, seed: int) -> None:
    after = another_image(sample, pool=ZOOM, donors="other_answer", rng=rng(seed))
    assert after.answer != sample.answer
    assert after.answer == seen_digit(after)


def test_another_image_of_another_question_brings_nothing_that_belongs_to_that_question() -> None:
    sample = MIXED[0]
    pool = [each for each in MIXED if each.question != sample.question]
    after = another_image(sample, pool=pool, rng=rng())
    assert after.answer == sample.answer
    assert not after.regions
    assert not after.meta
    assert after.helper is None
    assert after.imagination is None


def test_another_image_is_drawn_evenly_from_those_that_fit() -> None:
    sample, pool = MIXED[0], MIXED[:6]
    small = Digits(size=1, kinds=("zoom",)).samples(6)
    drawn: Counter[int] = Counter()
    generator = rng()
    for _ in range(500):
        after = another_image(sample, pool=[*small, *pool], rng=generator)
        drawn[next(i for i, each in enumerate(pool) if shows(each, after))] += 1
    assert set(drawn) == {1, 2, 3, 4, 5}
    assert min(drawn.values()) > 60  # 100 expected, standard deviation 9


@given(samples(st.just((4, 4)), n_images=2), samples(st.just((4, 4)), n_images=1), seeds)
def test_another_image_is_not_taken_from_a_sample_with_more_or_fewer(
    two: Sample, one: Sample, seed: int
) -> None:
    with pytest.raises(SampleError, match=r"No picture for sample .* among 1 samples"):
        another_image(two, pool=[one], rng=rng(seed))


@pytest.mark.parametrize(
    ("pool", "donors"),
    [
        ([], "any"),
        (ZOOM[:1], "any"),
        (Digits(size=1, kinds=("zoom",)).samples(3), "any"),
        (Digits(kinds=("transform",)).samples(9), "same_question"),
        ([replace(ZOOM[1], question=ZOOM[0].question, answer=ZOOM[0].answer)], "other_answer"),
    ],
)
def test_a_pool_without_a_picture_that_fits_is_refused(pool: Any, donors: Any) -> None:
    with pytest.raises(SampleError, match=rf"another one of 64x64 is needed, donors='{donors}'"):
        another_image(ZOOM[0], pool=pool, donors=donors, rng=rng())


def test_a_pool_with_a_single_picture_that_fits_is_enough() -> None:
    assert shows(another_image(ZOOM[0], pool=ZOOM[:2], rng=rng()), ZOOM[1])


@given(st.sampled_from(MIXED), seeds)
def test_another_question_leaves_the_picture_and_comes_from_the_pool(
    sample: Sample, seed: int
) -> None:
    after = another_question(sample, pool=MIXED, rng=rng(seed))
    assert shows(after, sample)
    assert after.question != sample.question
    assert after.question in {each.question for each in MIXED}


def test_another_question_of_another_picture_brings_no_answer() -> None:
    sample = MIXED[0]
    after = another_question(sample, pool=MIXED, rng=rng())
    assert after.answer == sample.answer
    assert not after.regions
    assert after.helper is None


@given(seeds)
def test_another_question_about_the_same_picture_brings_its_answer(seed: int) -> None:
    sample = ZOOM[0]
    held_out = replace(
        ZOOM[0], question="How many cells?", answer="4", options=("3", "4"), regions={}
    )
    pool = [*(each for each in MIXED if not shows(each, sample)), sample, held_out]
    after = another_question(sample, pool=pool, donors="same_image", rng=rng(seed))
    assert (after.question, after.answer, after.options) == ("How many cells?", "4", ("3", "4"))
    assert shows(after, sample)


@pytest.mark.parametrize(
    ("pool", "donors"), [([], "any"), (ZOOM[:1], "any"), (MIXED, "same_image")]
)
def test_a_pool_without_a_question_that_fits_is_refused(pool: Any, donors: Any) -> None:
    sample = ZOOM[0]
    pool = [each for each in pool if not shows(each, sample)] if donors != "any" else pool
    with pytest.raises(SampleError, match=rf"No question for .*donors='{donors}'"):
        another_question(sample, pool=pool, donors=donors, rng=rng())


@given(samples(n_images=2))
def test_drop_image_leaves_no_image_and_all_words(sample: Sample) -> None:
    after = drop_image(sample, rng=rng())
    assert after.images == ()
    assert (after.question, after.options, after.answer) == (
        sample.question,
        sample.options,
        sample.answer,
    )
    assert not after.regions


def test_drop_image_refuses_a_sample_without_one() -> None:
    with pytest.raises(SampleError, match="'bare' has no image"):
        drop_image(Sample((), "?", "!", id="bare"), rng=rng())


def test_an_unknown_kind_of_donor_is_answered_with_the_known_ones() -> None:
    with pytest.raises(EditError, match="expected one of any, same_question, other_answer"):
        another_image(ZOOM[0], pool=ZOOM, donors="twin", rng=rng())


@pytest.mark.parametrize("change", [another_image, another_question])
def test_a_pool_must_be_given(change: Any) -> None:
    with pytest.raises(EditError, match=rf"{change.name!r} needs pool\. Samples to take the"):
        change(ZOOM[0], rng=rng())
