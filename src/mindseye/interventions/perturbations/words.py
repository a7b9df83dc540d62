"""Perturbations of the question's words: said otherwise, or partly hidden."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mindseye.errors import EditError, SampleError
from mindseye.interventions.asking import check_range
from mindseye.interventions.perturbations.perturbing import perturbation
from mindseye.samples import Sample

__all__ = ["mask_words", "paraphrase"]

_WORD = re.compile(r"\S+")


@perturbation(
    "paraphrase",
    keeps_grid=False,
    in_distribution="yes",
    changes_answer="no",
    touches=("question",),
)
def paraphrase(
    sample: Sample,
    *,
    variants: Mapping[str, Sequence[str]] | None = None,
    rng: np.random.Generator,
) -> Sample:
    """Ask the same in other words: a placebo, as far as the variants given are good ones.

    Variants differ in length, so that latents may stand elsewhere.

    Args:
        sample: Its question is exchanged.
        variants: Other wordings by question; those of `sample.meta["paraphrases"]`, if left out.
        rng: Draws one that differs from the question, evenly.

    Raises:
        SampleError: There is no other wording of this question.
    """
    given = (
        sample.meta.get("paraphrases", ())
        if variants is None
        else variants.get(sample.question, ())
    )
    others = [each for each in given if each.strip() and each != sample.question]
    if isinstance(given, str) or not others:
        raise SampleError(
            f"Sample {sample.id!r} has no other wording of {sample.question!r}. Put a list of "
            "some into meta['paraphrases'], or pass variants={question: [wording, ...]}."
        )
    return replace(sample, question=others[int(rng.integers(len(others)))])


@perturbation(
    "mask_words",
    keeps_grid=True,
    in_distribution="no",
    changes_answer="maybe",
    touches=("question",),
)
def mask_words(
    sample: Sample, *, share: float = 0.5, mask: str = "___", rng: np.random.Generator
) -> Sample:
    """Hide a share of the question's words, each behind one mask word.

    The number of words and the space between them stay; the number of tokens may not. Equal states
    of `rng` hide the same words first, so that a larger share hides these and more. A word takes
    the punctuation beside it along.

    Args:
        sample: Its question is changed, options that it lists included.
        share: How many of the words, 0 to 1, rounded to a whole number of them.
        mask: The word that stands in their place.
        rng: Draws which.

    Raises:
        EditError: `share` lies outside, or `mask` is not one word.
    """
    check_range("mask_words got share", share, 0, 1, "Pass 1 to hide every word.")
    if not _WORD.fullmatch(mask):
        raise EditError(
            f"mask_words got mask={mask!r}; it takes one word without spaces, so that the number "
            "of words stays. Pass a word such as '___'."
        )
    n_words = len(_WORD.findall(sample.question))
    hidden = set(rng.permutation(n_words)[: round(share * n_words)].tolist())
    place = iter(range(n_words))
    masked = _WORD.sub(
        lambda word: mask if next(place) in hidden else word.group(), sample.question
    )
    return replace(sample, question=masked)
