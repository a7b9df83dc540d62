"""A patching sweep, against one replay per cell."""

import dataclasses
import re

import numpy as np
import pytest
import torch

import mindseye as me
from mindseye.engine import Branch, compute, contrast, snapshot
from mindseye.errors import EditError, EngineError, SampleError
from mindseye.readouts import logit_difference
from mindseye.reasoners import Edit
from mindseye.reasoners.spans import SPANS, positions
from tests.engine.branches_strategy import EXACT
from tests.engine.random_twins import VARIED, differences, in_double, recorded, serve, twins

HOOKS = (
    "hook_embed",
    "hook_resid_pre",
    "attn.hook_q",
    "attn.hook_k",
    "attn.hook_v",
    "attn.hook_z",
    "hook_attn_out",
    "hook_resid_mid",
    "hook_mlp_out",
    "hook_resid_post",
)
HEADED = tuple(hook for hook in HOOKS if hook.startswith("attn."))

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def mediator(organism):
    return organism("mediator")


@pytest.fixture(scope="module")
def pairs():
    return me.task("digits").pairs(3, seed=2)


def test_every_cell_equals_a_replay_of_its_own(mediator, pairs):
    pair = pairs[0]
    grid = me.sweep(mediator, [pair], hooks=("hook_resid_post",))
    parting = contrast(mediator, pair)
    clean, reference = (
        mediator.run(s).until_answer(parting.forced) for s in (pair.clean, pair.reference)
    )
    for row in grid.rows.to_dict("records"):
        name = f"blocks.{row['layer']}.hook_resid_post"
        spot = reference.spans["latents"][row["slot"]][None]
        edit = Edit(name, spot, clean.cache[name][0, spot])
        alone = mediator.replay(reference, [[edit]]).logits[0, -1]
        assert row["value"] == pytest.approx(logit_difference(alone, parting).item(), abs=1e-4)


def test_the_grid_has_one_row_per_pair_layer_and_slot(mediator, pairs):
    grid = me.sweep(mediator, pairs)
    assert len(grid.to_frame()) == 3 * 4 * 4
    assert len(grid.mean()) == 4 * 4


def test_patching_the_input_of_the_first_block_is_patching_the_embedding(mediator, pairs):
    pair = pairs[0]
    grid = me.sweep(mediator, [pair], layers=[0])
    parting = contrast(mediator, pair)
    clean, reference = (
        mediator.run(s).until_answer(parting.forced) for s in (pair.clean, pair.reference)
    )
    spot = reference.spans["latents"][2][None]
    edit = Edit("hook_embed", spot, clean.embeds[spot])
    alone = mediator.replay(reference, [[edit]]).logits[0, -1]
    assert grid.rows["value"][2] == pytest.approx(logit_difference(alone, parting).item(), abs=1e-4)


def test_noising_a_pair_is_denoising_it_swapped(mediator, pairs):
    pair = pairs[1]
    swapped = me.Pair(pair.reference, pair.clean)
    noised = me.sweep(mediator, [pair], direction="noising").rows
    denoised = me.sweep(mediator, [swapped]).rows
    np.testing.assert_allclose(noised["effect"], -denoised["effect"], atol=1e-4)


def test_the_last_blocks_output_at_a_slot_reaches_nothing(mediator, pairs):
    grid = me.sweep(mediator, pairs, layers=[3], hooks=("hook_resid_post",))
    assert grid.rows["effect"].abs().max() <= 1e-4


def test_some_earlier_site_does_reach_the_answer(mediator, pairs):
    """The twin of the test before."""
    assert me.sweep(mediator, pairs).rows["effect"].abs().max() > 0.1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layers": [9]}, "layers 0 to 3"),
        ({"hooks": ("hook_nothing",)}, "hook_resid_pre"),
        ({"at": "nowhere"}, "latents"),
    ],
)
def test_sites_that_do_not_exist_are_refused(mediator, pairs, arguments, words):
    with pytest.raises(EditError, match=words):
        me.sweep(mediator, pairs, **arguments)


@pytest.mark.usefixtures("unchecked_types")
def test_another_direction_is_refused(mediator, pairs):
    with pytest.raises(EditError, match="'denoising' and 'noising'"):
        me.sweep(mediator, pairs, direction="sideways")


def test_a_model_that_did_not_imagine_is_no_empty_grid(mediator, pairs, monkeypatch):
    run = type(mediator).run_batch
    monkeypatch.setattr(
        type(mediator), "run_batch", lambda self, s, **more: run(self, s, imagine=False, **more)
    )
    with pytest.raises(SampleError, match="emission rate"):
        me.sweep(mediator, pairs)


