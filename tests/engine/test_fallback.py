"""A model whose attention cannot be intercepted: right all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

import mindseye as me
from mindseye.engine import Branch, EdgePatch, compute, snapshot
from mindseye.errors import EngineError
from mindseye.reasoners import Edges, Knockout
from tests.engine.branches_strategy import EXACT, noise, prompt, reasoner
from tests.tiny import MARKERS, tiny

pytestmark = pytest.mark.model

START, PAD, END = MARKERS


def by_itself(attention: Any) -> Callable[..., tuple[Tensor, None]]:
    """Llama's attention as many repositories write it: straight to the kernel."""

    def forward(
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **_rest: Any,
    ) -> tuple[Tensor, None]:
        shape = (*hidden_states.shape[:-1], -1, attention.head_dim)
        query, key, value = (
            project(hidden_states).view(shape).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, attention.layer_idx)
        key, value = (each.repeat_interleave(2, dim=1) for each in (key, value))
        causal = attention_mask is None and query.shape[2] > 1
        out = F.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, is_causal=causal
        )
        return attention.o_proj(out.transpose(1, 2).flatten(2)), None

    return forward


@pytest.fixture(params=[(0, 1, 2), (1,)], ids=["every layer", "one layer"])
def stubborn(request: pytest.FixtureRequest) -> me.Reasoner:
    """The tiny Llama, some of whose layers compute attention by themselves."""
    model = tiny("llama", seed=1, vocab=24).model.double()
    for layer in request.param:
        attention = model.model.layers[layer].self_attn
        attention.forward = by_itself(attention)
    chosen = me.protocol("monet_train", start=START, pad=PAD, end=END, n_slots=3, segments="one")
    return me.wrap(model, protocol=chosen)


def run(ours: me.Reasoner) -> me.Trace:
    asked = prompt("llama", seed=3, n_text=8)
    return ours.run(asked, max_new_tokens=8, force_start=True, past_key_values=True)


def drawn(trace: me.Trace) -> list[Branch]:
    slots, last = trace.latent_positions, len(trace.labels) - 1
    edits = [
        me.Edit("blocks.1.attn.hook_z", slots[:1], noise((1, 12), 1), head=2),
        me.Edit("blocks.0.hook_resid_mid", slots[1:], noise((2, 48), 2)),
    ]
    return [
        Branch(),
        Branch(edits),
        Branch(knockouts=(Knockout("answer", "latents"), Edges(slots[2:], slots[:1], (1,)))),
        Branch(edits[:1], removed=slots[1:2]),
        Branch([me.Edit("hook_embed", torch.tensor([last]), noise((1, 48), 3))]),
    ]


@pytest.mark.parametrize("start", [0, 4, 9])
def test_branches_are_right_after_a_warning(stubborn: me.Reasoner, start: int) -> None:
    usual, trace = run(reasoner("llama", segments="one")), run(stubborn)
    torch.testing.assert_close(trace.logits, usual.logits, **EXACT)
    with pytest.warns(UserWarning, match="LlamaForCausalLM") as warned:
        held = snapshot(trace, start)
    assert "whole run" in str(warned[0].message)
    assert not held.exact
    rows = [branch for branch in drawn(usual) if branch.knockouts == () or start == 0] + [Branch()]
    names = ["blocks.2.hook_resid_post"]
    read = [-1, len(trace.labels) - 3]
    wanted = compute(snapshot(usual, start), rows, read=read).logits
    found = compute(held, rows, read=read).logits
    torch.testing.assert_close(found, wanted, **EXACT)
    assert (found[:-1] - found[-1]).abs().amax(dim=(1, 2)).count_nonzero() >= 3
    kept = [compute(each, rows[:2], record=names) for each in (held, snapshot(usual, start))]
    torch.testing.assert_close(kept[0].activations, kept[1].activations, **EXACT)


@pytest.mark.filterwarnings("ignore:The attention of")
def test_what_a_reduction_makes_of_the_logits_is_right_too(stubborn: me.Reasoner) -> None:
    trace = run(stubborn)
    held = snapshot(trace, 0)
    rows = drawn(trace)
    whole = compute(held, rows).logits[:, 0]
    largest = compute(held, rows, reduce=lambda logits: logits.amax(dim=-1)[:, 0]).logits
    torch.testing.assert_close(largest, whole.amax(dim=-1), **EXACT)


@pytest.mark.filterwarnings("ignore:The attention of")
def test_edges_cannot_be_patched_there(stubborn: me.Reasoner) -> None:
    trace = run(stubborn)
    one = torch.tensor([5])
    patch = EdgePatch(1, one, noise((1, 2, 12), 1), noise((1, 2, 12), 2), one + 3)
    with pytest.raises(EngineError, match=r"cannot be intercepted.*Knockout"):
        compute(snapshot(trace, 0), [Branch(patches=[patch])])


@pytest.mark.parametrize("place", [2, 10, 11])
def test_closed_loops_are_right_too(stubborn: me.Reasoner, place: int) -> None:
    """From an edit in the prompt, at a latent, and without any shared stretch at all."""
    usual, trace = run(reasoner("llama", segments="one")), run(stubborn)
    edit = me.Edit("blocks.1.hook_resid_pre", torch.tensor([place]), noise((1, 48), 4))
    rows = [(edit,), ()]
    found = trace.reasoner.replay(trace, rows, mode="closed_loop")
    wanted = usual.reasoner.replay(usual, rows, mode="closed_loop")
    for one, other in zip(found, wanted, strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()
        torch.testing.assert_close(one.logits, other.logits, **EXACT)
        torch.testing.assert_close(one.latents, other.latents, **EXACT)
    assert (found[0].logits[-1] - found[1].logits[-1]).abs().max() > 1e-3
