"""A battery, against feeding and transplanting by plain replays."""

from dataclasses import replace

import pytest
import torch

import mindseye as me
from mindseye.engine import LEVELS, battery, contrast, crossed_cells
from mindseye.errors import EditError, SampleError, UnknownNameError
from mindseye.interventions.replacements import Pool
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


@pytest.fixture(scope="module")
def several(organism, pairs):
    """One battery of replacements by name."""
    asked = ["identity", "zero", "twin", "donor:answer=other", "noise:scale=0.2", "removal"]
    return me.battery(organism("mediator"), pairs, [*asked, "markers_only", "slots:n=2"])


def test_replacements_are_asked_for_by_name(organism, pairs, several):
    named = several[several["level"] == "embedding"].set_index(["pair", "arm"])["value"]
    functions = me.battery(
        organism("mediator"), pairs, {"zero": zero, "twin": interchanged}, levels=["embedding"]
    )
    for row in functions.to_dict("records"):
        assert named[row["pair"], row["arm"]] == pytest.approx(row["value"], abs=1e-5)


def test_identity_is_the_run_itself_and_as_strange_as_its_own(several):
    rows = several[(several["arm"] == "identity") & (several["level"] == "embedding")]
    assert rows["effect"].abs().max() <= 1e-4
    assert (rows["moved"] == 0).all()
    assert (rows["nearest"] > 0).all()  # of another sample


def test_every_vector_is_scored_and_noise_is_stranger_than_donors(several):
    scores = several[several["level"] == "embedding"].groupby("arm")[
        ["norm_percentile", "mahalanobis", "nearest"]
    ].mean()  # fmt: skip
    assert scores.notna().all(axis=None)
    assert scores.loc["donor:answer=other", "nearest"] < 1e-6 < scores.loc["zero", "nearest"]
    assert scores.loc["zero", "norm_percentile"] == 0
    assert scores["mahalanobis"].idxmax() in ("zero", "noise:scale=0.2")


@pytest.mark.parametrize("arm", ["removal", "markers_only"])
def test_what_is_taken_out_is_a_plain_run_without_it(organism, pairs, several, arm):
    mediator = organism("mediator")
    rows = several[several["arm"] == arm]
    assert (rows["level"] == "structure").all()
    assert rows[["moved", "mahalanobis"]].isna().all(axis=None)
    for pair in pairs:
        parting = contrast(mediator, pair)
        run = mediator.run(pair.clean).until_answer(parting.forced)
        where = positions(run.labels, "segment" if arm == "removal" else "latents")
        (said,) = mediator.replay(run.without(where)).logits
        (value,) = rows[rows["pair"] == pair.id]["value"]
        assert value == pytest.approx(logit_difference(said[-1], parting).item(), abs=1e-4)


def test_another_number_of_slots_is_a_run_of_its_own(organism, pairs, several):
    mediator = organism("mediator")
    shorter = replace(mediator, protocol=replace(mediator.protocol, n_slots=2))
    rows = several[several["arm"] == "slots:n=2"].set_index("pair")
    assert (rows["loop"] == "closed").all()
    for pair in pairs:
        parting = contrast(mediator, pair)
        (said,) = shorter.replay(shorter.run(pair.clean).until_answer(parting.forced)).logits
        wanted = logit_difference(said[-1], parting).item()
        assert rows.loc[pair.id, "value"] == pytest.approx(wanted, abs=1e-4)


def test_closed_loop_later_latents_and_words_react(organism, pairs):
    """Against feeding by a plain closed-loop replay."""
    natural = organism("natural")
    asked = ["identity", "twin", "twin:slots=0", "forced", "removal"]
    rows = me.battery(natural, pairs, asked, loop="closed").set_index(["pair", "arm"])
    for pair in pairs:
        clean, other = natural.run(pair.clean), natural.run(pair.reference)
        where = clean.latent_positions
        for arm, n in (("identity", 0), ("twin", len(where)), ("twin:slots=0", 1)):
            edit = Edit("hook_embed", where[:n], other.fed_latents[:n])
            (run,) = natural.replay(clean, [[edit]], mode="closed_loop")
            parting = contrast(natural, pair)
            (said,) = natural.replay(run.until_answer(parting.forced)).logits
            row = rows.loc[(pair.id, arm)]
            assert row["value"] == pytest.approx(
                logit_difference(said[-1], parting).item(), abs=1e-3
            )
            assert (row["answer"], row["emitted"]) == (run.answer, run.emitted)
        assert rows.loc[(pair.id, "forced"), "answer"] == clean.answer
        assert rows.loc[(pair.id, "removal"), "loop"] == "open"
    assert set(rows["level"]) == {"embedding", "structure"}


