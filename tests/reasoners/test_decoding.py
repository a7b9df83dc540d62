"""The state machine on scripts of what a model would say: no model runs here.

`test_official_scripts.py` holds it against each family's own loop; here its fields are held against
a plain rewriting of the script, which cuts it into pieces instead of stepping through it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby, repeat
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from mindseye.reasoners import EndVector, LatentProtocol, protocol
from mindseye.reasoners.choosing import Chooser
from mindseye.reasoners.decoding import Decoding, Opened
from mindseye.reasoners.generation import Row

VOCAB = 10
EOS, A, B, C = 0, 1, 2, 3
START, PAD, END = 7, 8, 9
N_SLOTS = 2
SEGMENT = [START, PAD, PAD, END]
SEGMENT_SPANS = ["start", "latents", "latents", "end"]
NO_LIMIT, MORE = 1000, 200

ONE = LatentProtocol(START, PAD, END, n_slots=N_SLOTS)
MANY = dataclasses.replace(ONE, segments="many")

scripts = st.lists(st.integers(0, VOCAB - 1), max_size=12)
busy_scripts = st.lists(st.sampled_from([START, START, END, PAD, A, B, EOS]), max_size=25)
last_ids = st.sampled_from([None, A, START, END])


@dataclass
class Run:
    """What a script came to.

    Attributes:
        ids: Visible ids.
        spans: Their spans.
        segments: Where the latents are, and why segments ended.
        stop: Why the run ended.
    """

    ids: list[int]
    spans: list[str]
    segments: list[Opened]
    stop: str | None


def new_decoding(
    chosen: LatentProtocol = ONE, eos: Sequence[int] = (EOS,), **options: Any
) -> Decoding:
    return Decoding(chosen, chosen.tokens(None, VOCAB), frozenset(eos), **options)


def decode(
    script: Sequence[int], chosen: LatentProtocol = ONE, *, limit: int = NO_LIMIT, **options: Any
) -> Run:
    """Follow a script to the end of the run; when it is used up, the model says the end."""
    decoding = new_decoding(chosen, **options)
    stop = None
    for sampled in chain(script, repeat(EOS, MORE)):
        step = decoding.advance(sampled)
        assert step.feeds_state == (step.span == "latents" and chosen.feeds_back)
        assert (step.token, step.span) == (decoding.ids[-1], decoding.spans[-1])
        stop = decoding.stopped(limit)
        if stop is not None:
            break
    assert stop is not None
    used = [*script, *[EOS] * MORE]
    assert decoding.sampled == used[: len(decoding.ids)]
    return Run(decoding.ids, list(decoding.spans), decoding.segments, stop)


def logits_for(token: int, second: int | None = None) -> torch.Tensor:
    logits = torch.zeros(VOCAB)
    logits[token] = 2.0
    if second is not None:
        logits[second] = 1.0
    return logits


def choose(script: Sequence[int], second: int, *, imagine: bool) -> Row:
    """Let a chooser read the script off logits in which another token comes second."""
    decoding = new_decoding(imagine=imagine)
    row = Row(decoding, Chooser(banned=() if imagine else decoding.tokens.openers), [A, B])
    for token in script:
        row.advance(logits_for(token, second), torch.zeros(4), NO_LIMIT)
    return row


# One segment, which is the default


def test_before_the_first_step_a_run_has_not_stopped_and_has_no_segment() -> None:
    decoding = new_decoding()
    assert decoding.stopped(1) is None
    assert decoding.segments == []


def test_without_a_start_marker_every_token_is_text() -> None:
    run = decode([A, B, EOS])
    assert run.ids == [A, B, EOS]
    assert run.spans == ["text"] * 3
    assert run.segments == []
    assert run.stop == "eos"


def test_a_start_marker_opens_a_segment_whose_slots_and_end_are_forced() -> None:
    run = decode([A, START, B, B, B, C, EOS])
    assert run.ids == [A, *SEGMENT, C, EOS]
    assert run.spans == ["text", *SEGMENT_SPANS, "answer", "answer"]
    assert run.segments == [Opened(start=1, slots=[2, 3], end=4, stop="count")]


def test_the_number_of_slots_is_the_protocols() -> None:
    for n_slots in (1, 3, 8):
        run = decode([START], dataclasses.replace(ONE, n_slots=n_slots))
        assert run.ids[: n_slots + 2] == [START, *[PAD] * n_slots, END]


def test_eos_inside_a_segment_is_not_obeyed_and_outside_it_is() -> None:
    run = decode([START, EOS, EOS, EOS, C, EOS, A])
    assert run.ids == [*SEGMENT, C, EOS]
    assert run.stop == "eos"
    assert decode([EOS, START]).ids == [EOS]


def test_a_run_that_says_eos_right_after_its_segment_stops_there() -> None:
    run = decode([START, A, A, A, EOS])
    assert run.ids == [*SEGMENT, EOS]
    assert run.spans[-1] == "answer"
    assert run.stop == "eos"


def test_a_pad_that_is_also_eos_does_not_stop_the_run_inside_a_segment() -> None:
    decoding = new_decoding(eos=(PAD,))
    for _ in SEGMENT:
        decoding.advance(START)
        assert decoding.stopped(NO_LIMIT) is None
    decoding.advance(PAD)
    assert decoding.stopped(NO_LIMIT) == "eos"


def test_a_second_start_marker_is_an_ordinary_token() -> None:
    run = decode([START, A, A, A, START, B, B, B, EOS])
    assert run.ids == [*SEGMENT, START, B, B, B, EOS]
    assert run.spans == [*SEGMENT_SPANS, *["answer"] * 5]


def test_a_start_marker_inside_a_segment_opens_nothing() -> None:
    run = decode([START, START, START, START, C, EOS])
    assert run.ids == [*SEGMENT, C, EOS]
    assert run.spans[4:] == ["answer", "answer"]


def test_pad_and_end_markers_outside_a_segment_are_ordinary_tokens() -> None:
    run = decode([PAD, END, A, EOS])
    assert run.ids == [PAD, END, A, EOS]
    assert run.spans == ["text"] * 4


def test_a_length_limit_inside_a_segment_leaves_it_open_and_stops_the_run_for_its_length() -> None:
    for limit in (1, 2, 3):
        run = decode([START, A, A, A], limit=limit)
        assert run.ids == SEGMENT[:limit]
        assert run.spans == SEGMENT_SPANS[:limit]
        assert run.segments == [Opened(start=0, slots=[1, 2][: limit - 1], end=None)]
        assert run.segments[0].stop == run.stop == "length"


def test_a_length_limit_that_falls_on_eos_counts_as_its_end() -> None:
    assert decode([A, EOS], limit=2).stop == "eos"
    assert decode([A, B, EOS], limit=2).stop == "length"


@given(scripts, st.integers(1, 4))
def test_any_script_gives_what_a_rewriting_of_the_script_gives(
    script: list[int], n_slots: int
) -> None:
    run = decode(script, dataclasses.replace(ONE, n_slots=n_slots))
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
    assert run.ids == wanted
    assert run.spans == wanted_spans
    assert len(run.segments) == (said[opens] == START)


# Without imagination, a chooser keeps openers from being chosen


def test_without_imagination_the_start_marker_loses_to_the_second_best_token() -> None:
    mute = choose([START, START, A, EOS], B, imagine=False).decoding
    assert mute.ids == mute.sampled == [B, B, A, EOS]
    assert mute.spans == ["text"] * 4
    assert START in choose([START, START, A, EOS], B, imagine=True).decoding.ids


def test_banning_the_start_marker_leaves_the_kept_logits_as_the_model_gave_them() -> None:
    row = choose([START], B, imagine=False)
    assert row.decoding.ids == [B]
    assert torch.equal(row.logits[0], logits_for(START, second=B))


def test_logits_are_kept_inside_segments_too_though_they_are_not_obeyed() -> None:
    row = choose([A, START, B, C, A, EOS], A, imagine=True)
    assert row.decoding.ids == [A, *SEGMENT, EOS]
    assert [int(logits.argmax()) for logits in row.logits] == [A, START, B, C, A, EOS]


def test_a_row_that_has_stopped_takes_no_further_step() -> None:
    row = choose([A, EOS, B, B], C, imagine=True)
    assert row.stop == "eos"
    assert row.decoding.ids == [A, EOS]
    assert len(row.logits) == 2


@given(scripts)
def test_without_imagination_no_script_opens_a_segment(script: list[int]) -> None:
    mute = choose([*script, EOS], C, imagine=False).decoding
    assert START not in mute.ids
    assert set(mute.spans) == {"text"}
    assert mute.segments == []


@given(scripts, last_ids, st.booleans())
def test_without_imagination_nothing_is_forced_or_open_from_the_beginning(
    script: list[int], last: int | None, force_start: bool
) -> None:
    forced = dataclasses.replace(MANY, trigger="forced", prompt_start=True)
    run = decode(script, forced, imagine=False, last_prompt_id=last, force_start=force_start)
    said = [*script, EOS]
    assert run.ids == said[: said.index(EOS) + 1]
    assert set(run.spans) == {"text"}


@pytest.mark.parametrize(
    ("chosen", "openers"),
    [
        (ONE, (START,)),
        (protocol("covt", pad=(5, 4)), (4, 5)),
        (protocol("text"), ()),
        (dataclasses.replace(protocol("covt", pad=(5, 4)), start=START), (4, 5, START)),
    ],
)
def test_the_openers_are_what_begins_a_segment_when_it_is_sampled(
    chosen: LatentProtocol, openers: tuple[int, ...]
) -> None:
    assert chosen.tokens(None, VOCAB).openers == openers
    for token in range(1, VOCAB):
        sampled_only = dataclasses.replace(chosen, trigger="sampled")
        assert bool(decode([token], sampled_only).segments) == (token in openers)


# Many segments, forced starts, prompts that end in a start marker


@st.composite
def feeding_protocols(draw: st.DrawFn) -> LatentProtocol:
    """Protocols that feed states, in which what is sampled inside decides at most its end."""
    return LatentProtocol(
        START,
        PAD,
        END,
        n_slots=draw(st.integers(1, 4)),
        segments=draw(st.sampled_from(["one", "many"])),
        trigger=draw(st.sampled_from(["sampled", "forced"])),
        prompt_start=draw(st.booleans()),
        start_slot=draw(st.sampled_from(["embed", "replace"])),
        visible=draw(st.sampled_from(["pad", "sampled"])),
        at_stop=draw(st.sampled_from(["force_end", "use_sampled"])),
        end_by_token=draw(st.booleans()),
    )


def rewrite(script: Sequence[int], chosen: LatentProtocol, *, forced: bool, opened: bool) -> Run:
    """Say what a run must be: stretches of words, each followed by a whole segment.

    Args:
        script: What is sampled; then the end of the sequence for ever.
        chosen: How segments go.
        forced: Whether a start marker takes the place of what is sampled first.
        opened: Whether the prompt ended in a start marker that counts.
    """
    rest = [*script, *[EOS] * MORE]
    if forced:
        rest[0] = START
    run = Run([], [], [], "eos")
    while True:
        start = -1
        if not opened:
            may_open = chosen.segments == "many" or not run.segments
            stops = (EOS, START) if may_open else (EOS,)
            n_words = next(i for i, token in enumerate(rest) if token in stops)
            run.ids += rest[: n_words + 1]
            run.spans += ["answer" if run.segments else "text"] * (n_words + 1)
            if rest[n_words] == EOS:
                return run
            start, rest = len(run.ids) - 1, rest[n_words + 1 :]
        rest = _whole_segment(run, rest, chosen, start)
        opened = False


def _whole_segment(run: Run, rest: list[int], chosen: LatentProtocol, start: int) -> list[int]:
    """Append one segment and return what of the script is left."""
    assert chosen.n_slots is not None
    begin, n_left = len(run.ids), chosen.n_slots
    if start >= 0:
        replaced = chosen.start_slot == "replace"
        run.spans[start] = "latents" if replaced else "start"
        begin, n_left = begin - replaced, n_left - replaced
    ends_itself = chosen.end_by_token and END in rest[: n_left + 1]
    n_more = rest.index(END) if ends_itself else n_left
    run.ids += rest[:n_more] if chosen.visible == "sampled" else [PAD] * n_more
    run.spans += ["latents"] * n_more
    slots, end = [*range(begin, len(run.ids))], None
    if chosen.at_stop == "force_end" or rest[n_more] == END:
        end = len(run.ids)
        run.ids.append(END)
        run.spans.append("end")
    run.segments.append(Opened(start, slots, end, "end" if ends_itself else "count"))
    return rest[n_more + (end is not None) :]


def cut(whole: Run, limit: int) -> Run:
    """Say what is left of a run that must not be longer than its limit."""
    if len(whole.ids) <= limit:
        return whole
    segments = []
    for segment in whole.segments:
        assert segment.start is not None
        if segment.start >= limit:
            continue
        closing = max([segment.start, *segment.slots]) + 1
        slots = [slot for slot in segment.slots if slot < limit]
        closed = closing < limit
        segments.append(segment if closed else Opened(segment.start, slots, None, "length"))
    return Run(whole.ids[:limit], whole.spans[:limit], segments, "length")


@given(feeding_protocols(), busy_scripts, last_ids, st.booleans())
def test_any_protocol_that_feeds_states_gives_what_a_rewriting_gives(
    chosen: LatentProtocol, script: list[int], last: int | None, force_start: bool
) -> None:
    run = decode(script, chosen, last_prompt_id=last, force_start=force_start)
    forced = force_start or chosen.trigger == "forced"
    opened = chosen.prompt_start and last == START
    assert run == rewrite(script, chosen, forced=forced, opened=opened)


@given(feeding_protocols(), busy_scripts, last_ids, st.integers(1, 20))
def test_a_limit_cuts_a_run_and_changes_nothing_before_it(
    chosen: LatentProtocol, script: list[int], last: int | None, limit: int
) -> None:
    whole = decode(script, chosen, last_prompt_id=last)
    assert decode(script, chosen, last_prompt_id=last, limit=limit) == cut(whole, limit)


@given(feeding_protocols(), busy_scripts, last_ids, st.integers(1, 20))
def test_a_limit_that_counts_outside_segments_only_lets_a_segment_finish(
    chosen: LatentProtocol, script: list[int], last: int | None, limit: int
) -> None:
    patient = dataclasses.replace(chosen, length_inside="ignore")
    whole = decode(script, patient, last_prompt_id=last)
    run = decode(script, patient, last_prompt_id=last, limit=limit)
    fits = next(n for n in range(limit, 100) if whole.spans[n - 1 : n] != ["latents"])
    assert run == cut(whole, fits)


@pytest.mark.parametrize(
    ("script", "ids"),
    [
        ([START, A, A, A, START, B, B, B, EOS], [*SEGMENT, *SEGMENT, EOS]),
        ([START, A, A, A, B, START, B, B, B, C], [*SEGMENT, B, *SEGMENT, C, EOS]),
        ([START, A, A, START, B, EOS], [*SEGMENT, B, EOS]),
    ],
)
def test_where_segments_are_many_a_start_marker_outside_one_opens_the_next(
    script: list[int], ids: list[int]
) -> None:
    run = decode(script, MANY)
    assert run.ids == ids
    assert len(run.segments) == ids.count(START)


def test_text_between_two_segments_is_part_of_the_answer() -> None:
    run = decode([A, START, A, A, A, B, START, B, B, B], MANY)
    assert run.spans == ["text", *SEGMENT_SPANS, "answer", *SEGMENT_SPANS, "answer"]


def test_a_forced_start_takes_the_place_of_the_first_token_whatever_it_was() -> None:
    for chosen, force_start in ((dataclasses.replace(ONE, trigger="forced"), False), (ONE, True)):
        for first in range(VOCAB):
            run = decode([first, A, A, A, C], chosen, force_start=force_start)
            assert run.ids == [*SEGMENT, C, EOS]
            assert run.segments[0].start == 0


def test_what_was_sampled_under_a_forced_start_stays_on_record() -> None:
    decoding = new_decoding(force_start=True)
    decoding.advance(A)
    assert (decoding.ids, decoding.sampled) == ([START], [A])


def test_a_start_marker_that_ends_the_prompt_opens_a_segment_if_the_protocol_says_so() -> None:
    opens = dataclasses.replace(ONE, prompt_start=True)
    run = decode([A, A, A, C], opens, last_prompt_id=START)
    assert run.ids == [PAD, PAD, END, C, EOS]
    assert run.segments == [Opened(start=-1, slots=[0, 1], end=2, stop="count")]
    assert decode([A, A, A, C], ONE, last_prompt_id=START).segments == []
    assert decode([A, A, A, C], opens, last_prompt_id=END).segments == []


def test_a_second_start_marker_is_ordinary_after_a_segment_that_the_prompt_opened_too() -> None:
    opens = dataclasses.replace(ONE, prompt_start=True)
    run = decode([A, A, A, START, B], opens, last_prompt_id=START)
    assert run.ids == [PAD, PAD, END, START, B, EOS]
    assert len(run.segments) == 1


# What only some families do inside a segment


def test_a_start_marker_inside_a_segment_may_restart_it() -> None:
    run = decode([START, A, START, A, A, A], dataclasses.replace(MANY, start_inside="restart"))
    assert run.ids == [START, PAD, *SEGMENT, EOS]
    assert run.segments == [
        Opened(start=0, slots=[1], end=None, stop="restart"),
        Opened(start=2, slots=[3, 4], end=5, stop="count"),
    ]


def test_a_start_marker_inside_a_segment_may_be_fed_as_itself_and_the_count_goes_on() -> None:
    run = decode([START, A, START, A, A], dataclasses.replace(MANY, start_inside="embed"))
    assert run.ids == [START, PAD, START, PAD, END, EOS]
    assert run.spans[:5] == ["start", "latents", "start", "latents", "end"]
    assert run.segments == [Opened(start=0, slots=[1, 3], end=4, stop="count")]


def test_a_start_marker_inside_a_segment_may_begin_the_count_again() -> None:
    run = decode([START, A, START, A, A, A], dataclasses.replace(MANY, start_inside="recount"))
    assert run.ids == [START, *[PAD] * 4, END, EOS]
    assert run.segments == [Opened(start=0, slots=[1, 2, 3, 4], end=5, stop="count")]


def test_equal_ids_in_a_row_may_end_a_segment_and_words_may_then_be_forced() -> None:
    repeats = dataclasses.replace(
        MANY, n_slots=9, n_repeat=3, visible="sampled", after_forced_end=C
    )
    run = decode([START, A, B, B, B, A], repeats)
    assert run.ids == [START, A, B, B, END, C, EOS]
    assert run.segments == [Opened(start=0, slots=[1, 2, 3], end=4, stop="repeat")]


def test_a_latent_near_the_end_vector_is_fed_and_then_ends_its_segment() -> None:
    near, far = torch.ones(4), torch.zeros(4)
    chosen = dataclasses.replace(MANY, n_slots=9, end_by_vector=EndVector("end"))
    decoding = new_decoding(chosen, end_vector=near)
    for sampled, state in [(START, far), (A, far), (A, near), (A, far), (B, far)]:
        decoding.advance(sampled, state)
    assert decoding.ids == [START, PAD, PAD, END, B]
    assert decoding.segments == [Opened(start=0, slots=[1, 2], end=3, stop="vector")]


# Latents that are ordinary tokens

SLOTS = (4, 5)
word_scripts = st.lists(st.sampled_from([*SLOTS, *SLOTS, A, B, START, EOS]), max_size=25)


def until_eos(script: Sequence[int]) -> list[int]:
    said = [*script, EOS]
    return said[: said.index(EOS) + 1]


@pytest.mark.parametrize("name", ["covt", "lavit"])
@pytest.mark.parametrize("segments", ["one", "many"])
def test_slot_tokens_are_latents_where_they_stand_and_nothing_is_changed(
    name: str, segments: Any
) -> None:
    chosen = protocol(name, pad=SLOTS, segments=segments)

    @given(word_scripts)
    def compare(script: list[int]) -> None:
        run, said = decode(script, chosen), until_eos(script)
        assert run.ids == said
        wanted: list[str] = []
        stretches: list[list[int]] = []
        for is_slot, places in groupby(range(len(said)), lambda place: said[place] in SLOTS):
            stretch = [*places]
            if is_slot and (segments == "many" or not stretches):
                stretches.append(stretch)
                wanted += ["latents"] * len(stretch)
            else:
                wanted += ["answer" if stretches else "text"] * len(stretch)
        assert run.spans == wanted
        assert run.segments == [Opened(None, slots, None, "run over") for slots in stretches]
        assert run.stop == "eos"

    compare()


@given(st.integers(1, 4), st.integers(1, 12))
def test_a_stretch_of_slot_tokens_is_cut_where_a_count_is_full(n_slots: int, length: int) -> None:
    run = decode([A, *[SLOTS[0]] * length], protocol("covt", pad=SLOTS, n_slots=n_slots))
    places = [*range(1, length + 1)]
    cuts = [places[i : i + n_slots] for i in range(0, length, n_slots)]
    assert [segment.slots for segment in run.segments] == cuts
    assert {segment.stop for segment in run.segments[:-1]} <= {"count"}


@given(word_scripts, st.integers(1, 12))
def test_a_limit_among_slot_tokens_leaves_their_segment_open(script: list[int], limit: int) -> None:
    chosen = protocol("covt", pad=SLOTS)
    said = until_eos(script)
    assume(len(said) > limit)
    run = decode(script, chosen, limit=limit)
    assert run.ids == said[:limit]
    assert run.stop == "length"
    if said[limit - 1] in SLOTS:
        assert run.segments[-1].stop == "length"
        assert run.segments[-1].slots[-1] == limit - 1


@given(word_scripts, st.integers(1, 6))
def test_mulls_pads_come_first_whatever_is_sampled_and_then_the_script_goes_on(
    script: list[int], n_slots: int
) -> None:
    run = decode(script, protocol("mull", pad=PAD, n_slots=n_slots))
    said = [*script, *[EOS] * n_slots]
    after = until_eos(said[n_slots:])
    assert run.ids == [*[PAD] * n_slots, *after]
    assert run.spans == [*["latents"] * n_slots, *["answer"] * len(after)]
    assert run.segments == [Opened(None, [*range(n_slots)], None, "count")]


PIECES = {A: "so ", B: "<ans", C: "wer>", 4: "<", 5: "answer", 6: ">", START: "\\boxed", PAD: "{"}


def read(ids: list[int]) -> str:
    return "".join(PIECES.get(index, "#") for index in ids)


@given(st.lists(st.integers(0, VOCAB - 1), max_size=40))
def test_an_imagination_in_words_lasts_until_a_mark_is_whole(script: list[int]) -> None:
    run, said = decode(script, protocol("text"), read=read), until_eos(script)
    marks = ("<answer>", "\\boxed{")
    whole = (i for i in range(len(said)) if any(mark in read(said[: i + 1]) for mark in marks))
    place = next(whole, None)
    assert run.ids == said
    if place is None:
        n_words = len(said) - 1
        assert run.spans == [*["latents"] * n_words, "answer"]
        assert run.segments == [Opened(None, [*range(n_words)], None, "run over")]
    else:
        n_after = len(said) - place - 1
        assert run.spans == [*["latents"] * place, "end", *["answer"] * n_after]
        assert run.segments == [Opened(None, [*range(place)], place, "mark")]


@pytest.mark.parametrize(
    "mark", [[B, C], [4, 5, 6], [B, 5, 6, 4, 5, 6], [START, PAD]], ids=lambda ids: read(ids)
)
def test_a_mark_may_be_spread_over_several_tokens(mark: list[int]) -> None:
    run = decode([A, A, *mark, A], protocol("text"), read=read)
    assert run.segments[0].end == 2 + len(mark) - 1
    assert run.spans[-2:] == ["answer", "answer"]


def test_a_mark_is_found_after_any_number_of_words() -> None:
    for n_words in range(40):
        run = decode([*[A] * n_words, 4, 5, 6], protocol("text"), read=read)
        assert run.segments[0].end == n_words + 2
