"""Hypothesis strategies for what mindseye works on. A new type joins them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mindseye.samples import Pair, Sample
from mindseye.tasks.digits import Digits

words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
questions = st.lists(words, min_size=1, max_size=5).map(lambda parts: " ".join(parts) + "?")
sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))
seeds = st.integers(0, 2**32 - 1)


def pixels(shapes: st.SearchStrategy[tuple[int, int]] = sizes) -> st.SearchStrategy[np.ndarray]:
    """RGB images of the given (height, width)."""
    return shapes.flatmap(lambda shape: arrays.arrays(np.uint8, (*shape, 3)))


@st.composite
def samples(
    draw: st.DrawFn, shapes: st.SearchStrategy[tuple[int, int]] = sizes, n_images: int = 1
) -> Sample:
    """Samples with options, of which the answer is one."""
    options = draw(st.lists(words, min_size=2, max_size=5, unique=True))
    return Sample(
        images=tuple(draw(pixels(shapes)) for _ in range(n_images)),
        question=draw(questions),
        answer=draw(st.sampled_from(options)),
        options=tuple(options),
        id=draw(words),
    )


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """Pairs of equal grids: answers differ, or the pair has a foil."""
    shape, n_images = st.just(draw(sizes)), draw(st.integers(1, 2))
    clean, reference = (draw(samples(shape, n_images)) for _ in range(2))
    foil = draw(words.filter(lambda word: word != clean.answer))
    return Pair(clean=clean, reference=reference, foil=foil)


@st.composite
def digits_worlds(draw: st.DrawFn, kinds: tuple[str, ...] = ("zoom", "transform")) -> Digits:
    """Digits worlds of two cells a side, where every kind of question has one answer."""
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, unique=True))
    return Digits(size=2, kinds=tuple(chosen))
