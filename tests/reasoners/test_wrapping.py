"""Models in memory, prepared inputs, and how tokens are chosen."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

import mindseye as me
from mindseye.errors import EditError, ModelError, ProtocolError, SampleError
from mindseye.reasoners import Reasoner, triggering
from mindseye.reasoners.choosing import Chooser, Sampling
from mindseye.samples import Sample
from tests.tiny import MARKERS, tiny

START, PAD, END = MARKERS

LOGITS = torch.tensor([0.0, 1.0, 2.0, -1.0])


@pytest.fixture(scope="module")
def bare() -> Reasoner:
    """A tiny text model without a tokenizer."""
    mirage = me.protocol("mirage", start=START, pad=PAD, end=END, n_slots=3)
    return me.wrap(tiny("llama").model, protocol=mirage)


def test_a_greedy_choice_is_the_likeliest_token_that_is_not_banned() -> None:
    assert Chooser().choose(LOGITS, []) == 2
    assert Chooser(banned=(2,)).choose(LOGITS, []) == 1


def test_draws_follow_the_tempered_distribution() -> None:
    drawn = Counter(Chooser(Sampling(2.0), seed=i).choose(LOGITS, [0]) for i in range(4000))
    wanted = (LOGITS / 2).softmax(dim=-1)
    for token, share in enumerate(wanted.tolist()):
        assert drawn[token] / 4000 == pytest.approx(share, abs=0.035)


def test_a_draw_keeps_to_the_likeliest_tokens_and_never_to_banned_ones() -> None:
    narrow = [Chooser(Sampling(top_k=2), i, banned=(2,)).choose(LOGITS, [0]) for i in range(50)]
    assert set(narrow) == {0, 1}
    assert {Chooser(Sampling(top_p=0.3), i).choose(LOGITS, [0]) for i in range(20)} == {2}


def test_tokens_seen_before_become_less_likely_under_a_penalty() -> None:
    penal = Sampling(temperature=0.01, repetition_penalty=10.0)
    assert Chooser(penal, seed=0).choose(LOGITS, [2]) == 1


def test_a_temperature_that_transformers_refuses_is_refused_in_our_words(bare: Reasoner) -> None:
    with pytest.raises(SampleError, match="cannot be used"):
        bare.run(tiny("llama").inputs(), sampling=Sampling(-1.0), generator=torch.Generator())


def test_drawing_without_a_generator_is_refused(bare: Reasoner) -> None:
    with pytest.raises(SampleError, match="no generator"):
        bare.run(tiny("llama").inputs(), sampling=Sampling())


def test_prepared_inputs_leave_a_whole_trace(bare: Reasoner) -> None:
    inputs = tiny("llama").inputs()
    trace = bare.run(inputs, max_new_tokens=8, force_start=True)
    assert torch.equal(trace.prompt_ids, inputs["input_ids"][0])
    assert trace.token_ids[0] == START
    assert trace.settings.force_start
    assert len(trace.sampled_ids) == len(trace.token_ids) == len(trace.logits)
    assert len(trace.fed) == len(trace.fed_is_latent) == len(trace.token_ids) - 1
    assert torch.equal(trace.fed[trace.fed_is_latent], trace.fed_latents)
    assert (trace.latent_positions - trace.n_prompt).tolist() == (
        trace.fed_is_latent.nonzero()[:, 0].tolist()
    )
    (segment, *_) = trace.segments
    assert segment.sources == tuple(slot - 1 for slot in segment.slots)
    assert (trace.text, trace.answer, trace.parsed) == ("", "", False)


@pytest.mark.parametrize(
    "inputs",
    [{}, {"input_ids": [[1, 2]]}, {"input_ids": torch.ones(2, 3).long()}],
    ids=["nothing", "a list", "two rows"],
)
def test_prepared_inputs_of_another_shape_are_refused(bare: Reasoner, inputs: dict) -> None:
    with pytest.raises(SampleError, match="one prompt per mapping"):
        bare.run(inputs)


def test_without_a_processor_samples_and_texts_are_refused(bare: Reasoner) -> None:
    with pytest.raises(ModelError, match="prepared inputs"):
        bare.run(Sample((), "Which digit?", "1"))
    with pytest.raises(ModelError, match="without a processor"):
        bare.run(tiny("llama").inputs(), max_new_tokens=2).tokens()


def test_an_empty_batch_is_no_run_and_an_empty_replay_is_refused(bare: Reasoner) -> None:
    assert bare.run_batch([]) == []
    with pytest.raises(EditError, match="no branches"):
        bare.replay(bare.run(tiny("llama").inputs(), max_new_tokens=2), [])


def test_a_start_cannot_be_forced_where_nothing_may_open_or_nothing_starts() -> None:
    inputs = tiny("llama").inputs()
    words = me.protocol("text", answer_marks=())
    with pytest.raises(ProtocolError, match="no start marker"):
        me.wrap(tiny("llama").model, protocol=words).run(inputs, force_start=True)
    mirage = me.protocol("mirage", start=START, pad=PAD, end=END)
    with pytest.raises(ProtocolError, match="imagine=False"):
        me.wrap(tiny("llama").model, protocol=mirage).run(inputs, force_start=True, imagine=False)


def test_extra_weights_must_be_there_and_fit() -> None:
    model = tiny("gpt2").model
    with pytest.raises(ProtocolError, match="'prj'"):
        me.wrap(model, protocol="codi")
    with pytest.raises(ProtocolError, match="width 48"):
        me.wrap(model, protocol="codi", modules={"prj": torch.nn.Linear(10, 10)})
    lvr = me.protocol("lvr_vector", start=START, pad=PAD, end=END)
    with pytest.raises(ProtocolError, match="width 48"):
        me.wrap(model, protocol=lvr, modules={"lvr_latent_end_emb": torch.zeros(7)})


def test_a_model_that_never_imagines_has_the_rate_zero_and_nothing_to_mediate(
    bare: Reasoner,
) -> None:
    traces = [bare.run(tiny("llama").inputs(i), max_new_tokens=4, imagine=False) for i in range(5)]
    found = triggering(traces)
    assert (found.rate, found.low, found.segments) == (0, 0, {0: 5})
    assert 0.4 < found.high < 0.6  # the exact interval of 0 in 5
    assert found.parse_rate == found.accuracy == 0
