"""Models that answer from two routes: how they are computed, and what cannot follow them."""

from dataclasses import replace

import pytest
import torch

import mindseye as me
from mindseye.engine import Branch, Twins, compute, crossed_cells, snapshot, strict_runs
from mindseye.errors import EngineError
from mindseye.reasoners import Blend, Knockout
from mindseye.reasoners.blending import FIRST_VALUES
from tests.engine.branches_strategy import EXACT, noise
from tests.engine.random_twins import VARIED, serve, twins
from tests.tiny import WIDTH

pytestmark = pytest.mark.model

every_model = pytest.mark.parametrize("model_type", VARIED)


def added(own, given, _run):
    """Twice the own route less the other, so that a route with itself stays what it was."""
    return 2 * own.logits - given.logits


def with_blend(model_type, blend):
    """Twins of the same weights whose answers have a second route."""
    both = twins(model_type)
    ours = replace(both.clean.reasoner, blend=blend)
    clean, reference = (replace(run, reasoner=ours) for run in (both.clean, both.reference))
    return Twins(both.pair, both.parting, both.said, clean, reference)


def edits_of(both):
    slots = both.clean.latent_positions
    return [
        [me.Edit("hook_embed", slots, noise((len(slots), WIDTH), 1))],
        [me.Edit("blocks.1.hook_resid_pre", slots[:1], noise((1, WIDTH), 2))],
    ]


@every_model
def test_a_branch_is_what_the_blend_makes_of_two_plain_runs(model_type):
    both = with_blend(model_type, Blend(added))
    plain = twins(model_type).clean
    drawn = edits_of(both)
    own, *given = plain.reasoner.replay(plain, [[], *drawn]).logits
    held = snapshot(both.clean, both.clean.n_prompt)
    found = compute(held, [Branch(), *map(Branch, drawn)], read=(-2, -1)).logits
    torch.testing.assert_close(found[0], own[-2:], **EXACT)
    for row, edited in zip(found[1:], given, strict=True):
        torch.testing.assert_close(row, (2 * own - edited)[-2:], **EXACT)
        assert (row - own[-2:]).abs().max() > 1e-3


@every_model
def test_a_cut_reaches_one_route_only(model_type):
    both, plain = with_blend(model_type, Blend(added)), twins(model_type).clean
    cut = (Knockout("post", "latents"),)
    held = snapshot(both.clean, both.clean.n_prompt)
    found = compute(held, [Branch(knockouts=cut)]).logits[0, 0]
    own = plain.reasoner.replay(plain).logits[0, -1]
    edited = plain.reasoner.replay(plain, knockouts=cut).logits[0, -1]
    torch.testing.assert_close(found, 2 * own - edited, **EXACT)


@every_model
def test_a_blend_sees_what_stood_in_the_slots(model_type):
    seen = []

    def look(own, given, run):
        seen.append((own.values, given.values, run))
        return given.logits

    both, plain = with_blend(model_type, Blend(look, reads_slots=True)), twins(model_type).clean
    branch, slots = edits_of(both)[0], plain.latent_positions
    compute(snapshot(both.clean, both.clean.n_prompt), [Branch(branch)])
    ((own, given, run),) = seen
    assert run is both.clean
    wanted = plain.reasoner.replay(plain, [[], branch], record=[FIRST_VALUES])
    wanted = wanted.activations[FIRST_VALUES][:, slots]
    torch.testing.assert_close(own[0], wanted[0], **EXACT)
    torch.testing.assert_close(given[0], wanted[1], **EXACT)
    assert not torch.allclose(own, given)


def test_a_blend_that_does_not_look_is_shown_nothing():
    def blind(own, given, _run):
        assert own.values is None
        assert given.values is None
        return given.logits

    both = with_blend("llama", Blend(blind))
    compute(snapshot(both.clean, both.clean.n_prompt), [Branch()])


def test_slots_before_the_snapshot_are_looked_at_all_the_same():
    both = with_blend("llama", Blend(lambda own, given, _run: given.logits, reads_slots=True))
    first, last = int(both.clean.latent_positions.min()), len(both.clean.labels) - 1
    name = "blocks.1.hook_resid_pre"
    late, early = (
        compute(snapshot(both.clean, start), [Branch()], record=[name]) for start in (last, first)
    )
    torch.testing.assert_close(late.logits, early.logits, **EXACT)
    assert late.activations[name].shape[1] == 1
    torch.testing.assert_close(
        late.activations[name], early.activations[name][:, last - first :], **EXACT
    )


