"""Patched edges, against an attention written out query by query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AttentionInterface

import mindseye as me
from mindseye.engine import Branch, EdgePatch, compute, snapshot
from mindseye.engine.exact.branches import first_position
from tests.engine.branches_strategy import ARCHITECTURES, EXACT, noise, prompt, reasoner, said

pytestmark = pytest.mark.model

ORACLE = "written_out_for_tests"
every_architecture = pytest.mark.parametrize("model_type", ARCHITECTURES)


def written_out(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    softcap: float | None = None,
    patches: Sequence[EdgePatch] = (),
    **_rest: Any,
) -> tuple[Tensor, None]:
    """Give every query keys and values of its own, and change those of the readers."""
    n_heads, n_queries = query.shape[1:3]
    group = n_heads // key.shape[1]
    keys, values = (
        each[0].unsqueeze(1).expand(-1, n_queries, -1, -1).clone() for each in (key, value)
    )
    for patch in patches:
        if patch.layer == module.layer_idx:
            for reader in patch.readers.tolist():
                keys[:, reader, patch.positions] = patch.keys.transpose(0, 1)
                values[:, reader, patch.positions] = patch.values.transpose(0, 1)
    keys, values = (each.repeat_interleave(group, dim=0) for each in (keys, values))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.einsum("hqd,hqkd->hqk", query[0], keys) * scale
    assert softcap is None
    weights = (scores + attention_mask[0]).softmax(dim=-1)
    return torch.einsum("hqk,hqkd->qhd", weights, values)[None], None


AttentionInterface.register(ORACLE, written_out)


@torch.no_grad()
def whole_run(trace: me.Trace, patches: Sequence[EdgePatch]) -> Tensor:
    """Logits of every position of the whole run, with patched edges."""
    ours = trace.reasoner
    fed, n_seq = trace.prefill(), len(trace.labels)
    bias = ours.architecture.bias(
        ours.model, trace.labels[None], fed.image_mask, n_seq, ours.wiring, fed.embeds.dtype
    )
    text = ours.model.config.get_text_config()
    usual, text._attn_implementation = text._attn_implementation, ORACLE
    try:
        states = ours.architecture.decode(ours.model, fed, bias, patches=patches)
    finally:
        text._attn_implementation = usual
    return ours.unembed(states)[0]


def patched(trace: me.Trace, donor: me.Trace, layer: int, places: Any, readers: Any) -> EdgePatch:
    """Let some read another run's keys and values."""
    assert donor.past_key_values is not None
    where = torch.as_tensor(places)
    keys, values = (each[0, :, where].transpose(0, 1) for each in donor.past_key_values[layer])
    return EdgePatch(layer, where, keys, values, torch.as_tensor(readers))


def twins(model_type: str) -> tuple[me.Trace, me.Trace]:
    """Two runs with segments at the same positions, keys and values kept."""
    ours = reasoner(model_type, segments="one")
    runs = [
        ours.run(prompt(model_type, s), max_new_tokens=8, force_start=True, past_key_values=True)
        for s in (3, 4)
    ]
    assert torch.equal(runs[0].latent_positions, runs[1].latent_positions)
    return runs[0], runs[1]


@st.composite
def edge_patches(draw: st.DrawFn, n_seq: int, shape: tuple[int, ...]) -> list[EdgePatch]:
    """Up to three, no two of which replace the same thing."""
    found: list[EdgePatch] = []
    taken: set[tuple[int, int]] = set()
    some = st.lists(st.integers(0, n_seq - 1), min_size=1, max_size=3, unique=True)
    for _ in range(draw(st.integers(1, 3))):
        layer, readers = draw(st.integers(0, 2)), draw(some)
        places = [place for place in draw(some) if (layer, place) not in taken]
        taken |= {(layer, place) for place in places}
        if places:
            keys, values = (noise((len(places), *shape), draw(st.integers(0, 99))) for _ in "kv")
            where, asking = torch.tensor(places), torch.tensor(readers)
            found.append(EdgePatch(layer, where, 3 * keys, values, asking))
    return found


@every_architecture
@settings(max_examples=15)
@given(data=st.data())
def test_patched_edges_are_read_by_their_readers_alone(
    model_type: str, data: st.DataObject
) -> None:
    trace = said(model_type)
    assert trace.past_key_values is not None
    n_seq, (_, kv_heads, _, d_head) = len(trace.labels), trace.past_key_values[0][0].shape
    drawn = data.draw(st.lists(edge_patches(n_seq, (kv_heads, d_head)), min_size=1, max_size=3))
    rows = [Branch(patches=each) for each in drawn]
    start = min(first_position(trace, each) for each in rows)
    read = list(range(start, n_seq))
    found = compute(snapshot(trace, start), rows, read=read).logits
    wanted = torch.stack([whole_run(trace, each)[start:] for each in drawn])
    torch.testing.assert_close(found, wanted, **EXACT)


@every_architecture
def test_read_by_everybody_a_patch_is_an_edit_of_keys_and_values(model_type: str) -> None:
    trace, donor = twins(model_type)
    layer, places = 1, trace.latent_positions
    hooks = [f"blocks.{layer}.attn.hook_{what}" for what in "kv"]
    other = donor.reasoner.replay(donor, record=hooks).activations
    edited = Branch([me.Edit(hook, places, other[hook][0, places]) for hook in hooks])
    later = range(int(places.min()), len(trace.labels))
    patch = Branch(patches=[patched(trace, donor, layer, places, later)])
    held = snapshot(trace, int(places.min()))
    found, wanted, unedited = compute(held, [patch, edited, Branch()], read=list(later)).logits
    torch.testing.assert_close(found, wanted, **EXACT)
    assert (found - unedited).abs().max() > 1e-3


@every_architecture
def test_a_patch_with_a_runs_own_keys_and_values_changes_nothing(model_type: str) -> None:
    trace, donor = twins(model_type)
    places, last = trace.latent_positions, len(trace.labels) - 1
    own, others = (patched(trace, run, 1, places, [last - 1, last]) for run in (trace, donor))
    held = snapshot(trace, int(places.min()))
    rows = [Branch(patches=[own]), Branch(patches=[others]), Branch()]
    found = compute(held, rows).logits
    torch.testing.assert_close(found[0], found[2], **EXACT)
    assert (found[1] - found[2]).abs().max() > 1e-6


def test_what_comes_before_a_patched_position_still_cannot_read_it() -> None:
    trace, donor = twins("llama")
    place, last = int(trace.latent_positions[-1]), len(trace.labels) - 1
    patch = patched(trace, donor, 1, [place], list(range(place)))
    found = compute(snapshot(trace, 0), [Branch(patches=[patch]), Branch()], read=[last]).logits
    torch.testing.assert_close(found[0], found[1], **EXACT)


def test_a_patch_stands_beside_an_edit_of_the_same_keys() -> None:
    """The reader sees the patch, all others the edit."""
    trace, donor = twins("qwen2_5_vl")
    place, last, hook = trace.latent_positions[-1:], len(trace.labels) - 1, "blocks.2.attn.hook_v"
    edit = me.Edit(hook, place, noise((1, 2, 12), 3))
    patch = patched(trace, donor, 2, place, [last])
    held = snapshot(trace, int(place))
    rows = [Branch([edit], patches=[patch]), Branch([edit]), Branch(patches=[patch])]
    both, edited, alone = compute(held, rows, read=[last - 1, last]).logits
    torch.testing.assert_close(both[0], edited[0], **EXACT)
    torch.testing.assert_close(both[1], alone[1], **EXACT)
    assert (edited[1] - alone[1]).abs().max() > 1e-6
