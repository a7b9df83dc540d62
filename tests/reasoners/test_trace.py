from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest
import torch

from mindseye.errors import EditError
from mindseye.reasoners import Edit, Reasoner, Trace, load, wrap
from mindseye.reasoners.protocols import LatentTokens
from mindseye.reasoners.spans import SPANS
from mindseye.reasoners.stream import Stream
from mindseye.samples import Sample
from mindseye.tasks.digits import KINDS, Digits

pytestmark = pytest.mark.model

REPLAY = {"atol": 1e-5, "rtol": 1e-5}  # one pass against many: float32 sums in another order
EXACT = {"atol": 1e-12, "rtol": 1e-12}  # the same in float64


@pytest.fixture(scope="module")
def traces(reasoner: Reasoner) -> list[Trace]:
    """Runs of several kinds of question, and one about two images."""
    samples = Digits(kinds=KINDS).samples(6)
    scene = samples[0].image
    samples.append(Sample(images=(scene, 255 - scene), question=samples[0].question, answer="1"))
    return [reasoner.run(sample, max_new_tokens=14) for sample in samples]


def test_every_position_of_a_run_is_in_exactly_one_span(traces: list[Trace]) -> None:
    for trace in traces:
        found = torch.cat(list(trace.spans.values()))
        assert sorted(found.tolist()) == list(range(len(trace.labels)))
        assert list(trace.spans) == list(SPANS)


def test_a_runs_parts_agree_in_length(traces: list[Trace]) -> None:
    for trace in traces:
        n_seq = len(trace.labels)
        assert len(trace.embeds) == trace.position_ids.shape[1] == n_seq
        assert len(trace.all_ids) == n_seq + 1
        assert len(trace.logits) == len(trace.token_ids) == len(trace.sampled_ids)
        assert len(trace.token_ids) == n_seq + 1 - trace.n_prompt
        assert len(trace.fed) == len(trace.fed_is_latent) == n_seq - trace.n_prompt
        assert len(trace.tokens()) == len(trace.all_ids)


def test_a_runs_ids_are_its_prompts_and_then_its_own(traces: list[Trace]) -> None:
    for trace in traces:
        assert torch.equal(trace.prompt_ids, trace.prompt.input_ids[0])
        assert len(trace.prompt_ids) == trace.n_prompt
        assert trace.all_ids == [*trace.prompt_ids.tolist(), *trace.token_ids.tolist()]
        read = trace.reasoner.processor.tokenizer.decode
        assert trace.tokens() == [read([index]) for index in trace.all_ids]


def test_what_was_sampled_is_what_the_kept_logits_liked_best(traces: list[Trace]) -> None:
    for trace in traces:
        assert torch.equal(trace.sampled_ids, trace.logits.argmax(-1))
        (segment,) = trace.segments
        inside = slice(segment.slots[0] - trace.n_prompt, segment.end - trace.n_prompt + 1)
        assert not torch.equal(trace.sampled_ids[inside], trace.token_ids[inside])
        outside = torch.ones(len(trace.token_ids), dtype=torch.bool)
        outside[inside] = False
        assert torch.equal(trace.sampled_ids[outside], trace.token_ids[outside])


def test_an_imagining_run_has_one_segment_between_its_markers(traces: list[Trace]) -> None:
    for trace in traces:
        assert trace.emitted
        (segment,) = trace.segments
        assert segment.slots == tuple(range(segment.start + 1, segment.start + 5))
        assert segment.end == segment.slots[-1] + 1
        assert segment.stop == "count"
        assert segment.sources == tuple(slot - 1 for slot in segment.slots)
        shown = trace.all_ids[segment.start : segment.end + 1]
        ids = trace.reasoner.tokens
        assert shown == [ids.start, *segment.visible_ids, ids.end]
        assert segment.visible_ids == (ids.pad,) * 4
        assert trace.spans["latents"].tolist() == list(segment.slots)
        assert torch.equal(trace.latent_positions, trace.spans["latents"])
        after = torch.arange(trace.n_prompt, len(trace.labels))
        assert torch.equal(after[trace.fed_is_latent], trace.latent_positions)


