"""Random systems: a tiny model, a mask and two inputs, all of them drawn.

A `System` only says how to make them, so that Hypothesis can print and shrink it; `twins` makes
them. Wrong claims are put to the `dozen` instead, whose weights and inputs are fixed.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor

import mindseye as me
from mindseye.engine import Contrast, Twins
from mindseye.reasoners import Knockout, Trace
from mindseye.reasoners.spans import span_ids
from tests.causal.invariants.doubles import in_double, straighten
from tests.tiny import FIRST_WORD, MARKERS, SEEING, Tiny, tiny

MODEL_TYPES = ("llama", "qwen2_5_vl", "gemma3", "gpt2")
"""Text and images, grouped and fused heads, sliding windows and learned positions."""

SEES = tuple(model_type for model_type in MODEL_TYPES if model_type in SEEING)
N_LAYERS, N_SLOTS = 3, 3
SLOT_LEVELS = ("embedding", "residual:0", "residual:1", "residual:2", "kv")
LEVELS = (*SLOT_LEVELS, "span", "suffix")

_EXAMPLES = 3
_N_WEIGHTS = 20
_VOCAB = 24
_CUT = ("image", "question", "prefix", "start", "latents", "segment", "end", "answer", "post")


Property = Callable[..., None]


@dataclass(frozen=True)
class System:
    """A model and two inputs of one length and one image grid, the reference and the clean one.

    Attributes:
        model_type: The architecture.
        weights: Seed of the weights.
        words: Seeds of the two prompts' words.
        pictures: Seeds of what they show, where the model sees.
        n_text: Words of a prompt.
        forced: Ids fed after the latents, so that more than the end marker follows them.
        answers: Ids of the clean answer and of the other.
        wiring: Attention edges that the model does not have.
        affine: Whether all that follows its last attention is an affine map.
        dice: A seed for whatever else a test leaves to chance.
    """

    model_type: str
    weights: int
    words: tuple[int, int] = (0, 1)
    pictures: tuple[int, int] = (0, 1)
    n_text: int = 4
    forced: tuple[int, ...] = ()
    answers: tuple[int, int] = (FIRST_WORD, FIRST_WORD + 1)
    wiring: tuple[Knockout, ...] = ()
    affine: bool = False
    dice: int = 0

    @property
    def swapped(self) -> System:
        """The inputs in each other's place; what counts as the clean answer stays."""
        return replace(self, words=self.words[::-1], pictures=self.pictures[::-1])

    @property
    def runs(self) -> tuple[Trace, Trace]:
        """On x0 and on x1, cut where the answers part."""
        return twins(self).reference, twins(self).clean


@functools.cache
def model(model_type: str, weights: int, *, affine: bool = False) -> Tiny:
    made = tiny(model_type, seed=weights, vocab=_VOCAB)
    in_double(made.model)
    if affine:
        architecture = wrapped(made).architecture
        decoder = architecture.text_decoder(made.model)
        last = architecture.blocks(made.model)[-1]
        straighten(last, decoder.get_submodule(architecture.norm))
    return made


def wrapped(made: Tiny, wiring: tuple[Knockout, ...] = ()) -> me.Reasoner:
    start, pad, end = MARKERS
    protocol = me.protocol(
        "monet_train", start=start, pad=pad, end=end, n_slots=N_SLOTS, segments="one"
    )
    return me.wrap(made.model, protocol=protocol, wiring=wiring)


@functools.lru_cache(maxsize=256)
def twins(system: System) -> Twins:
    """Run a system's two inputs."""
    made = model(system.model_type, system.weights, affine=system.affine)
    ours = wrapped(made, system.wiring)
    prompts = [_prompt(made, system, which) for which in (0, 1)]
    reference, clean = ours.run_batch(prompts, max_new_tokens=N_SLOTS + 3, force_start=True)
    pair = me.Pair(*(me.Sample((), "which?", answer) for answer in ("one", "other")), id="pair")
    cut = (trace.until_answer(system.forced) for trace in (clean, reference))
    found = Twins(pair, Contrast(system.forced, *system.answers), (clean, reference), *cut)
    assert found.comparable
    return found


def _prompt(made: Tiny, system: System, which: int) -> dict[str, Tensor]:
    prompt = made.inputs(system.words[which], system.n_text)
    if made.sees:
        shown = made.inputs(system.pictures[which], system.n_text)["pixel_values"]
        prompt["pixel_values"] = shown.double()
    return prompt


@contextlib.contextmanager
def served(*systems: System) -> Iterator[list[me.Pair]]:
    """Let experiments that take pairs find these runs made already; gives the pairs to ask for."""
    runs = [twins(system) for system in systems]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mindseye.engine.twins.twin_runs", lambda *_: iter(runs))
        yield [each.pair for each in runs]


@st.composite
def masks(draw: st.DrawFn) -> tuple[Knockout, ...]:
    """Up to three knockouts between spans that share no position: every position reads itself."""
    apart = st.tuples(st.sampled_from(_CUT), st.sampled_from(_CUT)).filter(
        lambda spans: not set(span_ids(spans[0])) & set(span_ids(spans[1]))
    )
    layers = st.none() | st.sets(st.integers(0, N_LAYERS - 1), min_size=1).map(sorted).map(tuple)
    return tuple(
        Knockout(*draw(apart), layers=draw(layers)) for _ in range(draw(st.integers(0, 3)))
    )


@st.composite
def systems(
    draw: st.DrawFn, model_type: str, *, wiring: tuple[Knockout, ...] = (), **fixed: Any
) -> System:
    """Random weights and inputs, and a random mask on top of the wiring that is asked for."""
    seeds, ids = st.integers(0, 99), st.integers(FIRST_WORD, _VOCAB - 1)
    return System(
        model_type,
        draw(st.integers(0, _N_WEIGHTS)),
        words=tuple(draw(st.lists(seeds, min_size=2, max_size=2, unique=True))),
        pictures=draw(st.tuples(seeds, seeds)),
        n_text=draw(st.integers(2, 6)),
        forced=tuple(draw(st.lists(ids, max_size=2))),
        answers=tuple(draw(st.lists(ids, min_size=2, max_size=2, unique=True))),
        wiring=wiring + draw(masks()),
        dice=draw(seeds),
        **fixed,
    )


def over_systems(
    model_types: Sequence[str] = MODEL_TYPES, **asked: Any
) -> Callable[[Property], Property]:
    """Check a property over random systems of several architectures.

    All properties of the same kind of systems meet the same ones, so that each is run once. One
    that fails is shown as it was drawn; to shrink it would take hundreds of runs.
    """
    usual = settings(max_examples=_EXAMPLES, phases=[Phase.generate])

    def decorate(check: Property) -> Property:
        @pytest.mark.parametrize("model_type", model_types)
        def over(model_type: str) -> None:
            drawn = given(systems(model_type, **asked))(check)
            usual(seed(MODEL_TYPES.index(model_type))(drawn))()

        over.__doc__ = check.__doc__
        return over

    return decorate


def dozen(model_types: Sequence[str] = MODEL_TYPES, **changes: Any) -> list[System]:
    """Twelve fixed systems of as many weights, with nothing cut but what is asked for."""
    found = []
    for number in range(12):
        two = (2 * number, 2 * number + 1)
        system = System(model_types[number % len(model_types)], number, words=two, pictures=two)
        changes = {"forced": (FIRST_WORD + 2, FIRST_WORD + 3)} | changes
        found.append(replace(system, **changes))
    return found
