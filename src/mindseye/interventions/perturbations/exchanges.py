"""Perturbations that take a part from another sample: its picture, its question, or nothing.

One part at a time: changing picture and question together could not tell which of the two a latent
ignores. A minimal pair is no exchange. Only a task knows how to change one thing in a scene; see
`Task.pairs` and `redraw`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from mindseye.errors import SampleError
from mindseye.interventions.perturbations.perturbing import perturbation, same_images
from mindseye.interventions.perturbations.pixels import pictures
from mindseye.samples import Sample, read_image

__all__ = ["another_image", "another_question", "drop_image"]


@perturbation(
    "another_image",
    keeps_grid=True,
    in_distribution="yes",
    changes_answer="yes",
    touches=("image", "answer", "regions", "imagination"),
)
def another_image(
    sample: Sample,
    *,
    pool: Sequence[Sample],
    donors: Literal["any", "same_question", "other_answer"] = "any",
    rng: np.random.Generator,
) -> Sample:
    """Show the picture of another sample, of the same size, under the same question.

    A donor that was asked the same question also gives its answer and whatever else is known of its
    scene. Of other donors the answer to this question is not known: the sample keeps its own, and
    has no regions, helper image, imagination or meta.

    Args:
        sample: Its images are exchanged.
        pool: Samples to take the picture from. It may hold the sample itself, whose own picture is
            not taken.
        donors: Which of them: any, those with the same question and options, or those of them with
            another answer, which make minimal pairs.
        rng: Draws one of those that fit, evenly.

    Raises:
        SampleError: The sample has no image, or no other picture in the pool fits.
    """
    sizes = [image.shape for image in pictures(sample)]

    def fits(donor: Sample) -> bool:
        if donors != "any" and not _asks_the_same(donor, sample):
            return False
        if donors == "other_answer" and donor.answer == sample.answer:
            return False
        return len(donor.images) == len(sizes) and (
            [read_image(each).shape for each in donor.images] == sizes
            and not same_images(donor.images, sample.images)
        )

    shown = ", ".join(f"{width}x{height}" for height, width, _ in sizes)
    donor = _draw(pool, fits, rng)
    if donor is None:
        raise SampleError(
            f"No picture for sample {sample.id!r} among {len(pool)} samples: another one of "
            f"{shown} is needed, donors={donors!r}. Give a larger pool, or resize its images."
        )
    if _asks_the_same(donor, sample):
        return replace(donor, id=sample.id)
    return replace(sample, images=donor.images, regions={}, helper=None, imagination=None, meta={})


@perturbation(
    "another_question",
    keeps_grid=False,
    in_distribution="yes",
    changes_answer="yes",
    touches=("question", "options", "answer", "regions", "imagination"),
)
def another_question(
    sample: Sample,
    *,
    pool: Sequence[Sample],
    donors: Literal["any", "same_image"] = "any",
    rng: np.random.Generator,
) -> Sample:
    """Ask the question of another sample about the same picture.

    A donor that shows the same picture also gives its answer and whatever else is known of its
    question. Of other donors the answer is not known: the sample keeps its own, and has no regions,
    helper image, imagination or meta. Options come along with the question. Questions differ in
    length, so that latents may stand elsewhere.

    Args:
        sample: Its question is exchanged.
        pool: Samples to take the question from. It may hold the sample itself, whose own question
            is not taken.
        donors: Which of them: any, or those that show the same picture.
        rng: Draws one of those that fit, evenly.

    Raises:
        SampleError: No other question in the pool fits.
    """

    def fits(donor: Sample) -> bool:
        return donor.question != sample.question and (
            donors == "any" or same_images(donor.images, sample.images)
        )

    donor = _draw(pool, fits, rng)
    if donor is None:
        raise SampleError(
            f"No question for sample {sample.id!r} among {len(pool)} samples: one that differs "
            f"from {sample.question!r} is needed, donors={donors!r}. Give a larger pool."
        )
    if same_images(donor.images, sample.images):
        return replace(donor, images=sample.images, id=sample.id)
    return replace(
        sample,
        question=donor.question,
        options=donor.options,
        kind=donor.kind,
        regions={},
        helper=None,
        imagination=None,
        meta={},
    )


@perturbation(
    "drop_image",
    keeps_grid=False,
    in_distribution="partly",
    changes_answer="yes",
    touches=("image", "regions"),
)
def drop_image(sample: Sample, *, rng: np.random.Generator) -> Sample:
    """Show no picture at all.

    Everything behind it moves, so that no pair can be made of this: to keep latents where they are,
    knock out what reads the image instead, or show a blank one.

    Args:
        sample: Its images and regions are left out.
        rng: Not used.

    Raises:
        SampleError: It has no image.
    """
    pictures(sample)
    return replace(sample, images=(), regions={})


def _asks_the_same(donor: Sample, sample: Sample) -> bool:
    return (donor.question, donor.options) == (sample.question, sample.options)


def _draw(
    pool: Sequence[Sample], fits: Callable[[Sample], bool], rng: np.random.Generator
) -> Sample | None:
    """Draw evenly among those that fit; looks at no more pictures than it takes to find one."""
    for i in rng.permutation(len(pool)):
        if fits(pool[i]):
            return pool[i]
    return None
