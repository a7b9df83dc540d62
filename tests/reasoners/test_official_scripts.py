"""The state machine against the official decode loops, on scripts of what the model would say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mindseye.reasoners.decoding import Decoding
from mindseye.reasoners.presets import protocol
from mindseye.reasoners.protocols import EndVector
from tests.reasoners import official
from tests.reasoners.happenings import Record
from tests.reasoners.official import Ids, Loop

EOS, START, PAD, END, A, B, ANSWER = range(7)
IDS = Ids(START, PAD, END, frozenset({EOS}))
VECTOR = torch.tensor([1.0, -2.0, 0.5, 3.0])
NEAR, FAR = VECTOR + 0.01, VECTOR + torch.tensor([1.0, 0.0, -1.0, 0.0])
NO_LIMIT = 1000

Script = list[tuple[int, Tensor]]
"""What is sampled at each step, and from which state."""

ANYWHERE = {
    "second segment",
    "start inside",
    "end-of-text inside",
    "end-of-text outside",
    "limit inside",
}
FORCED_END = ANYWHERE | {"full segment", "early end", "stray end"}


@dataclass(frozen=True)
class Family:
    """One official loop beside the preset that should do the same.

    Attributes:
        preset: Its name in mindseye.
        loop: The official loop.
        events: What scripts must bring about, or the comparison shows too little.
        changes: Fields of the preset that are replaced.
        flags: Arguments of the official loop.
        bounded: Whether segments have a count that a script draws.
    """

    preset: str
    loop: type[Loop]
    events: set[str]
    changes: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)
    bounded: bool = True

    @property
    def ids(self) -> Ids:
        return IDS._replace(answer=self.changes.get("after_forced_end"))

    def decoding(self, n_slots: int, last: int) -> Decoding:
        slots = {"n_slots": n_slots} if self.bounded else {}
        chosen = protocol(self.preset, start=START, pad=PAD, end=END, **slots, **self.changes)
        return Decoding(
            chosen,
            chosen.tokens(None, vocab_size=7),
            IDS.eos,
            last_prompt_id=last,
            end_vector=self.flags.get("vector"),
        )


def vector_family(metric: Literal["mse", "mae", "cosine"], below: float) -> Family:
    return Family(
        "lvr_vector",
        official.LvrVector,
        ANYWHERE | {"full segment", "short segment", "prompt opens", "start that opens nothing"},
        {"end_by_vector": EndVector("lvr_latent_end_emb", metric, below)},
        {"vector": VECTOR, "metric": metric, "threshold": below},
    )


FAMILIES = {
    "monet_vllm": Family(
        "monet_vllm",
        official.Monet,
        FORCED_END | {"prompt opens nothing", "stopped by end-of-text inside"},
    ),
    "lvr_steps": Family(
        "lvr_steps", official.LvrSteps, ANYWHERE | {"full segment", "prompt opens"}
    ),
    "lvr_free": Family(
        "lvr_free",
        official.LvrFree,
        ANYWHERE | {"early end", "stray end", "prompt opens"},
        bounded=False,
    ),
    "lvr_vector, mse": vector_family("mse", 0.02),
    "lvr_vector, mae": vector_family("mae", 0.02),
    "lvr_vector, cosine": vector_family("cosine", 0.001),
    "mirage": Family(
        "mirage",
        official.Mirage,
        FORCED_END | {"prompt opens nothing", "end fed as a state", "overlong segment"},
    ),
    "ilvr": Family("ilvr", official.Ilvr, FORCED_END | {"prompt opens nothing"}),
    "skila": Family("skila", official.SkiLa, FORCED_END | {"prompt opens"}),
    "swimbird": Family("swimbird", official.SwimBird, FORCED_END | {"prompt opens"}),
    "laser": Family(
        "laser",
        official.Laser,
        FORCED_END | {"prompt opens", "forced answer"},
        {"after_forced_end": ANSWER},
    ),
    "laser, without an answer id": Family(
        "laser", official.Laser, FORCED_END, {"after_forced_end": None}
    ),
    "laser, repetition exit": Family(
        "laser",
        official.Laser,
        FORCED_END | {"forced answer", "repetition exit"},
        {"after_forced_end": ANSWER, "n_repeat": 3},
        {"repetition_exit": True},
    ),
}

scripts = st.lists(
    st.tuples(
        st.sampled_from([START, START, PAD, END, EOS, A, B]),
        st.sampled_from([FAR, FAR, FAR, NEAR]),
    ),
    min_size=10,
    max_size=30,
)
slot_counts = st.integers(1, 4)
limits = st.sampled_from([1, 3, 6, 10, NO_LIMIT, NO_LIMIT, NO_LIMIT])


def follow(loop: Loop, script: Script) -> Record:
    record = Record(loop.ids, loop.n_slots, loop.last, loop.limit or NO_LIMIT)
    for sampled, state in script:
        move = loop.step(sampled, state)
        record.add(sampled, move.visible, move.feed == "state", move.stops)
        if record.stopped:
            break
    return record


def advance(decoding: Decoding, record: Record, script: Script) -> Record:
    """Do the same with mindseye's machine; all that these tests know of its calls is here."""
    for sampled, state in script:
        step = decoding.advance(sampled, state)
        stopped = decoding.stopped(record.limit) is not None
        record.add(sampled, step.token, step.feeds_state, stopped)
        if record.stopped:
            break
    return record


