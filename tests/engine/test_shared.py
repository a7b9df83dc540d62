"""Closed loops over one shared prompt, against loops that each hold a prompt of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mindseye as me
from mindseye.errors import EditError
from mindseye.reasoners import Edges, Knockout
from mindseye.reasoners.shared import SharedStream
from tests.engine.branches_strategy import (
    ARCHITECTURES,
    EXACT,
    Ground,
    counted,
    cuts,
    edits,
    noise,
    overlap,
    prompt,
    reasoner,
)
from tests.tiny import WIDTH

pytestmark = pytest.mark.model

FAMILIES = [
    ("monet_vllm", {}),
    ("monet_train", {}),
    ("lvr_steps", {}),
    ("lvr_steps", {"map": "lvr_head"}),
    ("lvr_steps", {"map": "lvr_head", "map_at": "slots"}),
    ("mirage", {}),
    ("codi", {}),
    ("coconut", {"source": "pre_norm"}),
    ("coconut", {"source": "layer:1"}),
]
every_family = pytest.mark.parametrize(("family", "changes"), FAMILIES)
every_architecture = pytest.mark.parametrize("model_type", ARCHITECTURES)
_RUNS: dict[Any, me.Trace] = {}


def run(
    model_type: str,
    family: str = "monet_vllm",
    *,
    kept: bool = True,
    drawn: bool = False,
    **changes: Any,
) -> me.Trace:
    key = (model_type, family, kept, drawn, tuple(changes.items()))
    if key not in _RUNS:
        _RUNS[key] = reasoner(model_type, family, **changes).run(
            prompt(model_type, seed=6, n_images=2 if model_type == "gemma3" else 1),
            max_new_tokens=12,
            force_start=True,
            past_key_values=kept,
            sampling=me.Sampling(1.0) if drawn else None,
            generator=torch.Generator().manual_seed(3) if drawn else None,
        )
    return _RUNS[key]


def plainly(trace: me.Trace, rows: Sequence[Any], cut: Sequence[Any] = ()) -> list[me.Trace]:
    """Each branch alone, on a stream with its own prompt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SharedStream, "branch", classmethod(lambda *_args, **_more: None))
        return [
            each
            for row in rows
            for each in trace.reasoner.replay(trace, [row], mode="closed_loop", knockouts=cut)
        ]


def shared(trace: me.Trace, rows: Sequence[Any], cut: Sequence[Any] = ()) -> list[me.Trace]:
    """All branches at once, after a check that they do share."""
    opened: list[SharedStream | None] = []
    usual = SharedStream.branch.__func__

    def noted(cls: Any, *args: Any, **more: Any) -> SharedStream | None:
        opened.append(usual(cls, *args, **more))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SharedStream, "branch", classmethod(noted))
        found = trace.reasoner.replay(trace, rows, mode="closed_loop", knockouts=cut)
    assert [type(each) for each in opened] == [SharedStream]
    return found


def assert_same(found: Sequence[me.Trace], wanted: Sequence[me.Trace]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()
        assert one.sampled_ids.tolist() == other.sampled_ids.tolist()
        assert one.labels.tolist() == other.labels.tolist()
        assert one.stop == other.stop
        assert one.latent_positions.tolist() == other.latent_positions.tolist()
        assert torch.equal(one.position_ids, other.position_ids)
        torch.testing.assert_close(one.latents, other.latents, **EXACT)
        torch.testing.assert_close(one.embeds, other.embeds, **EXACT)
        torch.testing.assert_close(one.logits, other.logits, **EXACT)


def assert_shared_is_plain(trace: me.Trace, rows: Sequence[Any], cut: Sequence[Any] = ()) -> None:
    try:
        wanted = plainly(trace, rows, cut)
    except EditError:
        with pytest.raises(EditError, match="nothing to read"):
            trace.reasoner.replay(trace, rows, mode="closed_loop", knockouts=cut)
        return
    assert_same(shared(trace, rows, cut), wanted)


@st.composite
def rows_of(draw: st.DrawFn, ground: Ground) -> list[list[me.Edit]]:
    """Sets of edits anywhere in the run."""
    places = range(len(ground.trace.labels))
    rows = []
    for found in draw(
        st.lists(st.lists(edits(ground, places), max_size=2), min_size=1, max_size=3)
    ):
        row: list[me.Edit] = []
        for each in found:
            if not any(overlap(each, other) for other in row):
                row.append(each)
        rows.append(row)
    return rows


@every_architecture
@settings(max_examples=4)
@given(data=st.data())
def test_any_edits_and_cuts_decode_as_they_would_alone(
    model_type: str, data: st.DataObject
) -> None:
    trace = run(model_type, kept=data.draw(st.booleans()))
    ground = Ground(trace)
    cut = data.draw(st.lists(cuts(ground), max_size=1))
    assert_shared_is_plain(trace, data.draw(rows_of(ground)), cut)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "gpt2"])
