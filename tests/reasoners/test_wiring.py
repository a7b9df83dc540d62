from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from mindseye.errors import EditError
from mindseye.reasoners import Edit, Knockout, Reasoner, Trace
from mindseye.reasoners.spans import GROUPS, PAD, SPANS, span_ids
from mindseye.reasoners.wiring import attention_bias
from mindseye.samples import Sample
from tests.models import MEDIATOR

REPLAY = {"atol": 1e-5, "rtol": 1e-5}  # one pass against many: float32 sums in another order

names = st.sampled_from((*SPANS, *GROUPS))
knockouts = st.lists(st.builds(Knockout, names, names), max_size=3).map(tuple)


@st.composite
def labelled_rows(draw: st.DrawFn) -> tuple[list[list[int]], int]:
    n_keys = draw(st.integers(1, 9))
    row = st.lists(st.integers(0, PAD), min_size=n_keys, max_size=n_keys)
    return draw(st.lists(row, min_size=1, max_size=2)), draw(st.integers(1, n_keys))


def may_read(labels: list[int], query: int, key: int, cuts: tuple[Knockout, ...]) -> bool:
    if key > query:
        return False
    if labels[key] == PAD:
        return key == query
    return not any(
        labels[query] in span_ids(cut.target) and labels[key] in span_ids(cut.source)
        for cut in cuts
    )


@given(labelled_rows(), knockouts)
def test_the_bias_equals_a_plain_loop_over_queries_keys_and_knockouts(
    rows: tuple[list[list[int]], int], cuts: tuple[Knockout, ...]
) -> None:
    labels, n_queries = rows
    n_keys = len(labels[0])
    asked = range(n_keys - n_queries, n_keys)
    if any(
        not any(may_read(row, query, key, cuts) for key in range(n_keys))
        for row in labels
        for query in asked
    ):
        with pytest.raises(EditError, match="nothing to read"):
            attention_bias(torch.tensor(labels), n_queries, cuts, torch.float32)
        return
    bias = attention_bias(torch.tensor(labels), n_queries, cuts, torch.float32)
    assert bias.shape == (len(labels), 1, n_queries, n_keys)
    lowest = torch.finfo(torch.float32).min
    for i, row in enumerate(labels):
        for j, query in enumerate(asked):
            for key in range(n_keys):
                wanted = 0.0 if may_read(row, query, key, cuts) else lowest
                assert bias[i, 0, j, key].item() == wanted


