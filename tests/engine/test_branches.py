"""What a branch disturbs, what is computed of it, and which branches are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mindseye as me
from mindseye.engine import Branch, EdgePatch, compute, snapshot
from mindseye.engine.exact.branches import first_position, reach
from mindseye.engine.exact.plain import compute_plainly
from mindseye.errors import EditError
from mindseye.reasoners import Edges, Knockout
from tests.engine.branches_strategy import (
    ARCHITECTURES,
    EXACT,
    Ground,
    branches,
    counted,
    noise,
    said,
)

pytestmark = pytest.mark.model

every_architecture = pytest.mark.parametrize("model_type", ARCHITECTURES)


@every_architecture
@settings(max_examples=10)
@given(data=st.data())
def test_what_is_not_computed_is_bit_for_bit_undisturbed(
    model_type: str, data: st.DataObject
) -> None:
    """An edit of no edge keeps the unedited run on the kernel that cut runs take."""
    trace = said(model_type, n_images=data.draw(st.integers(1, 2)))
    branch = data.draw(branches(Ground(trace), read=range(len(trace.labels))))
    held = snapshot(trace, first_position(trace, branch))
    none = torch.tensor([], dtype=torch.long)
    still = Branch(knockouts=(Edges(none, none),) if branch.knockouts else ())
    n_layers = len(held.given)
    names = [f"blocks.{i}.hook_resid_post" for i in range(n_layers)] + ["ln_final.hook_normalized"]
    try:
        kept = [
            compute_plainly(trace, [each], read=[], record=names).activations
            for each in (branch, still)
        ]
    except EditError:  # it leaves a position nothing to read, which another test looks at
        return
    reached = reach(held, [branch])
    for layer, name in enumerate(names):
        computed = torch.zeros(len(trace.labels), dtype=torch.bool)
        computed[held.start :] = reached.computed(layer)[0]
        edited, unedited = (each[name][0, ~computed] for each in kept)
        assert torch.equal(edited, unedited)


def test_most_of_what_is_computed_is_disturbed() -> None:
    """The twin: the rule is not simply to compute everything."""
    trace = said("llama")
    at = trace.latent_positions[:1]
    branch = Branch([me.Edit("blocks.1.attn.hook_q", at, noise((1, 4, 12), 1))])
    names = [f"blocks.{i}.hook_resid_post" for i in range(3)]
    edited, unedited = (
        compute_plainly(trace, [each], read=[], record=names).activations
        for each in (branch, Branch())
    )
    reached = reach(snapshot(trace, 0), [branch])
    for layer, name in enumerate(names):
        moved = (edited[name] != unedited[name]).any(dim=-1)[0]
        assert torch.equal(moved, reached.computed(layer)[0])


SHAPES = {
    "hook_embed": (48,),
    "hook_resid_pre": (48,),
    "attn.hook_q": (4, 12),
    "attn.hook_k": (2, 12),
    "attn.hook_v": (2, 12),
    "attn.hook_z": (4, 12),
    "hook_attn_out": (48,),
    "hook_resid_mid": (48,),
    "hook_mlp_out": (48,),
    "hook_resid_post": (48,),
}
SPREADING = ("hook_resid_pre", "attn.hook_k", "attn.hook_v")


@pytest.mark.parametrize("layer", range(3))
@pytest.mark.parametrize("place", [name for name in SHAPES if name != "hook_embed"])
def test_a_site_computes_its_layer_and_those_above_from_its_position_on(
    layer: int, place: str
) -> None:
    trace = said("qwen2_5_vl")
    at = trace.latent_positions[1:2]
    after = len(trace.labels) - int(at)
    held = snapshot(trace, trace.n_prompt)
    edit = me.Edit(f"blocks.{layer}.{place}", at, noise((1, *SHAPES[place]), 1))
    with counted(trace.reasoner) as rows:
        compute(held, [Branch([edit])])
    own = after if place in SPREADING else 1
    assert rows == [0] * layer + [own] + [after] * (2 - layer)


@pytest.mark.parametrize(
    "branch",
    [
        Branch(),
        Branch([me.Edit("ln_final.hook_normalized", torch.tensor([18]), noise((1, 48), 1))]),
    ],
)
def test_what_disturbs_no_block_runs_none(branch: Branch) -> None:
    trace = said("qwen2_5_vl")
    held = snapshot(trace, trace.n_prompt)
    with counted(trace.reasoner) as rows:
        compute(held, [branch])
    assert rows == [0, 0, 0]


def test_branches_go_through_each_layer_together_with_no_more_than_their_own_rows() -> None:
    trace = said("llama")
    last = len(trace.labels) - 1
    held = snapshot(trace, last - 2)
    drawn = [
        Branch([me.Edit("hook_embed", torch.tensor([last - 2]), noise((1, 48), 1))]),
        Branch([me.Edit("blocks.1.hook_attn_out", torch.tensor([last - 1]), noise((1, 48), 2))]),
        Branch(knockouts=(Edges(torch.tensor([last]), torch.tensor([0]), (2,)),)),
        Branch(removed=torch.tensor([last - 2])),
    ]
    with counted(trace.reasoner) as rows:
        compute(held, drawn)
    assert rows == [3 + 2, 3 + 2 + 1, 3 + 2 + 2 + 1]


def test_an_edit_in_an_image_that_is_read_in_both_directions_begins_with_the_image() -> None:
    trace = said("gemma3", n_images=2)
    shown = trace.spans["image"]
    second = shown[4:]
    branch = Branch([me.Edit("blocks.1.hook_mlp_out", second[-1:], noise((1, 48), 1))])
    assert first_position(trace, branch) == int(second[0])
    after, held = len(trace.labels) - int(second[0]), snapshot(trace, 0)
    with counted(trace.reasoner) as rows:
        compute(held, [branch])
    assert rows == [0, 1, after]


_HELD: dict[int, Any] = {}


def snapshot_of(trace: me.Trace) -> Any:
    """A snapshot of the whole run, taken once."""
    return _HELD.setdefault(id(trace), snapshot(trace, 0))


@every_architecture
def test_a_branch_that_does_nothing_is_the_run_itself(model_type: str) -> None:
    trace = said(model_type)
    held = snapshot(trace, trace.n_prompt)
    none = torch.tensor([], dtype=torch.long)
    nothing = [
        Branch(),
        Branch([me.Edit("blocks.0.hook_resid_pre", none, noise((0, 48), 1))]),
        Branch(removed=none),
        Branch(knockouts=(Edges(none, none),)),
        Branch(patches=[EdgePatch(1, none, torch.zeros(0, 2, 12), torch.zeros(0, 2, 12), none)]),
    ]
    places = range(trace.n_prompt, len(trace.labels))
    found = compute(held, nothing, read=list(places)).logits
    wanted = trace.logits[1:].expand(len(nothing), -1, -1)
    torch.testing.assert_close(found, wanted, **EXACT)


LAST = 20
"""The last position of the run below, whose prompt takes up 0 to 13."""


def edit(hook: str = "blocks.1.hook_resid_pre", places: Sequence[int] = (16,), **more: Any) -> Any:
    given_ = {"shape": (len(places), 48), "head": None} | more
    return me.Edit(hook, torch.tensor(places), noise(given_["shape"], 1), given_["head"])


def patch(
    layer: int = 1,
    places: Sequence[int] = (16,),
    readers: Sequence[int] = (LAST,),
    shape: tuple[int, ...] = (1, 2, 12),
) -> Branch:
    where, asking = torch.tensor(places), torch.tensor(readers)
    return Branch(patches=[EdgePatch(layer, where, noise(shape, 1), noise(shape, 2), asking)])


def edges(targets: Sequence[int], sources: Sequence[int], layers: Any = None) -> Branch:
    return Branch(knockouts=(Edges(torch.tensor(targets), torch.tensor(sources), layers),))


REFUSED: dict[str, tuple[Callable[[], list[Branch]], str, str]] = {
    "an unknown hook": (
        lambda: [Branch([edit("blocks.1.hook_nothing")])],
        "hook_nothing",
        "Pass one of",
    ),
    "an unknown layer": (
        lambda: [Branch([edit("blocks.7.hook_resid_pre")])],
        "0 to 2",
        "Pass one of",
    ),
    "a position after the run": (
        lambda: [Branch([edit(places=[99])])],
        r"\[99\]",
        "Pass positions",
    ),
    "a position before it": (lambda: [Branch([edit(places=[-1])])], r"\[-1\]", "Pass positions"),
    "a value too short": (
        lambda: [Branch([edit(places=[16, 17], shape=(1, 48))])],
        r"\(1, 48\) for 2 positions",
        "Bring one row per position",
    ),
    "a value too narrow": (
        lambda: [Branch([edit(shape=(1, 7))])],
        r"\(1, 7\).*\(1, 48\)",
        "Patch between",
    ),
    "a value too narrow beside one that fits": (
        lambda: [Branch([edit()]), Branch([edit(shape=(1, 7))])],
        r"\(1, 7\).*\(1, 48\)",
        "Patch between",
    ),
    "a head that is not there": (
        lambda: [Branch([edit("blocks.1.attn.hook_k", shape=(1, 12), head=2)])],
        "head 2.*heads 0 to 1",
        "Name one of these",
    ),
    "a head of what has none": (
        lambda: [Branch([edit(head=0)])],
        "head 0.*no heads",
        "leave head out",
    ),
    "two values at one place": (
        lambda: [Branch([edit(places=[15, 16]), edit(places=[16])])],
        "position 16",
        "Merge them, or make two branches",
    ),
    "a place twice in one edit": (
        lambda: [Branch([edit(places=[16, 16])])],
        "position 16",
        "Merge them, or make two branches",
    ),
    "a head beside all heads": (
        lambda: [
            Branch(
                [
                    edit("blocks.1.attn.hook_z", shape=(1, 4, 12)),
                    edit("blocks.1.attn.hook_z", shape=(1, 12), head=3),
                ]
            )
        ],
        "position 16",
        "Merge them, or make two branches",
    ),
    "an attention pattern": (
        lambda: [Branch([edit("blocks.1.attn.hook_pattern", shape=(1, 4, 21))])],
        "can be read but not edited",
        "Knockout",
    ),
    "an edit of what is removed": (
        lambda: [Branch([edit()], removed=torch.tensor([15, 16]))],
        r"\[16\]",
        "Leave them out of one",
    ),
    "a removal of what is read": (
        lambda: [Branch(removed=torch.tensor([LAST]))],
        r"\[20\]",
        "Leave them",
    ),
    "a removal in the prompt": (
        lambda: [Branch(removed=torch.tensor([5]))],
        r"\[5\]",
        "after the prompt",
    ),
    "a removal after the run": (
        lambda: [Branch(removed=torch.tensor([40]))],
        r"\[40\]",
        "after the prompt",
    ),
    "edges that leave the run": (lambda: [edges([40], [2])], "40", "Pass"),
    "edges from outside": (lambda: [edges([17], [40])], "40", "Pass"),
    "edges in a layer that is not there": (lambda: [edges([17], [2], (7,))], "7", "0 to 2"),
    "a knockout in a layer that is not there": (
        lambda: [Branch(knockouts=(Knockout("answer", "image", (7,)),))],
        "7",
        "0 to 2",
    ),
    "a patch in a layer that is not there": (lambda: [patch(layer=7)], "7", "0 to 2"),
    "a patch of what is not there": (lambda: [patch(places=[40])], r"40", "Pass"),
    "a patch that nobody there reads": (lambda: [patch(readers=[40])], r"40", "Pass"),
    "a patch before the run": (lambda: [patch(places=[-1])], r"-1", "Pass"),
    "a patch too short": (
        lambda: [patch(places=[15, 16])],
        r"\(1, 2, 12\)",
        "one row per position",
    ),
    "a patch of another width": (lambda: [patch(shape=(1, 2, 7))], r"\(1, 2, 7\)", r"\(1, 2, 12\)"),
    "a patch read by what is removed": (
        lambda: [Branch(patches=patch(readers=[17]).patches, removed=torch.tensor([17]))],
        r"\[17\]",
        "Leave them out",
    ),
}


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("case", REFUSED)
def test_a_branch_that_makes_no_sense_is_refused_with_what_to_do(case: str) -> None:
    made, given_, advice = REFUSED[case]
    trace = said("qwen2_5_vl")
    assert trace.n_prompt == 14
    assert len(trace.labels) == LAST + 1
    with pytest.raises(EditError, match=given_) as fault:
        compute(snapshot_of(trace), made())
    fault.match(advice)


@pytest.mark.parametrize(
    ("branch", "read"),
    [
        (Branch([edit(places=[12])]), -1),
        (Branch(knockouts=(Knockout("question", "image"),)), -1),
        (edges([3], [2]), -1),
        (patch(places=[12]), -1),
        (Branch(), 12),
    ],
)
def test_a_snapshot_that_begins_too_late_says_where_it_must(branch: Branch, read: int) -> None:
    trace = said("qwen2_5_vl")
    begins = min(first_position(trace, branch), read % len(trace.labels))
    with pytest.raises(EditError, match=f"begins at position {begins}") as fault:
        compute(snapshot(trace, 15), [branch], read=[read])
    fault.match(rf"snapshot\(trace, {begins}\)")
    compute(snapshot(trace, begins), [branch], read=[read])


@pytest.mark.parametrize("place", [21, -22])
def test_a_position_outside_the_run_cannot_be_read(place: int) -> None:
    with pytest.raises(EditError, match=rf"\[{place}\].*this run has 21.*Pass positions"):
        compute(snapshot_of(said("qwen2_5_vl")), [Branch()], read=[place])


def test_a_recorded_name_that_no_hook_has_is_refused() -> None:
    held = snapshot_of(said("qwen2_5_vl"))
    with pytest.raises(EditError, match="0 to 2"):
        compute(held, [Branch()], record=["blocks.7.hook_resid_pre"])


@pytest.mark.parametrize("start", [21, -1])
def test_a_snapshot_cannot_begin_outside_its_run(start: int) -> None:
    with pytest.raises(EditError, match=str(start)):
        snapshot(said("qwen2_5_vl"), start)