def test_runs_of_the_same_sample_are_equal_and_of_different_samples_are_not(
    reasoner: Reasoner, samples: list[Sample], trace: Trace
) -> None:
    again = reasoner.run(samples[0], max_new_tokens=12)
    assert torch.equal(again.embeds, trace.embeds)
    assert torch.equal(again.logits, trace.logits)
    other = reasoner.run(samples[1], max_new_tokens=12)
    assert not torch.allclose(other.latents, trace.latents, atol=1e-3)


def test_an_open_loop_replay_equals_the_stepwise_run(
    reasoner: Reasoner, traces: list[Trace]
) -> None:
    for trace in traces:
        replay = reasoner.replay(trace)
        torch.testing.assert_close(replay.logits[0], trace.logits, **REPLAY)
    differs = traces[0].logits - reasoner.replay(traces[1]).logits[0, : len(traces[0].logits)]
    assert differs.abs().max() > 0.1


def test_in_float64_replay_and_run_agree_to_the_last_digits(
    folder: Path, samples: list[Sample]
) -> None:
    exact = load(folder, device="cpu", dtype=torch.float64)
    trace = exact.run(samples[0], max_new_tokens=12)
    assert trace.emitted
    assert trace.logits.dtype == torch.float64
    torch.testing.assert_close(exact.replay(trace).logits[0], trace.logits, **EXACT)


def test_each_latent_is_the_normalised_final_state_of_the_position_before(
    reasoner: Reasoner, traces: list[Trace]
) -> None:
    for trace in traces:
        states = trace.cache["ln_final.hook_normalized"][0]
        slots = trace.spans["latents"]
        (segment,) = trace.segments
        torch.testing.assert_close(trace.latents, states[slots - 1], **REPLAY)
        torch.testing.assert_close(segment.latents, states[list(segment.sources)], **REPLAY)
        assert not torch.allclose(trace.latents, states[slots], atol=1e-2)
        torch.testing.assert_close(trace.latents, reasoner.replay(trace).states[0, slots - 1])


def test_the_decoder_received_the_latents_it_produced(trace: Trace) -> None:
    assert torch.equal(trace.fed_latents, trace.latents)
    assert torch.equal(trace.embeds[trace.spans["latents"]], trace.fed_latents)


def test_everything_but_images_and_latents_was_fed_as_token_embeddings(
    reasoner: Reasoner, trace: Trace
) -> None:
    fed_ids = torch.tensor(trace.all_ids[:-1])
    tokens = reasoner.embed(fed_ids)
    same = (tokens == trace.embeds).all(-1)
    fed_otherwise = trace.spans["latents"].tolist()
    image = reasoner.model.config.image_token_id
    placeholders = (fed_ids == image).nonzero().squeeze(-1).tolist()
    assert (~same).nonzero().squeeze(-1).tolist() == sorted([*placeholders, *fed_otherwise])


def test_feeding_the_visible_ids_instead_of_the_latents_gives_another_run(
    reasoner: Reasoner, trace: Trace
) -> None:
    slots = trace.spans["latents"]
    shown = torch.tensor(trace.all_ids)[slots]
    visible = Edit("hook_embed", slots, reasoner.embed(shown).detach())
    own = Edit("hook_embed", slots, trace.fed_latents)
    replay = reasoner.replay(trace, [(), (visible,), (own,)])
    after = slots[-1] + 1 - trace.n_prompt + 1
    assert (replay.logits[1, after:] - replay.logits[0, after:]).abs().max() > 0.1
    torch.testing.assert_close(replay.logits[2], replay.logits[0], **REPLAY)


def test_the_cache_holds_the_hidden_states_of_the_stock_model(
    reasoner: Reasoner, traces: list[Trace]
) -> None:
    for trace in traces[:2]:
        with torch.no_grad():
            stock = reasoner.model.model.language_model(
                inputs_embeds=trace.embeds[None],
                position_ids=trace.position_ids[:, None],
                output_hidden_states=True,
                use_cache=False,
            )
        hidden = stock.hidden_states
        layers = range(len(hidden) - 1)
        trace.cache.fetch("blocks.*.hook_resid_pre", "ln_final.*")
        for i in layers:
            torch.testing.assert_close(
                trace.cache[f"blocks.{i}.hook_resid_pre"], hidden[i], **REPLAY
            )
        torch.testing.assert_close(trace.cache["ln_final.hook_normalized"], hidden[-1], **REPLAY)
        assert not torch.allclose(trace.cache["blocks.3.hook_resid_post"], hidden[-1], atol=1e-2)


