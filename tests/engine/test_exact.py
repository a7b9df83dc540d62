"""Branches computed together, against each one run as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import mindseye as me
from mindseye.engine import Branch, Snapshot, compute, snapshot
from mindseye.engine.exact.branches import first_position
from mindseye.engine.exact.plain import compute_plainly
from mindseye.errors import EditError
from mindseye.reasoners import Edges
from tests.engine.branches_strategy import (
    ARCHITECTURES,
    EXACT,
    Ground,
    branches,
    noise,
    prompt,
    reasoner,
    said,
    shapes,
)
from tests.tiny import SEEING

pytestmark = pytest.mark.model

every_architecture = pytest.mark.parametrize("model_type", ARCHITECTURES)


def assert_computed_is_plain(
    held: Snapshot, drawn: Sequence[Branch], read: Sequence[int], **tolerance: float
) -> None:
    """All at once against one at a time; what leaves a position nothing to read is refused."""
    possible, wanted = [], []
    for branch in drawn:
        try:
            wanted.append(compute_plainly(held.trace, [branch], read=read).logits)
        except EditError:
            with pytest.raises(EditError, match="nothing to read"):
                compute(held, [branch], read=read)
            continue
        possible.append(branch)
    if possible:
        found = compute(held, possible, read=read).logits
        torch.testing.assert_close(found, torch.cat(wanted).detach(), **tolerance)


def start_of(trace: me.Trace, drawn: Sequence[Branch], read: Sequence[int]) -> int:
    """The last position that a snapshot for all of them may begin at."""
    return trace.reached_from(min([*read, *(first_position(trace, each) for each in drawn)]))


@every_architecture
@settings(max_examples=14)
@given(data=st.data())
def test_any_branch_is_what_it_would_be_run_whole(model_type: str, data: st.DataObject) -> None:
    trace = said(model_type, n_images=data.draw(st.integers(1, 2)))
    n_seq = len(trace.labels)
    read = data.draw(st.lists(st.integers(0, n_seq - 1), min_size=1, max_size=3))
    drawn = data.draw(st.lists(branches(Ground(trace), read), min_size=1, max_size=4))
    latest = start_of(trace, drawn, read)
    start = data.draw(st.integers(0, latest) | st.just(latest))
    assert_computed_is_plain(snapshot(trace, start), drawn, read, **EXACT)


@every_architecture
@settings(max_examples=6)
@given(data=st.data())
def test_branches_after_the_prompt_leave_most_of_it_out_and_are_exact_too(
    model_type: str, data: st.DataObject
) -> None:
    trace = said(model_type)
    since = trace.n_prompt + 1
    read = [len(trace.labels) - 1]
    drawn = data.draw(st.lists(branches(Ground(trace), read, since), min_size=1, max_size=6))
    held = snapshot(trace, start_of(trace, drawn, read))
    assert held.start >= since
    assert_computed_is_plain(held, drawn, read, **EXACT)


@every_architecture
def test_every_hook_is_edited_where_the_whole_run_edits_it(model_type: str) -> None:
    """In the image, in the question, at a latent and at the end, whole and one head alone."""
    trace = said(model_type)
    last = len(trace.labels) - 1
    places = [3, trace.n_prompt - 2, int(trace.latent_positions[1]), last]
    drawn = [each for hook in shapes(trace) for p in places for each in edits_of(trace, hook, p)]
    held = snapshot(trace, trace.reached_from(3))
    assert_computed_is_plain(held, drawn, [last], **EXACT)
    unedited = compute(held, [Branch()]).logits
    moved = (compute(held, drawn).logits - unedited).abs().amax(dim=(1, 2))
    telling = [
        branch.edits[0].hook == "hook_embed" or int(branch.edits[0].positions) == last
        for branch in drawn
    ]
    assert (moved[torch.tensor(telling)] > 1e-8).all()


def edits_of(trace: me.Trace, hook: str, place: int) -> list[Branch]:
    shape, at = shapes(trace)[hook], torch.tensor([place])
    whole = Branch([me.Edit(hook, at, noise((1, *shape), seed=5))])
    if len(shape) == 1:
        return [whole]
    head = shape[0] - 1
    return [whole, Branch([me.Edit(hook, at, noise((1, shape[1]), seed=6), head)])]


@every_architecture
@pytest.mark.parametrize("n_taken", [1, 3])
def test_removed_slots_and_markers_are_as_if_they_had_never_been_fed(
    model_type: str, n_taken: int
) -> None:
    trace = said(model_type)
    segment = torch.cat([trace.spans["start"], trace.latent_positions, trace.spans["end"]])
    taken = segment[:n_taken] if n_taken == 1 else segment[1 : 1 + n_taken]
    last = len(trace.labels) - 1
    held = snapshot(trace, int(taken.min()))
    found = compute(held, [Branch(removed=taken), Branch()]).logits[:, 0]
    short = trace.without(taken)
    wanted = [trace.reasoner.replay(each).logits[0, -1] for each in (short, trace)]
    torch.testing.assert_close(found, torch.stack(wanted), **EXACT)
    assert (found[0] - found[1]).abs().max() > 1e-3
    assert_computed_is_plain(held, [Branch(removed=taken)], [last, last - 1], **EXACT)


@every_architecture
def test_single_edges_beside_a_removal_are_those_of_the_positions_they_name(
    model_type: str,
) -> None:
    trace = said(model_type)
    gone, last = trace.latent_positions[:1], len(trace.labels) - 1
    cut = Edges(torch.tensor([last, last - 1]), torch.tensor([last - 2, 1]))
    held = snapshot(trace, int(gone))
    found = compute(held, [Branch(knockouts=(cut,), removed=gone)]).logits[0, 0]
    moved = Edges(cut.targets - 1, torch.tensor([last - 3, 1]))
    short = trace.without(gone)
    wanted = trace.reasoner.replay(short, knockouts=[moved]).logits[0, -1]
    torch.testing.assert_close(found, wanted, **EXACT)


@pytest.mark.parametrize("way", [compute, "plainly"])
def test_edges_of_what_is_removed_are_gone_with_it(way) -> None:
    trace = said("llama")
    gone, last = trace.latent_positions[:1], len(trace.labels) - 1
    cut = Edges(torch.tensor([last, int(gone)]), torch.tensor([int(gone), 1]))
    branch = Branch(knockouts=(cut,), removed=gone)
    if way == "plainly":
        found = compute_plainly(trace, [branch], read=[last]).logits[0, 0]
    else:
        found = compute(snapshot(trace, int(gone)), [branch]).logits[0, 0]
    wanted = trace.reasoner.replay(trace.without(gone)).logits[0, -1]
    torch.testing.assert_close(found, wanted, **EXACT)


@every_architecture
@settings(max_examples=6)
@given(data=st.data())
def test_recorded_activations_are_those_of_whole_runs(model_type: str, data: st.DataObject) -> None:
    trace = said(model_type)
    read = [len(trace.labels) - 1]
    within = sorted(set(shapes(trace)) - {"hook_embed"})
    names = data.draw(st.lists(st.sampled_from(within), min_size=1, max_size=3, unique=True))
    drawn = [
        Branch(each.edits)
        for each in data.draw(st.lists(branches(Ground(trace), read), min_size=1, max_size=3))
    ]
    start = start_of(trace, drawn, read)
    found = compute(snapshot(trace, start), drawn, record=names).activations
    wanted = compute_plainly(trace, drawn, read=read, record=names, since=start).activations
    assert found.keys() == wanted.keys()
    for name in names:
        torch.testing.assert_close(found[name], wanted[name], **EXACT)


@pytest.mark.parametrize("model_type", ["gemma3", "gpt2"])
def test_a_recorded_embedding_is_what_was_fed(model_type: str) -> None:
    """Without what a decoder of learned positions adds to it."""
    trace = said(model_type)
    at = trace.latent_positions[:1]
    fed = noise((1, 48), seed=9)
    held = snapshot(trace, trace.n_prompt)
    drawn = [Branch(), Branch([me.Edit("hook_embed", at, fed)])]
    found = compute(held, drawn, record=["hook_embed"]).activations["hook_embed"]
    wanted = trace.embeds[trace.n_prompt :].expand(2, -1, -1).clone()
    wanted[1, held.columns(at)] = fed
    torch.testing.assert_close(found, wanted, **EXACT)


def test_attention_patterns_are_not_recorded_and_the_refusal_says_where_they_are() -> None:
    trace, name = said("llama"), "blocks.1.attn.hook_pattern"
    with pytest.raises(EditError, match=r"trace\.cache"):
        snapshot(trace, 8, record=[name])
    with pytest.raises(EditError, match=r"trace\.cache"):
        compute(snapshot(trace, 8), [Branch()], record=[name])


@every_architecture
@settings(max_examples=6)
@given(data=st.data())
def test_in_float32_a_branch_differs_by_rounding_only(model_type: str, data: st.DataObject) -> None:
    """Relative to the largest logit: these models are loud, and rounding grows with the states."""
    trace = said(model_type, dtype=torch.float32)
    read = [len(trace.labels) - 1]
    drawn = data.draw(st.lists(branches(Ground(trace), read), min_size=1, max_size=4))
    held = snapshot(trace, start_of(trace, drawn, read))
    loudest = float(trace.logits.abs().max())
    assert_computed_is_plain(held, drawn, read, atol=1e-5 * loudest, rtol=1e-5)


@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "gemma3"])
@torch.no_grad()
def test_in_bfloat16_a_branch_is_nearer_to_its_whole_run_than_to_another(model_type: str) -> None:
    trace = said(model_type, dtype=torch.bfloat16)
    last = len(trace.labels) - 1
    at = trace.latent_positions[:1]
    drawn = [
        Branch(
            [
                me.Edit(
                    "blocks.1.hook_resid_pre", at + step, 3 * noise((1, 48), 1, trace.embeds.dtype)
                )
            ]
        )
        for step in range(3)
    ]
    found = compute(snapshot(trace, int(at)), drawn).logits[:, 0].float()
    wanted = compute_plainly(trace, drawn, read=[last]).logits[:, 0].float()
    apart = (found[:, None] - wanted[None]).abs().amax(dim=-1)
    own = apart.diagonal()
    others = apart[~torch.eye(3, dtype=torch.bool)]
    assert own.max() < 0.1 * wanted.abs().max()
    assert others.min() > 3 * own.max()


@every_architecture
def test_an_earlier_start_gives_the_same(model_type: str) -> None:
    trace = said(model_type)
    places = torch.tensor([trace.n_prompt, trace.n_prompt + 2])
    edit = me.Edit(
        "blocks.0.attn.hook_k", places, noise((2, *shapes(trace)["blocks.0.attn.hook_k"]), 3)
    )
    cut = Edges(places + 1, places, (1,))
    drawn = [Branch([edit]), Branch(knockouts=(cut,)), Branch(removed=places)]
    found = [compute(snapshot(trace, s), drawn).logits for s in range(trace.n_prompt, -1, -3)]
    for each in found[1:]:
        torch.testing.assert_close(each, found[0], **EXACT)


@every_architecture
def test_kept_computed_and_batched_keys_and_values_give_the_same(model_type: str) -> None:
    """The row of a batch stood behind padding."""
    ours = reasoner(model_type, segments="one")
    given_ = [prompt(model_type, seed, n_text=n_text) for seed, n_text in ((3, 4), (4, 9))]
    asked = {"max_new_tokens": 8, "force_start": True}
    ways = [
        ours.run(given_[0], past_key_values=True, **asked),
        ours.run(given_[0], past_key_values=False, **asked),
        ours.run_batch(given_, past_key_values=True, **asked)[0],
    ]
    assert ways[0].past_key_values is not None
    assert ways[1].past_key_values is None
    assert ways[2].past_key_values is not None
    found = [computed_after_the_prompt(each.until_answer()) for each in ways]
    torch.testing.assert_close(found[1], found[0], **EXACT)
    torch.testing.assert_close(found[2], found[0], **EXACT)


def computed_after_the_prompt(trace: me.Trace) -> Tensor:
    at = trace.latent_positions[1:2]
    edit = me.Edit("blocks.1.hook_resid_mid", at, noise((1, 48), seed=8))
    held = snapshot(trace, int(at))
    return compute(held, [Branch([edit]), Branch(removed=at), Branch()], read=[-1, -2]).logits


def test_a_start_among_words_that_were_forced_on_a_kept_run_gives_the_same() -> None:
    """Their keys and values were never computed, so none are kept."""
    kept, bare = (said("qwen2_5_vl", kept=way).until_answer((11, 13)) for way in (True, False))
    last = len(bare.labels) - 1
    branch = Branch([me.Edit("blocks.1.hook_resid_pre", torch.tensor([last]), noise((1, 48), 4))])
    wanted = compute(snapshot(bare, last), [branch]).logits
    torch.testing.assert_close(compute(snapshot(kept, last), [branch]).logits, wanted, **EXACT)


def test_branches_come_back_in_the_order_they_were_given() -> None:
    trace = said("llama")
    names = sorted(shapes(trace))
    drawn = [each for name in names for each in edits_of(trace, name, trace.n_prompt + 1)]
    held = snapshot(trace, trace.n_prompt)
    there = compute(held, drawn).logits
    back = compute(held, drawn[::-1]).logits
    torch.testing.assert_close(back.flip(0), there, **EXACT)


def test_seeing_models_are_edited_inside_a_second_image_as_well() -> None:
    for model_type in SEEING:
        trace = said(model_type, n_images=2)
        shown = trace.spans["image"]
        drawn = edits_of(trace, "blocks.1.attn.hook_v", int(shown[-2]))
        drawn += edits_of(trace, "blocks.0.hook_resid_post", int(shown[-1]))
        held = snapshot(trace, trace.reached_from(int(shown[-2])))
        assert held.start > int(shown[0])
        assert_computed_is_plain(held, drawn, [len(trace.labels) - 1], **EXACT)
