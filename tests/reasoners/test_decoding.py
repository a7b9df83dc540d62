"""The state machine on scripted logits: no model runs here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, repeat

import torch
from hypothesis import given
from hypothesis import strategies as st

from mindseye.reasoners import LatentProtocol
from mindseye.reasoners.decoding import Decoding
from mindseye.reasoners.protocol import LatentTokens

VOCAB = 10
EOS, A, B, C = 0, 1, 2, 3
START, PAD, END = 7, 8, 9
N_SLOTS = 2
SEGMENT = [START, PAD, PAD, END]
SEGMENT_SPANS = ["start", "latents", "latents", "end"]


def new_decoding(imagine: bool = True, n_slots: int = N_SLOTS) -> Decoding:
    protocol = LatentProtocol("<s>", "<p>", "<e>", n_slots)
    return Decoding(protocol, LatentTokens(START, PAD, END), frozenset({EOS}), imagine)


def logits_for(token: int, second: int | None = None) -> torch.Tensor:
    logits = torch.zeros(VOCAB)
    logits[token] = 2.0
    if second is not None:
        logits[second] = 1.0
    return logits


def decode(
    script: Sequence[int],
    *,
    imagine: bool = True,
    n_slots: int = N_SLOTS,
    limit: int = 30,
    second: int | None = None,
) -> tuple[list[int], list[str], Decoding]:
    """Run the loop of `Reasoner.run` on a script of what the model would say at each step."""
    decoding = new_decoding(imagine, n_slots)
    said: Iterator[int] = chain(script, repeat(EOS))
    spans: list[str] = []
    while not decoding.stopped and len(decoding.ids) < limit:
        spans.append(decoding.advance(logits_for(next(said), second)).span)
    return decoding.ids, spans, decoding


def test_without_a_start_marker_every_token_is_text() -> None:
    ids, spans, _ = decode([A, B, EOS])
    assert ids == [A, B, EOS]
    assert spans == ["text"] * 3


def test_a_start_marker_opens_a_segment_whose_slots_and_end_are_forced() -> None:
    ids, spans, _ = decode([A, START, B, B, B, C, EOS])
    assert ids == [A, *SEGMENT, C, EOS]
    assert spans == ["text", *SEGMENT_SPANS, "answer", "answer"]


def test_the_number_of_slots_is_the_protocols() -> None:
    for n_slots in (1, 3, 8):
        ids, _, _ = decode([START], n_slots=n_slots)
        assert ids[: n_slots + 2] == [START, *[PAD] * n_slots, END]


def test_eos_inside_a_segment_is_not_obeyed_and_outside_it_is() -> None:
    ids, _, decoding = decode([START, EOS, EOS, EOS, C, EOS, A])
    assert ids == [*SEGMENT, C, EOS]
    assert decoding.stopped
    ids, _, _ = decode([EOS, START])
    assert ids == [EOS]


def test_a_run_that_says_eos_right_after_its_segment_stops_there() -> None:
    ids, spans, decoding = decode([START, A, A, A, EOS])
    assert ids == [*SEGMENT, EOS]
    assert spans[-1] == "answer"
    assert decoding.stopped


def test_a_pad_or_end_marker_that_is_also_eos_does_not_stop_the_run_inside_a_segment() -> None:
    protocol = LatentProtocol("<s>", "<p>", "<e>", N_SLOTS)
    decoding = Decoding(protocol, LatentTokens(START, PAD, END), frozenset({PAD}))
    for _ in SEGMENT:
        decoding.advance(logits_for(START))
        assert not decoding.stopped
    decoding.advance(logits_for(PAD))
    assert decoding.stopped


def test_a_second_start_marker_is_an_ordinary_token() -> None:
    ids, spans, _ = decode([START, A, A, A, START, B, B, B, EOS])
    assert ids == [*SEGMENT, START, B, B, B, EOS]
    assert spans == [*SEGMENT_SPANS, *["answer"] * 5]


def test_a_start_marker_inside_a_segment_opens_nothing() -> None:
    ids, spans, _ = decode([START, START, START, START, C, EOS])
    assert ids == [*SEGMENT, C, EOS]
    assert spans[4:] == ["answer", "answer"]


def test_pad_and_end_markers_outside_a_segment_are_ordinary_tokens() -> None:
    ids, spans, _ = decode([PAD, END, A, EOS])
    assert ids == [PAD, END, A, EOS]
    assert spans == ["text"] * 4


def test_without_imagination_the_start_marker_loses_to_the_second_best_token() -> None:
    ids, spans, _ = decode([START, START, A, EOS], imagine=False, second=B)
    assert ids == [B, B, A, EOS]
    assert spans == ["text"] * 4
    imagined, _, _ = decode([START, START, A, EOS], imagine=True, second=B)
    assert START in imagined


def test_banning_the_start_marker_leaves_the_kept_logits_as_the_model_gave_them() -> None:
    logits = logits_for(START, second=B)
    decoding = new_decoding(imagine=False)
    decoding.advance(logits)
    assert torch.equal(decoding.logits[0], logits_for(START, second=B))
    assert torch.equal(logits, logits_for(START, second=B))


def test_logits_are_kept_inside_segments_too_though_they_are_not_obeyed() -> None:
    ids, _, decoding = decode([A, START, B, C, A, EOS])
    assert len(decoding.logits) == len(ids)
    assert [int(logits.argmax()) for logits in decoding.logits] == [A, START, B, C, A, EOS]


def test_a_length_limit_inside_a_segment_leaves_it_open_and_the_run_not_stopped() -> None:
    for limit in (1, 2, 3):
        ids, spans, decoding = decode([START, A, A, A], limit=limit)
        assert ids == SEGMENT[:limit]
        assert spans == SEGMENT_SPANS[:limit]
        assert not decoding.stopped


@given(st.lists(st.integers(0, VOCAB - 1), max_size=12), st.integers(1, 4))
def test_any_script_gives_what_a_rewriting_of_the_script_gives(
    script: list[int], n_slots: int
) -> None:
    ids, spans, _ = decode(script, n_slots=n_slots)
    said = [*script, *[EOS] * 30]
    opens = next((i for i, token in enumerate(said) if token in (START, EOS)), None)
    assert opens is not None
    if said[opens] == EOS:
        wanted, wanted_spans = said[: opens + 1], ["text"] * (opens + 1)
    else:
        after = said[opens + n_slots + 2 :]
        after = after[: after.index(EOS) + 1]
        wanted = [*said[:opens], START, *[PAD] * n_slots, END, *after]
        wanted_spans = [*["text"] * opens, "start", *["latents"] * n_slots, "end"]
        wanted_spans += ["answer"] * len(after)
    assert ids == wanted
    assert spans == wanted_spans


@given(st.lists(st.integers(0, VOCAB - 1), max_size=12))
def test_without_imagination_no_script_opens_a_segment(script: list[int]) -> None:
    ids, spans, _ = decode(script, imagine=False)
    assert START not in ids
    assert set(spans) == {"text"}