def test_text_positions_instead_of_the_runs_own_give_other_states(
    reasoner: Reasoner, trace: Trace
) -> None:
    plain = torch.arange(len(trace.labels)).expand(3, -1)
    assert not torch.equal(plain, trace.position_ids)
    moved = dataclasses.replace(trace, position_ids=plain.contiguous())
    usual = reasoner.replay(trace).logits[0]
    assert (reasoner.replay(moved).logits[0] - usual).abs().max() > 0.01


def test_a_run_in_between_does_not_disturb_a_replay(
    reasoner: Reasoner, samples: list[Sample], trace: Trace
) -> None:
    before = reasoner.replay(trace).states
    image = samples[1].image
    two = Sample(images=(image, image, image), question="How many?", answer="3")
    reasoner.run(two, max_new_tokens=3)
    assert torch.equal(reasoner.replay(trace).states, before)


def test_a_cache_pattern_fetches_all_names_that_match_in_one_replay(
    reasoner: Reasoner, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = reasoner.run(samples[2], max_new_tokens=8)
    replays = []
    real = Reasoner.replay
    monkeypatch.setattr(
        Reasoner, "replay", lambda *a, **k: replays.append(k["record"]) or real(*a, **k)
    )
    trace.cache.fetch("blocks.*.hook_resid_post", "hook_embed")
    assert list(trace.cache) == ["hook_embed", *(f"blocks.{i}.hook_resid_post" for i in range(4))]
    assert len(replays) == 1
    assert trace.cache["blocks.2.hook_resid_post"].shape == (1, *trace.embeds.shape)
    assert len(replays) == 1
    assert trace.cache["blocks.2.hook_resid_mid"].shape == (1, *trace.embeds.shape)
    assert len(replays) == 2


def test_a_run_can_fill_its_cache_at_once(reasoner: Reasoner, samples: list[Sample]) -> None:
    trace = reasoner.run(samples[0], max_new_tokens=8, cache=["blocks.1.*", "hook_embed"])
    assert "blocks.1.attn.hook_pattern" in list(trace.cache)
    assert "blocks.2.hook_resid_post" not in list(trace.cache)
    bare = reasoner.run(samples[0], max_new_tokens=8)
    assert list(bare.cache) == []


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("blocks.*.hook_resid_past", "No hook 'blocks.*.hook_resid_past'"),
        ("blocks.7.hook_resid_post", "layers 0 to 3"),
        (("resid_post", 9), "layers 0 to 3"),
    ],
)
def test_a_cache_refuses_names_that_the_model_does_not_have(
    trace: Trace, key: str | tuple[str, int], message: str
) -> None:
    with pytest.raises(EditError) as refusal:
        trace.cache[key]
    assert message in str(refusal.value)
    with pytest.raises(EditError):
        trace.cache.fetch("blocks.*.hook_resid_past")


def test_a_cache_says_which_names_it_could_compute(trace: Trace) -> None:
    assert "blocks.3.attn.hook_z" in trace.cache
    assert "blocks.4.attn.hook_z" not in trace.cache
    assert "resid_post" not in trace.cache


def test_without_imagination_there_are_no_latents_and_all_words_are_text(
    reasoner: Reasoner, samples: list[Sample]
) -> None:
    mute = reasoner.run(samples[0], max_new_tokens=8, imagine=False)
    assert not mute.emitted
    assert mute.segments == ()
    assert mute.latents.shape == (0, mute.embeds.shape[1])
    assert len(mute.spans["text"]) == 7
    assert len(mute.spans["answer"]) == len(mute.spans["start"]) == 0
    assert reasoner.tokens.start not in mute.token_ids
    assert not mute.fed_is_latent.any()
    assert mute.answer == mute.text


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7])
def test_a_length_limit_is_kept_wherever_it_falls(
    reasoner: Reasoner, samples: list[Sample], limit: int
) -> None:
    trace = reasoner.run(samples[0], max_new_tokens=limit)
    assert len(trace.logits) == len(trace.token_ids) == limit
    assert trace.stop == "length"
    assert bool(trace.segments) == (limit > 1)
    assert trace.emitted == (limit >= 7)
    if trace.segments:
        (segment,) = trace.segments
        assert len(segment.slots) == min(max(limit - 2, 0), 4)
        assert segment.stop == ("count" if limit >= 6 else "length")
        assert (segment.end is None) == (limit < 7)
    torch.testing.assert_close(reasoner.replay(trace).logits[0], trace.logits, **REPLAY)


