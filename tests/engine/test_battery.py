"""A battery, against feeding and transplanting by plain replays."""

import pytest
import torch

import mindseye as me
from mindseye.engine import LEVELS, battery, contrast, crossed_cells
from mindseye.errors import EditError, SampleError
from mindseye.readouts import logit_difference
from mindseye.reasoners import Edit
from mindseye.reasoners.spans import positions
from tests.engine.branches_strategy import EXACT, noise
from tests.engine.random_twins import VARIED, differences, in_double, serve, twins
from tests.tiny import FIRST_WORD

pytestmark = pytest.mark.model

every_model = pytest.mark.parametrize("model_type", VARIED)


def own(both):
    return both.clean.fed_latents


def interchanged(both):
    return both.reference.fed_latents


def zero(both):
    return torch.zeros_like(both.clean.fed_latents)


def random(both):
    return noise(both.clean.fed_latents.shape, seed=7, dtype=both.clean.fed_latents.dtype)


@pytest.fixture(scope="module")
def pairs():
    return me.task("digits").pairs(3, seed=2)


def replayed(both, vectors, level):
    """The plain way: feed, note what that leaves in the reference run, and put it in the clean."""
    clean, reference, ours = both.clean, both.reference, both.clean.reasoner
    feeding = Edit("hook_embed", clean.latent_positions, vectors)
    if level == "embedding":
        return differences(ours.replay(clean, [[feeding]]), both.parting).item()
    hooks = [f"blocks.{i}.attn.hook_{which}" for i in range(3) for which in "kv"]
    where = clean.latent_positions
    if level == "residual:1":
        hooks = ["blocks.1.hook_resid_pre"]
    if level == "span":
        where = positions(clean.labels, "segment")
    if level == "suffix":
        where = torch.arange(clean.n_prompt, len(clean.labels) - 1)
    left = ours.replay(reference, [[feeding]], record=hooks).activations
    edits = [Edit(hook, where, left[hook][0, where]) for hook in hooks]
    return differences(ours.replay(clean, [edits]), both.parting).item()


@pytest.mark.parametrize("forced", [(), (FIRST_WORD + 2, FIRST_WORD + 3)])
@every_model
def test_every_arm_at_every_level_equals_plain_replays(monkeypatch, model_type, forced):
    both = twins(model_type, forced)
    arms = {"own": own, "interchange": interchanged, "zero": zero, "random": random}
    levels = (*LEVELS, "residual:1", "suffix")
    rows = battery(both.clean.reasoner, serve(monkeypatch, both), arms, levels=levels)
    assert len(rows) == len(arms) * len(levels)
    for row in rows.to_dict("records"):
        plain = replayed(both, arms[row["arm"]](both), row["level"])
        assert row["value"] == pytest.approx(plain, abs=1e-9)
        (alone,) = differences(both.clean.reasoner.replay(both.clean), both.parting)
        assert row["clean"] == pytest.approx(alone.item(), abs=1e-9)
        assert row["effect"] == row["value"] - row["clean"]


@every_model
def test_the_reference_latents_give_the_crossed_cell(monkeypatch, model_type):
    both = twins(model_type)
    ours = both.clean.reasoner
    rows = battery(ours, serve(monkeypatch, both), {"interchange": interchanged})
    cells = crossed_cells(ours, both.clean, both.reference, LEVELS)
    y10 = [logit_difference(cells[level].crossed[1, 0, 0], both.parting) for level in rows["level"]]
    torch.testing.assert_close(torch.tensor(rows["value"]), torch.stack(y10), **EXACT)


def test_own_latents_move_nothing_and_leave_the_answer_as_it_was(organism, pairs):
    rows = me.battery(organism("natural"), pairs, {"own": own}, levels=["embedding"])
    assert (rows["moved"] == 0).all()
    assert rows["effect"].abs().max() <= 1e-4