@pytest.mark.parametrize("name", FAMILIES)
def test_ids_and_sources_are_those_of_the_official_loop(name: str) -> None:
    family, seen = FAMILIES[name], Counter[str]()

    @settings(max_examples=200)
    @given(slot_counts, st.sampled_from([A, START]), limits, scripts)
    def compare(n_slots: int, last: int, limit: int, script: Script) -> None:
        n_slots = n_slots if family.bounded else len(script) + 1
        loop = family.loop(family.ids, n_slots, last, limit, **family.flags)
        wanted = follow(loop, script)
        empty = Record(family.ids, n_slots, last, limit)
        got = advance(family.decoding(n_slots, last), empty, script)
        assert got.visible == wanted.visible
        assert got.sources == wanted.sources
        assert got.stopped == wanted.stopped
        seen.update(wanted.events)

    compare()
    assert {event for event in family.events if not seen[event]} == set()


@given(slot_counts, scripts)
def test_ilvr_and_skila_agree_if_no_start_comes_inside_a_segment(
    n_slots: int, script: Script
) -> None:
    quiet = without_starts_inside(official.SkiLa(IDS, n_slots, A), script)
    ilvr, skila = (follow(loop(IDS, n_slots, A), quiet) for loop in (official.Ilvr, official.SkiLa))
    assert ilvr == skila


@given(slot_counts, scripts)
def test_mirage_and_ilvr_agree_on_the_first_segment(n_slots: int, script: Script) -> None:
    first = next((i for i, (token, _) in enumerate(script) if token in (START, END)), len(script))
    once = script[: first + 1] + [step for step in script[first + 1 :] if step[0] != START]
    mirage, ilvr = (
        follow(loop(IDS, n_slots, A), once) for loop in (official.Mirage, official.Ilvr)
    )
    assert mirage == ilvr


@given(slot_counts, st.sampled_from([A, START]), scripts)
def test_lvr_by_steps_and_by_a_vector_never_met_agree_if_no_start_comes_inside(
    n_slots: int, last: int, script: Script
) -> None:
    quiet = without_starts_inside(official.LvrSteps(IDS, n_slots, last), script)
    steps = official.LvrSteps(IDS, n_slots, last)
    vector = official.LvrVector(IDS, n_slots, last, vector=VECTOR + 100)
    assert follow(steps, quiet) == follow(vector, quiet)


@given(slot_counts, st.integers(0, 3))
def test_monet_feeds_the_latents_of_ilvr_one_slot_earlier(n_slots: int, n_words: int) -> None:
    script = [(A, FAR)] * n_words + [(START, FAR)] + [(A, FAR)] * 6
    monet, ilvr = (
        follow(loop(IDS, n_slots, A), script) for loop in (official.Monet, official.Ilvr)
    )
    assert monet.states == [*ilvr.states[1:], False]
    assert sum(monet.states) == n_slots


@pytest.mark.parametrize(
    ("loop", "n_said"),
    [
        (official.LvrSteps, 6),
        (official.LvrVector, 6),
        (official.Laser, 6),
        (official.Monet, 3),
        (official.Ilvr, 3),
        (official.SkiLa, 3),
    ],
)
def test_the_length_limit_stops_some_loops_inside_a_segment_and_others_after_it(
    loop: type[Loop], n_said: int
) -> None:
    flags = {"vector": VECTOR} if loop is official.LvrVector else {}
    record = follow(loop(IDS, 4, A, limit=3, **flags), [(START, FAR), *[(A, FAR)] * 10])
    assert record.stopped
    assert len(record.visible) == n_said


def without_starts_inside(loop: Loop, script: Script) -> Script:
    """Replace by a word each start id that would be sampled in, or just before, a latent slot."""
    quiet: Script = []
    busy = loop.last == START
    for token, state in script:
        token = A if busy and token == START else token
        move = loop.step(token, state)
        busy = move.feed == "state" or move.visible == START
        quiet.append((token, state))
    return quiet