def test_a_pool_of_ones_own_is_where_donors_come_from(organism, pairs):
    mediator = organism("mediator")
    strangers = [mediator.run(s) for s in me.task("digits").samples(4, seed=99)]
    rows = me.battery(mediator, pairs, ["donor"], levels=["embedding"], pool=Pool.of(strangers))
    assert len(rows) == len(pairs)
    with pytest.raises(SampleError, match="among 1 runs: 0 are of other samples"):
        me.battery(mediator, pairs[:1], ["donor"], pool=Pool.of([mediator.run(pairs[0].clean)]))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"loop": "ajar"}, "'open' or 'closed'"),
        ({"loop": "closed", "levels": ["kv"]}, "Leave levels out"),
    ],
)
def test_a_loop_that_is_none_is_refused(organism, pairs, asked, message, unchecked_types):
    with pytest.raises(EditError, match=message):
        me.battery(organism("mediator"), pairs, ["zero"], **asked)


def test_one_arm_twice_or_an_unknown_one_is_refused(organism, pairs):
    with pytest.raises(EditError, match="'zero' was asked for twice"):
        me.battery(organism("mediator"), pairs, ["zero", "zero"])
    with pytest.raises(UnknownNameError, match="Did you mean 'zero'"):
        me.battery(organism("mediator"), pairs, ["zeros"])


def test_the_worst_latents_do_worse_than_any_donor_there_is(organism, pairs):
    rows = me.battery(organism("mediator"), pairs, ["worst", "twin"], levels=["embedding"])
    mean = rows.groupby("arm")["effect"].mean()
    assert mean["worst"] < mean["twin"] < 0


def test_where_nothing_reads_the_latents_not_even_the_worst_do_anything(pairs):
    rows = me.battery(in_double("bypass"), pairs, ["worst"], levels=["embedding"])
    assert rows["effect"].abs().max() <= 1e-9


def test_a_pin_made_of_other_runs_has_their_pool(organism, pairs):
    found = me.mediate(organism("mediator"), pairs, levels=("kv",), pins=["step_mean", "donor"])
    assert set(found.pinned["pin"]) == {"step_mean", "donor", "cut"}
    losses = found.pinned[found.pinned["pin"] == "step_mean"]["nec"]
    assert losses.mean() > 1


def test_an_arm_that_some_pairs_lack_something_for_has_rows_of_the_others(organism, pairs):
    mediator = organism("mediator")
    known = Pool.of(mediator.run(pair.clean) for pair in pairs)
    own = pairs[0].clean.answer
    runs = [*known.runs, replace(known.runs[0], id="another", answer=own)]
    rows = me.battery(
        mediator, pairs, ["zero", "donor:answer=same"], levels=["embedding"], pool=Pool(tuple(runs))
    )
    assert set(rows[rows["arm"] == "zero"]["pair"]) == {pair.id for pair in pairs}
    matched = {pair.id for pair in pairs if pair.clean.answer == own}
    assert pairs[0].id in set(rows[rows["arm"] != "zero"]["pair"]) <= {pair.id for pair in pairs}
    assert matched <= set(rows[rows["arm"] != "zero"]["pair"])


def test_an_arm_that_every_pair_lacks_something_for_is_refused(organism, pairs):
    mediator = organism("mediator")
    alone = Pool.of([mediator.run(me.task("digits").samples(1, seed=77)[0])])
    runs = tuple(replace(run, answer="none such") for run in alone.runs)
    with pytest.raises(SampleError, match="'donor:answer=same' could be applied to no pair"):
        me.battery(mediator, pairs, ["zero", "donor:answer=same"], pool=Pool(runs))


def test_only_what_is_put_in_is_scored(organism, pairs):
    rows = me.battery(organism("mediator"), pairs, ["zero", "zero:slots=1"], levels=["embedding"])
    scores = rows.groupby("arm")[["norm_percentile", "nearest"]].mean()
    assert scores.loc["zero:slots=1"].tolist() == [0, 1] == scores.loc["zero"].tolist()