@pytest.mark.parametrize("limit", [1, 3, 6])
def test_markers_never_count_as_words_even_if_the_tokenizer_calls_them_ordinary(
    reasoner: Reasoner, samples: list[Sample], limit: int
) -> None:
    encode = reasoner.processor.tokenizer.encode
    (red,), (blue,) = encode(" red"), encode(" blue")
    ordinary = LatentTokens(reasoner.tokens.start, pad=red, end=blue)
    trace = dataclasses.replace(reasoner, tokens=ordinary).run(samples[0], max_new_tokens=limit)
    assert trace.text == ""
    assert trace.answer == ""


@pytest.mark.parametrize("limit", [0, -1])
def test_a_run_of_no_tokens_is_refused_or_ends_at_once(
    reasoner: Reasoner, samples: list[Sample], monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    def endless(*_: object) -> None:
        pytest.fail("the run went on")

    monkeypatch.setattr(Stream, "feed", endless)
    with contextlib.suppress(ValueError):
        assert len(reasoner.run(samples[0], max_new_tokens=limit).logits) <= 1


def test_a_run_stops_at_eos_after_its_segment_and_says_so(
    reasoner: Reasoner, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = reasoner.run(samples[0], max_new_tokens=12)
    said = free.token_ids.tolist()
    eos = next(token for token in said[7:] if token not in said[:7])
    monkeypatch.setattr(reasoner.model.generation_config, "eos_token_id", [eos])
    cut = wrap(reasoner.model, reasoner.processor, reasoner.protocol).run(
        samples[0], max_new_tokens=12
    )
    assert cut.stop == "eos"
    assert free.stop == "length"
    assert cut.token_ids.tolist() == said[: said.index(eos) + 1]


def test_the_text_is_what_was_said_without_markers_and_the_answer_what_came_after(
    reasoner: Reasoner, trace: Trace
) -> None:
    ids = trace.all_ids[trace.segments[0].end + 1 :]
    said = reasoner.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert trace.answer == said
    assert "latent" not in trace.text


def test_until_answer_ends_a_run_right_after_its_segment(reasoner: Reasoner, trace: Trace) -> None:
    cut = trace.until_answer()
    end = trace.segments[0].end
    assert len(cut.labels) == end + 1
    assert len(cut.spans["answer"]) == 0
    assert torch.equal(cut.embeds, trace.embeds[: end + 1])
    replay = reasoner.replay(cut)
    n_generated = len(replay.logits[0])
    torch.testing.assert_close(replay.logits[0], trace.logits[:n_generated], **REPLAY)
    whole = reasoner.replay(trace)
    assert whole.logits.shape[1] > n_generated


def test_until_answer_goes_on_with_forced_ids_as_the_run_itself_would(
    reasoner: Reasoner, trace: Trace
) -> None:
    end = trace.segments[0].end
    own = trace.all_ids[end + 1 : -1]
    forced = trace.until_answer(own)
    assert forced.all_ids == trace.all_ids[:-1]
    assert torch.equal(forced.labels, trace.labels)
    assert torch.equal(forced.position_ids, trace.position_ids)
    assert torch.equal(forced.embeds, trace.embeds)
    torch.testing.assert_close(reasoner.replay(forced).logits[0], trace.logits, **REPLAY)
    other = trace.until_answer([own[0] + 1, *own[1:]])
    assert (reasoner.replay(other).logits[0] - trace.logits).abs().max() > 0.1


def test_until_answer_of_a_run_without_imagination_ends_at_the_prompt(
    reasoner: Reasoner, samples: list[Sample]
) -> None:
    mute = reasoner.run(samples[0], max_new_tokens=6, imagine=False)
    cut = mute.until_answer()
    assert len(cut.labels) == cut.n_prompt == mute.n_prompt
    torch.testing.assert_close(reasoner.replay(cut).logits[0], mute.logits[:1], **REPLAY)


def test_nothing_in_a_run_or_its_continuation_holds_on_to_a_graph(trace: Trace) -> None:
    for kept in (trace, trace.until_answer(), trace.until_answer([20, 21])):
        assert not kept.embeds.requires_grad
        assert not kept.logits.requires_grad
        assert not kept.latents.requires_grad
    assert not trace.cache["blocks.0.hook_resid_post"].requires_grad
