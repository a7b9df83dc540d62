"""Strict runs, against decoding word by word without a cache, and against the plain closed loop."""

import pytest

import mindseye as me
from mindseye.engine import STRICT
from mindseye.errors import SampleError
from mindseye.reasoners.shared import SharedStream

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def asked():
    return me.task("digits").samples(6, seed=4)


def words_without_the_image(reasoner, sample, limit=64):
    """Choose each word from a whole pass over all before it, the image cut from what follows."""
    trace = reasoner.run(sample, max_new_tokens=limit)
    n_before = len(trace.until_answer().token_ids)
    said = []
    while n_before + len(said) < limit:
        replay = reasoner.replay(trace.until_answer(said), knockouts=STRICT)
        word = int(replay.logits[0, -1].argmax())
        if word in reasoner.eos:
            break
        said.append(word)
    return reasoner.read(said, special=False).strip()


@pytest.mark.parametrize("name", ["bypass", "natural", "mediator"])
def test_every_word_after_the_latents_is_chosen_without_the_image(organism, asked, name):
    reasoner = organism(name)
    rows = me.strict_runs(reasoner, asked)
    assert rows["emitted"].all()
    assert rows["strict_answer"].tolist() == [words_without_the_image(reasoner, s) for s in asked]
    assert rows["answer"].tolist() == [reasoner.run(sample).answer for sample in asked]


def test_words_that_hang_on_the_image_are_other_words_without_it(reasoner, samples):
    """Random weights do hang on it."""
    rows = me.strict_runs(reasoner, samples[:4], max_new_tokens=12)
    words = [words_without_the_image(reasoner, sample, 12) for sample in samples[:4]]
    assert rows["strict_answer"].tolist() == words
    assert rows["flipped"].all()


def test_a_strict_run_is_the_plain_closed_loop(reasoner, samples, monkeypatch):
    shared = me.strict_runs(reasoner, samples, max_new_tokens=12)
    monkeypatch.setattr(SharedStream, "branch", lambda *_, **__: None)
    plain = me.strict_runs(reasoner, samples, max_new_tokens=12)
    assert shared.equals(plain)
    assert shared["flipped"].any()


def test_what_never_read_the_image_after_its_latents_answers_alike(organism, asked):
    rows = me.strict_runs(organism("mediator"), asked)
    assert not rows["flipped"].any()
    assert rows["strict_answer"].tolist() == rows["answer"].tolist()


def test_the_table_has_one_row_per_sample(organism, asked):
    rows = me.strict_runs(organism("natural"), asked)
    assert list(rows) == [
        "sample",
        "gold",
        "emitted",
        "answer",
        "parsed",
        "strict_answer",
        "strict_parsed",
        "flipped",
    ]
    assert rows["sample"].tolist() == [sample.id for sample in asked]
    assert rows["gold"].tolist() == [sample.answer for sample in asked]
    assert rows["flipped"].tolist() == (rows["strict_answer"] != rows["answer"]).tolist()


def test_a_run_that_never_imagines_is_its_own_strict_run(reasoner, asked, monkeypatch):
    run = type(reasoner).run_batch

    def silent(self, given, **more):
        return run(self, given, **more | {"imagine": False})

    monkeypatch.setattr(type(reasoner), "run_batch", silent)
    rows = me.strict_runs(reasoner, asked, max_new_tokens=8)
    assert not rows["emitted"].any()
    assert not rows["flipped"].any()
    assert rows["strict_answer"].tolist() == rows["answer"].tolist()
    assert rows["strict_parsed"].tolist() == rows["parsed"].tolist()


def test_a_segment_cut_off_by_the_limit_is_not_decoded_again(organism, asked):
    rows = me.strict_runs(organism("natural"), asked[:1], max_new_tokens=3)
    assert not rows["emitted"].any()
    assert not rows["flipped"].any()


def test_no_sample_is_no_empty_table(organism):
    with pytest.raises(SampleError, match="at least one"):
        me.strict_runs(organism("mediator"), [])
