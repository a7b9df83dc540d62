"""Imagination in words: where it ends, what is said for the model, and answers from words alone."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mindseye as me
from mindseye.errors import EditError, ProtocolError, SampleError
from mindseye.reasoners import Edit, Knockout, LatentProtocol
from mindseye.reasoners.choosing import Sampling
from mindseye.reasoners.decoding import Decoding
from mindseye.reasoners.protocols import LatentTokens
from mindseye.tasks.digits import Digits
from tests.speaking import EXACT, MARK, ids_of, own_words, reader, speaker, stock

MARKS = ("\\boxed{", "<answer>", "#")
MARKERLESS = LatentTokens(None, None, None)

model = pytest.mark.model

words = st.text("ab ,.\n", max_size=12)
blanks = st.text(" \n\t", max_size=3)


@st.composite
def told(draw):
    """A text that ends in a mark and a little more, cut into pieces anyhow."""
    text = draw(words).rstrip() + draw(blanks) + draw(st.sampled_from(MARKS))
    cuts = sorted(draw(st.sets(st.integers(1, len(text) - 1)))) if len(text) > 1 else []
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    pieces[-1] += draw(st.sampled_from(["", "7", "}", " x"]))
    return pieces


def decoded(pieces, marks=MARKS, more=("7", "}")):
    """What the machine makes of pieces of text, said one after the other."""
    said = [*pieces, *more]
    decoding = Decoding(
        me.protocol("text", answer_marks=marks),
        MARKERLESS,
        eos=frozenset(),
        read=lambda ids: "".join(said[i] for i in ids),
    )
    for step in range(len(said)):
        decoding.advance(step)
    return decoding


@given(told())
def test_words_are_what_begins_before_the_mark_and_its_blanks(pieces):
    decoding = decoded(pieces)
    text = "".join(pieces)
    at = min(text.index(mark) for mark in MARKS if mark in text)
    end, begins, wanted = len(text[:at].rstrip()), 0, []
    for piece in pieces:
        wanted.append("latents" if begins < end else "end")
        begins += len(piece)
    # The token that completes the mark is never a word, though it may begin in one.
    wanted[-1] = "end"
    assert decoding.spans == [*wanted, "answer", "answer"]
    (segment,) = decoding.segments
    assert segment.slots == [i for i, span in enumerate(wanted) if span == "latents"]
    assert (segment.end, segment.stop) == (len(pieces) - 1, "mark")


@given(told())
def test_taking_a_mark_out_of_the_words_changes_nothing_that_was_said(pieces):
    decoding = decoded(pieces)
    assert decoding.ids == decoding.sampled == list(range(len(pieces) + 2))


@pytest.mark.parametrize(
    ("pieces", "n_words"),
    [
        (["It", " is", " red", ".", "\n", "\\", "boxed", "{"], 4),
        (["It", " is", " red", ".\n", "\\boxed{"], 4),
        (["It", " is", " red. ", "\n", "#"], 3),
        (["It", " is", " red", " ", "<", "answer", ">"], 3),
        (["It", " is", " red <", "answer", ">"], 3),
        (["It", " is", " re", "d<answer>7"], 3),
        (["#"], 0),
        (["\n", " ", "#"], 0),
        (["a#b"], 0),
    ],
)
def test_a_token_that_begins_in_the_words_stays_one(pieces, n_words):
    decoding = decoded(pieces)
    assert decoding.segments[0].slots == list(range(n_words))
    assert decoding.spans[n_words : len(pieces)] == ["end"] * (len(pieces) - n_words)


def test_what_looks_like_a_mark_but_is_none_stays_a_word():
    pieces = ["<", "answ", "it", "<", "answer", " >", "<answer", ">"]
    assert decoded(pieces, ("<answer>",)).segments[0].slots == list(range(6))


def test_the_first_of_several_marks_ends_the_words():
    assert decoded(["a", "#", "<answer>"], more=()).spans == ["latents", "end", "answer"]


def test_a_run_may_end_where_its_words_do():
    pieces = ["a", "b", "#", "7"]
    decoding = Decoding(
        me.protocol("text", answer_marks=("#",)), MARKERLESS, eos=frozenset(), until_answer=True,
        read=lambda ids: "".join(pieces[i] for i in ids),
    )  # fmt: skip
    stops = []
    for step in range(3):
        decoding.advance(step)
        stops.append(decoding.stopped(99))
    assert stops == [None, None, "eos"]


def test_what_is_said_stands_there_and_what_was_sampled_is_kept():
    decoding = Decoding(
        LatentProtocol(source="token_embedding", visible="sampled", trigger="forced"),
        MARKERLESS, eos=frozenset(), saying=(5, 6),
    )  # fmt: skip
    for sampled in (1, 2, 3):
        decoding.advance(sampled)
    assert (decoding.ids, decoding.sampled) == ([5, 6, 3], [1, 2, 3])


def test_answers_from_words_need_words_that_end():
    with pytest.raises(ProtocolError, match=r"nothing ends them. Give it answer_marks"):
        me.protocol("text", answers_from="words", answer_marks=())
    assert not LatentProtocol("<s>", "<p>", "<e>", n_slots=2).in_words
    assert me.protocol("text").in_words


# On a model ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(folder):
    return reader(folder, answer_marks=MARKS)


@pytest.fixture(scope="module")
def blind(folder):
    """The same model, answering from its words alone; what it says of a picture is scripted."""
    return reader(folder, answers_from="words")


@pytest.fixture(scope="module")
def pair():
    return Digits(kinds=("zoom",)).pairs(1, seed=1)[0]


@pytest.fixture(scope="module")
def said(ours, pair):
    """A run whose words and mark were said for it."""
    return ours.run(pair.clean, saying=ids_of(ours, own_words(pair.clean)), max_new_tokens=30)


@model
@pytest.mark.parametrize("mark", ["\n\\boxed{", "\n<answer>", " #", "#", "\n\n <answer>"])
def test_slots_and_end_cover_all_that_was_said_up_to_the_mark(ours, pair, mark):
    ids = ids_of(ours, f"{pair.clean.imagination}{mark}")
    run = ours.run(pair.clean, saying=ids, max_new_tokens=len(ids) + 3)
    (segment,) = run.segments
    assert ours.read(run.words) == pair.clean.imagination
    begins = run.n_prompt
    assert list(segment.slots) == list(range(begins, begins + len(run.words)))
    assert run.spans["end"].tolist() == list(range(begins + len(run.words), begins + len(ids)))
    assert run.spans["answer"].tolist() == list(range(begins + len(ids), len(run.labels)))
    assert run.latent_positions.tolist() == list(segment.slots)
    assert run.fed_is_latent.tolist() == [place in segment.slots for place in
                                          range(run.n_prompt, len(run.labels))]  # fmt: skip
    assert torch.equal(run.fed_latents, ours.embed(torch.tensor(run.words)))
    assert (segment.stop, segment.end) == ("mark", begins + len(ids) - 1)
    assert run.emitted


@model
@pytest.mark.parametrize(("mark", "closing"), [("\n\\boxed{", "}"), ("<answer>", "</answer>")])
def test_text_and_answer_still_hold_words_mark_and_all(ours, pair, mark, closing):
    text = f"{pair.clean.imagination}{mark}42{closing}"
    ids = ids_of(ours, text)
    run = ours.run(pair.clean, saying=ids, max_new_tokens=len(ids))
    assert (run.text, run.answer, run.parsed) == (text, "42", True)


@model
def test_what_is_said_stands_there_beside_what_the_model_would_have_said(ours, said, pair):
    ids = ids_of(ours, own_words(pair.clean))
    assert said.token_ids[: len(ids)].tolist() == ids
    assert said.settings.saying == tuple(ids)
    assert torch.equal(said.sampled_ids, said.logits.argmax(dim=-1))
    assert said.sampled_ids[: len(ids)].tolist() != ids
    assert torch.equal(said.sampled_ids[len(ids) :], said.token_ids[len(ids) :])


@model
def test_a_run_that_was_told_its_words_is_the_stock_model_on_these_ids(ours, said, pair):
    wanted = stock(ours, pair.clean, said.token_ids[:-1].tolist())
    torch.testing.assert_close(said.logits, wanted, **EXACT)
    torch.testing.assert_close(ours.replay(said).logits[0], wanted, **EXACT)


@model
def test_a_run_that_is_told_what_it_says_anyway_is_itself(ours, pair):
    own = ours.run(pair.clean, max_new_tokens=12)
    told = ours.run(pair.clean, saying=own.token_ids[:9].tolist(), max_new_tokens=12)
    assert torch.equal(own.token_ids, told.token_ids)
    assert torch.equal(told.sampled_ids, own.sampled_ids)
    assert torch.equal(own.logits, told.logits)
    assert ours.run(pair.clean, saying=[], max_new_tokens=12).settings.saying == ()


@model
def test_rows_of_a_batch_are_told_their_own_words(ours, pair):
    samples = [pair.clean, me.task("digits").samples(3, seed=5)[2], pair.reference]
    saying = [ids_of(ours, text) for text in (own_words(samples[0]), f"a{MARK}", "It")]
    batch = ours.run_batch(samples, saying=saying, max_new_tokens=26)
    for row, sample, ids in zip(batch, samples, saying, strict=True):
        alone = ours.run(sample, saying=ids, max_new_tokens=26)
        assert torch.equal(row.token_ids, alone.token_ids)
        assert torch.equal(row.labels, alone.labels)
        assert row.words == alone.words
        torch.testing.assert_close(row.logits, alone.logits, **EXACT)


@model
def test_a_row_of_a_batch_may_be_told_nothing(ours, pair):
    ids = ids_of(ours, own_words(pair.clean))
    free, told = ours.run_batch([pair.clean] * 2, saying=[[], ids], max_new_tokens=25)
    assert torch.equal(free.token_ids, ours.run(pair.clean, max_new_tokens=25).token_ids)
    assert told.token_ids[: len(ids)].tolist() == ids


@model
def test_saying_one_list_too_few_is_refused(ours, pair):
    with pytest.raises(ValueError, match="zip"):
        ours.run_batch([pair.clean, pair.reference], saying=[[1]])


@model
def test_saying_more_than_a_run_may_hold_is_cut_there(ours, pair):
    ids = ids_of(ours, own_words(pair.clean))
    run = ours.run(pair.clean, saying=ids, max_new_tokens=5)
    assert (run.token_ids.tolist(), run.stop) == (ids[:5], "length")
    assert not run.emitted


@model
def test_words_cannot_be_said_where_latents_are_none(reasoner, pair):
    with pytest.raises(ProtocolError, match=r"are no words.*protocol='text'"):
        reasoner.run(pair.clean, saying=[1, 2])


@model
def test_edges_cannot_be_cut_before_it_is_known_where_words_end(ours, pair):
    wired = replace(ours, wiring=(Knockout("post", "prefix"),))
    with pytest.raises(ProtocolError, match="which words are the mark that ends them shows only"):
        wired.run(pair.clean)


@model
def test_a_sampled_run_draws_on_after_what_was_said(ours, pair):
    """What is said costs as many draws as it is long, so that a run told its own words goes on."""

    def run(saying=()):
        return ours.run(
            pair.clean, saying=saying, sampling=Sampling(temperature=3.0), max_new_tokens=12,
            generator=torch.Generator().manual_seed(4),
        )  # fmt: skip

    free = run()
    assert not torch.equal(free.token_ids, free.logits.argmax(dim=-1))
    assert torch.equal(run(free.token_ids[:6].tolist()).token_ids, free.token_ids)


@model
def test_a_closed_loop_says_the_words_again(ours, said):
    (again,) = ours.replay(said, [[]], mode="closed_loop")
    assert torch.equal(again.token_ids, said.token_ids)
    assert torch.equal(again.labels, said.labels)
    torch.testing.assert_close(again.logits, said.logits, **EXACT)


# Other words --------------------------------------------------------------------------------------


def after_words(run):
    """What was fed after the words: the mark, and the answer as far as it was fed."""
    return run.token_ids[len(run.words) : -1].tolist()


@model
def test_a_runs_own_words_put_back_are_the_run(ours, said):
    same = said.with_words(said.words)
    assert torch.equal(same.labels, said.labels)
    assert torch.equal(same.embeds, said.embeds)
    assert torch.equal(same.position_ids, said.position_ids)
    assert torch.equal(same.token_ids, said.token_ids)
    assert torch.equal(same.fed_is_latent, said.fed_is_latent)
    torch.testing.assert_close(ours.replay(same).logits[0], said.logits, **EXACT)


@model
@pytest.mark.parametrize(
    "text", ["", "a", "It shows a 3.", "I look closely at the red cell. It shows a 3. " * 3]
)
def test_other_words_are_the_stock_model_on_these_ids_whatever_their_number(ours, said, pair, text):
    ids = ids_of(ours, text)
    other = said.with_words(ids)
    wanted = stock(ours, pair.clean, [*ids, *after_words(said)])
    torch.testing.assert_close(ours.replay(other).logits[0], wanted, **EXACT)
    assert len(other.latent_positions) == len(ids)
    assert other.token_ids[: len(ids)].tolist() == ids
    assert other.token_ids[len(ids) :].tolist() == said.token_ids[len(said.words) :].tolist()
    assert len(other.labels) == len(said.labels) + len(ids) - len(said.words)


@model
def test_other_words_change_the_answer(ours, said):
    """The twin of the last: equality with a stock run would mean little if words were not read."""
    other = ours.replay(said.with_words(said.words[::-1])).logits[0, -1]
    assert (other - said.logits[-1]).abs().max() > 1e-3


@model
def test_words_put_into_a_cut_run_stand_before_what_is_fed(ours, said, pair):
    cut = said.until_answer((20, 30))
    wanted = stock(ours, pair.clean, [7, 8, 9, *ids_of(ours, MARK), 20, 30])
    found = ours.replay(cut.with_words([7, 8, 9])).logits[0]
    torch.testing.assert_close(found, wanted, **EXACT)


@model
@given(data=st.data())
def test_words_put_in_twice_are_those_put_in_last(said, data):
    drawn = st.lists(st.integers(0, 300), min_size=1, max_size=20)
    one, two = data.draw(drawn), data.draw(drawn)
    once, twice = said.with_words(two), said.with_words(one).with_words(two)
    for name in ("labels", "embeds", "position_ids", "token_ids", "fed_is_latent"):
        assert torch.equal(getattr(once, name), getattr(twice, name))


@model
def test_words_are_put_into_one_segment_of_words_only(ours, said, trace):
    with pytest.raises(EditError, match=r"with 1 segments.*protocol='text'"):
        trace.with_words([1])
    silent = ours.run(said.sample, imagine=False, max_new_tokens=3)
    with pytest.raises(EditError, match="'text' with 0 segments"):
        silent.with_words([1])
    twice = replace(said, segments=said.segments * 2)
    with pytest.raises(EditError, match="with 2 segments"):
        twice.with_words([1])


# Answers from words alone -------------------------------------------------------------------------


@model
def test_a_description_is_a_run_with_the_picture_up_to_the_mark(ours, blind, pair):
    run = speaker(blind).run(pair.clean, max_new_tokens=30)
    seen = speaker(ours).run(pair.clean, max_new_tokens=30)
    n = len(ids_of(ours, own_words(pair.clean)))
    assert torch.equal(run.description.token_ids, seen.token_ids[:n])
    torch.testing.assert_close(run.description.logits, seen.logits[:n], **EXACT)
    assert run.description.words == seen.words == run.words
    assert len(run.description.spans["image"]) > 0
    assert run.description.stop == "eos"
    assert (seen.description, run.description.description) == (None, None)


@model
def test_the_answer_is_the_stock_model_on_the_words_without_the_picture(blind, pair):
    run = speaker(blind).run(pair.clean, max_new_tokens=30)
    assert len(run.spans["image"]) == 0
    assert run.sample is pair.clean
    unseen = replace(pair.clean, images=())
    wanted = stock(blind, unseen, run.token_ids[:-1].tolist())
    torch.testing.assert_close(run.logits, wanted, **EXACT)
    assert (run.text.startswith(pair.clean.imagination), run.emitted) == (True, True)


@model
def test_two_pictures_with_the_same_words_give_the_same_answer_to_the_bit(blind, pair):
    same = speaker(blind, lambda sample: own_words(pair.clean))
    one, other = (same.run(each, max_new_tokens=30) for each in (pair.clean, pair.reference))
    assert not torch.equal(one.description.logits, other.description.logits)
    assert torch.equal(one.logits, other.logits)
    assert (one.text, one.answer) == (other.text, other.answer)
    others = speaker(blind).run(pair.reference, max_new_tokens=30)
    assert not torch.equal(others.logits[-1], one.logits[-1])


@model
def test_words_that_are_given_need_no_description(blind, pair):
    ids = ids_of(blind, own_words(pair.reference))
    run = blind.run(pair.clean, saying=ids, max_new_tokens=30)
    assert run.description is None
    assert blind.read(run.words) == pair.reference.imagination
    assert torch.equal(run.logits, speaker(blind).run(pair.reference, max_new_tokens=30).logits)


@model
def test_a_batch_of_answers_from_words_is_its_single_runs(blind, pair):
    samples = [pair.clean, *Digits(kinds=("transform",)).samples(2)]
    ours = speaker(blind)
    batch = ours.run_batch(samples, max_new_tokens=60, past_key_values=True)
    assert len({len(run.words) for run in batch}) > 1
    for row, sample in zip(batch, samples, strict=True):
        alone = ours.run(sample, max_new_tokens=60)
        assert torch.equal(row.token_ids, alone.token_ids)
        torch.testing.assert_close(row.logits, alone.logits, **EXACT)
        torch.testing.assert_close(row.description.logits, alone.description.logits, **EXACT)
        assert row.past_key_values[0][0].shape[2] == len(row.labels)


@model
def test_a_random_model_describes_for_itself(blind, pair):
    """Nothing is scripted: without a mark the words end with the run, and stand there twice."""
    run = blind.run(pair.clean, max_new_tokens=8)
    assert torch.equal(run.token_ids, run.description.token_ids)
    assert not run.emitted
    assert len(run.spans["image"]) == 0


@model
def test_a_closed_loop_answers_from_the_same_words_again(blind, pair):
    run = speaker(blind).run(pair.clean, max_new_tokens=30)
    louder = Edit("hook_embed", run.latent_positions, 3 * run.fed_latents)
    again, edited = blind.replay(run, [[], [louder]], mode="closed_loop")
    torch.testing.assert_close(again.logits, run.logits, **EXACT)
    assert torch.equal(again.token_ids, run.token_ids)
    assert len(again.spans["image"]) == 0
    assert edited.words == run.words
    assert (edited.logits[-1] - run.logits[-1]).abs().max() > 1e-3


@model
def test_prepared_inputs_have_a_picture_that_cannot_be_taken_away(blind, said):
    inputs = {"input_ids": said.prompt.input_ids, **said.prompt.features}
    with pytest.raises(SampleError, match="cannot be taken out of prepared inputs"):
        blind.run(inputs)


@model
def test_without_imagination_the_answer_is_given_to_the_picture(ours, blind, pair):
    run = blind.run(pair.clean, imagine=False, max_new_tokens=4)
    seen = ours.run(pair.clean, imagine=False, max_new_tokens=4)
    assert torch.equal(run.logits, seen.logits)
    assert run.description is None


@model
def test_a_knockout_of_the_words_cuts_the_mark_and_the_answer_off(ours, said):
    """The mark stands after the words, and so belongs to those that no longer read them."""
    cut = Knockout("post", "latents")
    one = ours.replay(said, knockouts=[cut]).logits[0]
    other = ours.replay(said.with_words(said.words[::-1]), knockouts=[cut]).logits[0]
    after = len(said.words)
    torch.testing.assert_close(one[after + 1 :], other[after + 1 :], **EXACT)
    assert (one[after] - other[after]).abs().max() > 1e-3