def test_a_reduction_sees_blended_logits_and_records_are_of_the_edited_route():
    both, plain = with_blend("llama", Blend(added)), twins("llama").clean
    (branch, _), hook = edits_of(both), "blocks.2.hook_resid_pre"
    held = snapshot(both.clean, both.clean.n_prompt)
    found = compute(
        held, [Branch(branch)], reduce=lambda logits: logits.sum(dim=(1, 2)), record=[hook]
    )
    whole = compute(held, [Branch(branch)]).logits
    torch.testing.assert_close(found.logits, whole.sum(dim=(1, 2)), **EXACT)
    wanted = plain.reasoner.replay(plain, [branch], record=[hook]).activations[hook]
    torch.testing.assert_close(
        found.activations[hook], wanted[:, both.clean.n_prompt :], **EXACT
    )  # fmt: skip
    assert set(found.activations) == {hook}


@every_model
def test_cells_are_blended_too(model_type):
    both = with_blend(model_type, Blend(added))
    ours, alone = both.clean.reasoner, twins(model_type)
    cells = crossed_cells(ours, both.clean, both.reference, ["kv"])["kv"]
    plain = crossed_cells(alone.clean.reasoner, alone.clean, alone.reference, ["kv"])["kv"]
    for x in (0, 1):
        own = plain.unedited[x]
        torch.testing.assert_close(cells.unedited[x], own, **EXACT)
        for z in (0, 1):
            wanted = 2 * own - plain.crossed[x, z]
            torch.testing.assert_close(cells.crossed[x, z], wanted, **EXACT)


def test_a_sweep_goes_through_the_blend(monkeypatch):
    both = with_blend("llama", Blend(added))
    blended = me.sweep(both.clean.reasoner, serve(monkeypatch, both), layers=[0])
    plain = me.sweep(twins("llama").clean.reasoner, serve(monkeypatch, twins("llama")), layers=[0])
    # What patching adds on the one route is taken away from the answer.
    assert blended.rows["effect"].tolist() == pytest.approx(
        (-plain.rows["effect"]).tolist(), abs=1e-9
    )
    assert plain.rows["effect"].abs().max() > 1e-3


REFUSED = {
    "paths": lambda ours, pairs: me.path_patch(ours, pairs),
    "gradients": lambda ours, pairs: me.attribute(ours, pairs),
    "a closed loop": lambda ours, pairs: ours.replay(ours.run(pairs[0].clean), mode="closed_loop"),
    "a strict run": lambda ours, pairs: strict_runs(ours, [pairs[0].clean]),
}


@pytest.mark.parametrize("experiment", REFUSED)
def test_what_cannot_follow_two_routes_is_refused_by_name(organism, experiment):
    pairs = me.task("digits").pairs(1)
    with pytest.raises(EngineError, match="'organism:dial' answers from two routes"):
        REFUSED[experiment](organism("dial"), pairs)


EXPERIMENTS = {
    "battery": lambda ours, pairs: me.battery(
        ours, pairs, {"swap": lambda both: both.reference.fed_latents}
    ),
    "backup_effects": lambda ours, pairs: me.backup_effects(ours, pairs),
    "dose_response": lambda ours, pairs: me.dose_response(ours, pairs),
    "slot_effects": lambda ours, pairs: me.slot_effects(ours, pairs),
    "knock_out": lambda ours, pairs: me.knock_out(ours, pairs).to_frame(),
}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("name", ["dial", "backup"])
def test_every_other_experiment_runs_on_organisms_with_two_routes(organism, name, experiment):
    assert len(EXPERIMENTS[experiment](organism(name), me.task("digits").pairs(1)))


def test_a_replay_answers_as_the_engine_does():
    both = with_blend("llama", Blend(added))
    (branch, _), ours = edits_of(both), both.clean.reasoner
    found = compute(snapshot(both.clean, both.clean.n_prompt), [Branch(branch)]).logits[0, 0]
    try:
        replayed = ours.replay(both.clean, [branch]).logits[0, -1]
    except EngineError:
        return
    torch.testing.assert_close(replayed, found, **EXACT)