def test_equal_arguments_give_equal_grids(mediator, pairs):
    first, second = (me.sweep(mediator, pairs).rows for _ in range(2))
    assert torch.equal(torch.tensor(first["value"]), torch.tensor(second["value"]))


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("direction", ["denoising", "noising"])
@pytest.mark.parametrize("model_type", VARIED)
def test_every_cell_of_every_hook_equals_a_replay(monkeypatch, model_type, direction, heads):
    """Keys, values and single heads too, on random weights and in double precision."""
    both = twins(model_type)
    grid = me.sweep(
        both.clean.reasoner,
        serve(monkeypatch, both),
        hooks=HOOKS,
        heads=heads,
        direction=direction,
    )
    source, target = both.clean, both.reference
    if direction == "noising":
        source, target = target, source
    cells = grid.rows.to_dict("records")
    names = [
        cell["hook"] if cell["hook"] == "hook_embed" else f"blocks.{cell['layer']}.{cell['hook']}"
        for cell in cells
    ]
    given = recorded(source, *dict.fromkeys(names))
    branches = []
    for name, cell in zip(names, cells, strict=True):
        spot = target.latent_positions[cell["slot"]][None]
        head = None if cell["head"] < 0 else cell["head"]
        value = given[name][spot] if head is None else given[name][spot, head]
        branches.append([Edit(name, spot, value, head)])
    replay = target.reasoner.replay(target, [[], *branches])
    own, *alone = differences(replay, both.parting)
    torch.testing.assert_close(torch.tensor(grid.rows["value"]), torch.stack(alone), **EXACT)
    torch.testing.assert_close(torch.tensor(grid.rows["effect"]), torch.stack(alone) - own, **EXACT)


def test_a_grid_of_heads_has_each_hooks_own_heads_and_the_embedding_once(monkeypatch):
    """Four heads ask and two are read, in three layers with three slots."""
    both = twins("qwen2_5_vl")
    pairs = serve(monkeypatch, both)
    rows = me.sweep(both.clean.reasoner, pairs, hooks=HOOKS, heads=True).rows
    heads = {hook: sorted(set(part["head"])) for hook, part in rows.groupby("hook")}
    for hook in HOOKS:
        asking = [0, 1, 2, 3] if hook in ("attn.hook_q", "attn.hook_z") else [-1]
        assert heads[hook] == ([0, 1] if hook in ("attn.hook_k", "attn.hook_v") else asking)
    assert len(rows[rows["hook"] == "hook_embed"]) == 3
    assert len(rows[rows["hook"] == "attn.hook_z"]) == 4 * 3 * 3
    assert not rows.duplicated(["hook", "head", "layer", "slot"]).any()


@pytest.mark.parametrize("hook", HEADED)
@pytest.mark.parametrize("model_type", VARIED)
def test_all_heads_patched_one_by_one_in_one_run_are_the_whole_hook(monkeypatch, model_type, hook):
    both = twins(model_type)
    rows = me.sweep(both.clean.reasoner, serve(monkeypatch, both), hooks=(hook,), layers=[1]).rows
    name, slots = f"blocks.1.{hook}", both.reference.latent_positions
    given = recorded(both.clean, name)[name]
    branches = [
        Branch([Edit(name, spot, given[spot, head], head) for head in range(given.shape[1])])
        for spot in slots[:, None]
    ]
    found = compute(snapshot(both.reference, int(slots[0])), branches).logits[:, 0]
    whole = torch.tensor(rows["value"])
    torch.testing.assert_close(whole, logit_difference(found, both.parting), **EXACT)


def test_several_outcomes_at_once_are_each_ones_own_sweep(mediator, pairs):
    def entropy(logits, parting):
        return torch.distributions.Categorical(logits=logits).entropy()

    asked = ["log_probability", entropy, "probability"]
    grid = me.sweep(mediator, pairs[:2], outcome=asked)
    assert grid.outcomes == ("log probability", "entropy", "probability")
    for outcome, name in zip(asked, grid.outcomes, strict=True):
        alone = me.sweep(mediator, pairs[:2], outcome=outcome).rows
        mine = grid.rows[grid.rows["outcome"] == name].reset_index(drop=True)
        assert mine.equals(alone)


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_latents_that_nothing_reads_have_no_effect_at_all(pairs, direction, heads):
    bypass = in_double("bypass")
    grid = me.sweep(bypass, pairs[:2], hooks=HOOKS, heads=heads, direction=direction)
    assert grid.rows["effect"].abs().max() <= 1e-9