def test_own_latents_in_the_reference_run_still_carry_its_image_at_deeper_levels(monkeypatch):
    """The twin: at kv and span it is the reference run that is fed."""
    both = twins("qwen2_5_vl")
    rows = battery(both.clean.reasoner, serve(monkeypatch, both), {"own": own}, levels=LEVELS[1:])
    assert (rows["moved"] == 0).all()
    assert rows["effect"].abs().min() > 1e-3


def test_moved_is_the_largest_change_of_an_entry(monkeypatch):
    both = twins("llama")
    rows = battery(both.clean.reasoner, serve(monkeypatch, both), {"zero": zero, "random": random})
    latents = both.clean.fed_latents
    for name, fed in (("zero", zero(both)), ("random", random(both))):
        moved = rows[rows["arm"] == name]["moved"]
        assert (moved == (fed - latents).abs().max().item()).all()


def test_where_only_latents_are_read_the_others_decide_the_answer(organism, pairs):
    """The mediator's clean run with the reference's latents answers as the reference does."""
    mediator = organism("mediator")
    rows = me.battery(mediator, pairs, {"interchange": interchanged}, levels=["kv", "span"])
    for pair in pairs:
        parting = contrast(mediator, pair)
        (said,) = mediator.replay(mediator.run(pair.reference).until_answer(parting.forced)).logits
        wanted = logit_difference(said[-1], parting).item()
        found = rows[rows["pair"] == pair.id]["value"].tolist()
        assert found == pytest.approx([wanted, wanted], abs=1e-4)


def test_latents_that_nothing_reads_can_be_anything(pairs):
    arms = {"zero": zero, "interchange": interchanged, "random": random}
    rows = me.battery(in_double("bypass"), pairs, arms)
    assert (rows["moved"] > 0.1).all()
    assert rows["effect"].abs().max() <= 1e-9


def test_one_row_per_pair_level_arm_and_outcome(organism, pairs):
    outcomes = ["logit_difference", "probability"]
    arms = {"zero": zero, "own": own}
    rows = me.battery(
        organism("mediator"), pairs, arms, levels=["kv", "embedding"], outcome=outcomes
    )
    assert list(rows) == [
        *("pair", "arm", "level", "loop", "outcome", "value", "clean", "effect"),
        *("moved", "norm_percentile", "mahalanobis", "nearest"),
    ]
    assert len(rows) == 3 * 2 * 2 * 2
    assert not rows.duplicated(["pair", "arm", "level", "outcome"]).any()
    alone = me.battery(organism("mediator"), pairs, {"own": own}, outcome="probability")
    wanted = alone[alone["level"] == "kv"]["value"]
    found = rows.query("arm == 'own' and level == 'kv' and outcome == 'probability'")["value"]
    assert found.tolist() == pytest.approx(wanted.tolist(), abs=1e-5)


def test_an_arm_of_another_shape_is_refused(organism, pairs):
    arms = {"own": own, "short": lambda both: own(both)[1:]}
    with pytest.raises(EditError, match=r"'short'.*\(3, 128\).*\(4, 128\)"):
        me.battery(organism("mediator"), pairs, arms)


def test_an_arm_of_another_dtype_is_fed_in_the_models_own(organism, pairs):
    mediator = organism("mediator")
    arms = {"zero": zero, "wide": lambda both: zero(both).double()}
    rows = me.battery(mediator, pairs, arms)
    wide, same = (rows[rows["arm"] == name]["value"].tolist() for name in ("wide", "zero"))
    assert wide == pytest.approx(same, abs=1e-4)


def test_a_level_that_does_not_exist_is_refused(organism, pairs):
    with pytest.raises(EditError, match="embedding, kv, span"):
        me.battery(organism("mediator"), pairs, {"own": own}, levels=["telepathy"])


def test_no_pair_is_no_empty_table(organism):
    with pytest.raises(SampleError, match="None of 0 pairs"):
        me.battery(organism("mediator"), [], {"own": own})
