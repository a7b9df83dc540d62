"""Hypothesis strategies for what mindseye works on. A new type joins them."""

from __future__ import annotations

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mindseye.errors import ProtocolError
from mindseye.reasoners import EndVector, LatentProtocol, PromptStyle
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
    shape, n_images = st.just(draw(sizes)), draw(st.integers(0, 2))
    clean, reference = (draw(samples(shape, n_images)) for _ in range(2))
    foil = draw(words.filter(lambda word: word != clean.answer))
    return Pair(clean=clean, reference=reference, foil=foil)


@st.composite
def digits_worlds(draw: st.DrawFn, kinds: tuple[str, ...] = ("zoom", "transform")) -> Digits:
    """Digits worlds of two cells a side, where every kind of question has one answer."""
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, unique=True))
    return Digits(size=2, kinds=tuple(chosen))


markers = st.text(min_size=1, max_size=8) | st.integers(-9, 9)
prompt_styles = st.builds(
    PromptStyle,
    system=st.none() | st.text(),
    images=st.sampled_from(["first", "last"]),
    instruction=st.text(),
    header=st.none() | st.text(),
    prefix=st.text(),
)
end_vectors = st.builds(
    EndVector, words, st.sampled_from(["mse", "mae", "cosine"]), st.floats(0, 9, exclude_min=True)
)


@st.composite
def protocols(draw: st.DrawFn) -> LatentProtocol:
    """Latent protocols of every kind, as long as they do not contradict themselves."""
    counts = st.none() | st.integers(1, 99)
    fields = st.fixed_dictionaries(
        {
            "start": markers,
            "pad": markers | st.lists(markers, min_size=1, max_size=4).map(tuple),
            "end": markers,
            "n_slots": counts,
        },
        optional={
            "name": st.text(),
            "trigger": st.sampled_from(["sampled", "forced"]),
            "prompt_start": st.booleans(),
            "start_slot": st.sampled_from(["embed", "replace"]),
            "source": st.sampled_from(["post_norm", "pre_norm", "layer:3", "token_embedding"]),
            "map": st.none() | words,
            "map_at": st.sampled_from(["fed", "slots"]),
            "end_by_token": st.booleans(),
            "end_by_vector": st.none() | end_vectors,
            "n_repeat": counts,
            "at_stop": st.sampled_from(["force_end", "use_sampled"]),
            "after_forced_end": st.none() | markers,
            "visible": st.sampled_from(["pad", "sampled"]),
            "eos_inside": st.sampled_from(["ignore", "stop"]),
            "length_inside": st.sampled_from(["stop", "ignore"]),
            "start_inside": st.sampled_from(["noise", "embed", "restart", "recount"]),
            "segments": st.sampled_from(["many", "one"]),
            "flags": st.sampled_from(["segment", "run"]),
            "answer_marks": st.lists(words, max_size=2).map(tuple),
            "answer_opening": words,
            "prompt": prompt_styles,
            "answers": st.lists(words, max_size=3).map(tuple),
        },
    )
    try:
        return LatentProtocol(**draw(fields))
    except ProtocolError:
        reject()