@every_family
def test_every_familys_loop_shares_its_prompt(
    family: str, changes: dict[str, Any], model_type: str, kept: bool
) -> None:
    trace = run(model_type, family, kept=kept, **changes)
    slots = trace.latent_positions
    in_prompt = me.Edit("blocks.1.hook_resid_pre", torch.tensor([2]), noise((1, WIDTH), 1))
    at_slot = me.Edit("hook_embed", slots[1:2], noise((1, WIDTH), 2))
    in_head = me.Edit("blocks.0.attn.hook_z", slots[:1], noise((1, 12), 3), head=1)
    assert_shared_is_plain(trace, [(at_slot,), (), (in_head,)])
    assert_shared_is_plain(trace, [(in_prompt,), (in_prompt, at_slot), ()])
    assert_shared_is_plain(trace, [(at_slot,), ()], [Knockout("latents", "question")])
    moved = shared(trace, [(at_slot,), ()])
    assert (moved[0].latents[-1] - moved[1].latents[-1]).abs().max() > 1e-6


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "gemma3", "llama"])
def test_what_is_drawn_is_drawn_again_with_the_same_seeds(model_type: str, kept: bool) -> None:
    trace = run(model_type, kept=kept, drawn=True)
    at = trace.latent_positions[:1]
    rows = [(), (me.Edit("hook_embed", at, noise((1, WIDTH), 2)),)]
    assert_shared_is_plain(trace, rows)
    assert shared(trace, rows)[0].token_ids.tolist() == trace.token_ids.tolist()
    greedy = run(model_type, kept=kept)
    assert greedy.token_ids.tolist() != trace.token_ids.tolist()


@every_architecture
def test_a_row_of_a_padded_batch_shares_its_own_prompt(model_type: str) -> None:
    ours = reasoner(model_type)
    asked = [prompt(model_type, seed, n_text=n_text) for seed, n_text in ((3, 3), (4, 9))]
    trace = ours.run_batch(asked, max_new_tokens=10, force_start=True, past_key_values=True)[0]
    at = trace.latent_positions[:1]
    rows = [(), (me.Edit("blocks.1.hook_resid_mid", at, noise((1, WIDTH), 2)),)]
    assert_shared_is_plain(trace, rows)
    torch.testing.assert_close(shared(trace, rows)[0].logits, trace.logits, **EXACT)


def test_edges_are_cut_where_they_are_named_and_nowhere_before() -> None:
    trace = run("qwen2_5_vl")
    at = trace.latent_positions[:2]
    cut = Edges(torch.cat([at, torch.tensor([5])]), torch.tensor([3, 4, 2]), (0, 2))
    assert_shared_is_plain(trace, [(), ()], [cut])
    (changed,) = shared(trace, [()], [cut])
    assert (changed.logits - trace.logits).abs().max() > 1e-6


@pytest.mark.parametrize(("place", "kept"), [(-1, True), (-1, False), (4, True)])
def test_rows_compute_no_more_of_the_prompt_than_edits_reach(place: int, kept: bool) -> None:
    trace = run("qwen2_5_vl", kept=kept)
    at = int(trace.latent_positions[0]) if place < 0 else place
    edit = me.Edit("blocks.0.hook_resid_pre", torch.tensor([at]), noise((1, WIDTH), 2))
    rows = [(edit,), (), (edit,)]
    with counted(trace.reasoner) as seen:
        found = shared(trace, rows)
    n_prefix = min(at, trace.n_prompt - 1)
    steps = max(len(each.labels) for each in found) - n_prefix
    assert seen[1] == 3 * steps + (0 if kept else n_prefix)


def test_a_run_that_was_edited_in_its_prompt_decodes_again_like_any_other() -> None:
    trace = run("llama")
    edit = me.Edit("hook_embed", torch.tensor([2]), 3 * noise((1, WIDTH), 5))
    (edited,) = shared(trace, [(edit,)])
    assert (edited.logits - trace.logits[: len(edited.logits)]).abs().max() > 1e-3
    assert_shared_is_plain(edited, [(), (edit,)])


@pytest.fixture
def wired() -> me.Reasoner:
    ours = reasoner("qwen2_5_vl")
    wiring = (Knockout("post", "prefix"), Knockout("post", "start"))
    return dataclasses.replace(ours, wiring=wiring)


def test_a_wired_model_shares_what_its_wiring_lets_be_read(wired: me.Reasoner) -> None:
    asked = prompt("qwen2_5_vl", seed=6)
    trace = wired.run(asked, max_new_tokens=10, force_start=True, past_key_values=True)
    at = trace.latent_positions[:1]
    rows = [(), (me.Edit("hook_embed", at, noise((1, WIDTH), 2)),)]
    assert_shared_is_plain(trace, rows)
    assert_shared_is_plain(trace, rows, [Knockout("answer", "latents", layers=(1,))])