@given(labelled_rows(), knockouts)
def test_asking_for_the_last_queries_gives_the_last_rows_of_the_whole_bias(
    rows: tuple[list[list[int]], int], cuts: tuple[Knockout, ...]
) -> None:
    labels, n_queries = torch.tensor(rows[0]), rows[1]
    try:
        whole = attention_bias(labels, labels.shape[1], cuts, torch.float32)
    except EditError:
        assume(False)
    part = attention_bias(labels, n_queries, cuts, torch.float32)
    assert torch.equal(part, whole[:, :, -n_queries:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_cut_edge_weighs_exactly_nothing_however_loud_its_key(dtype: torch.dtype) -> None:
    labels = torch.tensor([[SPANS.index(s) for s in ("image", "latents", "answer")]])
    bias = attention_bias(labels, 1, (Knockout("answer", "image"),), dtype)
    assert bias.dtype == dtype
    scores = torch.tensor([1000.0, 0.0, 0.0], dtype=dtype)
    assert (scores + bias[0, 0, 0]).softmax(-1)[0] == 0
    uncut = attention_bias(labels, 1, (), dtype)
    assert (scores + uncut[0, 0, 0]).softmax(-1)[0] == 1


def test_a_span_cut_from_itself_no_longer_reads_itself() -> None:
    labels = torch.tensor([[SPANS.index(s) for s in ("image", "end", "answer")]])
    bias = attention_bias(labels, 2, (Knockout("post", "segment"),), torch.float32)
    assert (bias[0, 0] == 0).tolist() == [[True, False, False], [True, False, True]]


@pytest.mark.parametrize(("target", "source"), [("answers", "image"), ("answer", "latent")])
def test_a_knockout_of_an_unknown_span_is_refused_when_it_is_made(target: str, source: str) -> None:
    with pytest.raises(EditError, match="No span"):
        Knockout(target, source)


def end_state(reasoner: Reasoner, trace: Trace, *edits: Edit) -> torch.Tensor:
    return reasoner.replay(trace, [edits]).states[0, trace.spans["end"]]


def pinned(reasoner: Reasoner, trace: Trace) -> list[Edit]:
    """Fix the keys and values of all latents, in every layer, at this run's own."""
    slots = trace.spans["latents"]
    kinds = ("attn.hook_k", "attn.hook_v")
    layers = range(len(reasoner.architecture.blocks(reasoner.model)))
    hooks = [f"blocks.{i}.{kind}" for i in layers for kind in kinds]
    own = reasoner.replay(trace, record=hooks).activations
    return [Edit(hook, slots, own[hook][0, slots]) for hook in hooks]


def noise(trace: Trace, group: str) -> Edit:
    spans = GROUPS.get(group, (group,))
    where = torch.cat([trace.spans[span] for span in spans])
    value = torch.randn(len(where), trace.embeds.shape[1], generator=torch.manual_seed(0))
    return Edit("hook_embed", where, value)


@pytest.mark.model
@pytest.mark.parametrize("changed", ["prefix", "image", "start"])
def test_behind_a_mediators_wiring_only_the_latents_reach_the_end(
    wired: Reasoner, trace: Trace, changed: str
) -> None:
    pins = pinned(wired, trace)
    usual = end_state(wired, trace, *pins)
    assert torch.equal(end_state(wired, trace, *pins, noise(trace, changed)), usual)


@pytest.mark.model
def test_without_pinned_latents_the_prefix_reaches_the_end_through_them(
    wired: Reasoner, trace: Trace
) -> None:
    usual = end_state(wired, trace)
    assert not torch.allclose(end_state(wired, trace, noise(trace, "prefix")), usual, atol=1e-2)


@pytest.mark.model
@pytest.mark.parametrize(
    "wiring", [(), (Knockout("answer", "image"),), (Knockout("post", "image"),)]
)
def test_a_wiring_with_a_hole_leaks_past_pinned_latents(
    reasoner: Reasoner, trace: Trace, wiring: tuple[Knockout, ...]
) -> None:
    leaky = dataclasses.replace(reasoner, wiring=wiring)
    pins = pinned(leaky, trace)
    usual = end_state(leaky, trace, *pins)
    assert not torch.allclose(
        end_state(leaky, trace, *pins, noise(trace, "prefix")), usual, atol=1e-2
    )


@pytest.mark.model
def test_a_wired_run_equals_its_replay_and_an_unwired_replay_of_it_differs(
    wired: Reasoner, reasoner: Reasoner, samples: list[Sample]
) -> None:
    own = wired.run(samples[0], max_new_tokens=12)
    assert own.emitted
    torch.testing.assert_close(wired.replay(own).logits[0], own.logits, **REPLAY)
    assert (reasoner.replay(own).logits[0] - own.logits).abs().max() > 0.1


@pytest.mark.model
def test_a_knocked_out_replay_of_a_plain_model_equals_a_replay_of_the_wired_one(
    wired: Reasoner, reasoner: Reasoner, trace: Trace
) -> None:
    assert torch.equal(
        reasoner.replay(trace, knockouts=MEDIATOR).states, wired.replay(trace).states
    )
    assert not torch.equal(reasoner.replay(trace).states, wired.replay(trace).states)


@pytest.mark.model
def test_a_cut_edge_shows_as_an_exact_zero_in_the_attention_pattern(
    reasoner: Reasoner, trace: Trace
) -> None:
    name = "blocks.1.attn.hook_pattern"
    cut = Knockout("post", "image")
    answer, image = trace.spans["end"], trace.spans["image"]
    whole = reasoner.replay(trace, record=[name]).activations[name][0]
    holed = reasoner.replay(trace, record=[name], knockouts=[cut]).activations[name][0]
    assert whole[:, answer][..., image].min() > 0
    assert holed[:, answer][..., image].max() == 0
    torch.testing.assert_close(holed.sum(-1), torch.ones_like(holed[..., 0]))