def test_a_small_budget_computes_the_same_in_more_steps(mediator, pairs):
    with pytest.raises(EngineError, match="budget=") as refused:
        me.sweep(mediator, pairs[:1], budget=1)
    least = int(re.search(r"budget=([\d,]+)", str(refused.value))[1].replace(",", ""))
    small, large = (me.sweep(mediator, pairs[:1], budget=b).rows for b in (least, 2**30))
    np.testing.assert_allclose(small["value"], large["value"], atol=1e-4)


def test_several_pairs_are_each_what_they_are_alone(mediator, pairs):
    together = me.sweep(mediator, pairs).rows
    for pair in pairs:
        alone = me.sweep(mediator, [pair]).rows
        mine = together[together["pair"] == pair.id]
        np.testing.assert_allclose(mine["value"], alone["value"], atol=1e-4)
        np.testing.assert_allclose(mine["effect"], alone["effect"], atol=1e-4)


def test_pairs_without_two_segments_are_left_out(monkeypatch):
    both = twins("llama")
    mute = both.reference.reasoner.run(
        {"input_ids": both.reference.prompt.input_ids}, max_new_tokens=4, imagine=False
    )
    odd = dataclasses.replace(both, said=(both.said[0], mute), reference=mute.until_answer())
    odd = dataclasses.replace(odd, pair=dataclasses.replace(both.pair, id="odd"))
    grid = me.sweep(both.clean.reasoner, serve(monkeypatch, odd, both))
    assert set(grid.rows["pair"]) == {both.pair.id}


def test_a_span_that_stands_elsewhere_in_the_other_run_is_refused(monkeypatch):
    both = twins("llama")
    labels = both.reference.labels.clone()
    labels[0] = SPANS.index("system")
    odd = dataclasses.replace(both, reference=dataclasses.replace(both.reference, labels=labels))
    pairs = serve(monkeypatch, odd)
    with pytest.raises(EditError, match=r"'question' stands at positions \[0, 1, .*\] and \[1,"):
        me.sweep(both.clean.reasoner, pairs, at="question")


def test_a_span_that_no_run_has_is_refused(mediator, pairs):
    with pytest.raises(EditError, match="at least one"):
        me.sweep(mediator, pairs, at="text")


def test_the_mean_over_pairs_puts_the_mean_effect_over_the_mean_difference(mediator, pairs):
    grid = me.sweep(mediator, pairs, layers=[1])
    rows = grid.rows[grid.rows["slot"] == 2]
    (mean,) = grid.mean().query("slot == 2").to_dict("records")
    assert mean["effect"] == pytest.approx(rows["effect"].mean())
    whole = (rows["clean"] - rows["reference"]).mean()
    assert mean["share"] == pytest.approx(rows["effect"].mean() / whole)


def test_answers_that_begin_alike_are_read_where_they_part(mediator, pairs):
    """The tokens that both begin with are fed, in every cell."""
    pair = pairs[0]
    one, other = (
        me.Sample(sample.images, sample.question, answer)
        for sample, answer in ((pair.clean, "red 7 8"), (pair.reference, "red 7 3"))
    )
    pair = me.Pair(one, other, id="alike")
    parting = contrast(mediator, pair)
    assert len(parting.forced) >= 2
    rows = me.sweep(mediator, [pair], layers=[1]).rows
    clean, reference = (mediator.run(s).until_answer(parting.forced) for s in (one, other))
    name = "blocks.1.hook_resid_pre"
    spots = reference.spans["latents"][:, None]
    branches = [[Edit(name, spot, clean.cache[name][0, spot])] for spot in spots]
    alone = differences(mediator.replay(reference, branches), parting)
    np.testing.assert_allclose(rows["value"], alone, atol=1e-4)


@pytest.mark.parametrize("at", ["segment", "header", "image"])
def test_every_span_that_both_runs_have_can_be_patched(mediator, pairs, at):
    pair = pairs[0]
    rows = me.sweep(mediator, [pair], at=at, layers=[0]).rows
    parting = contrast(mediator, pair)
    clean, reference = (mediator.run(s).until_answer() for s in (pair.clean, pair.reference))
    where = positions(reference.labels, at)
    assert rows["slot"].tolist() == list(range(len(where)))
    branches = [[Edit("hook_embed", spot, clean.embeds[spot])] for spot in where[:, None]]
    alone = differences(mediator.replay(reference, branches), parting)
    np.testing.assert_allclose(rows["value"], alone, atol=1e-4)


def test_attention_patterns_cannot_be_patched_and_are_refused(mediator, pairs):
    with pytest.raises(EditError, match=r"hook_pattern.*cannot be recorded"):
        me.sweep(mediator, pairs[:1], hooks=("attn.hook_pattern",))
