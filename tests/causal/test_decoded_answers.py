"""Cells that decode on and say an answer, against replays by hand."""

from dataclasses import replace

import pytest

import mindseye as me
from mindseye.causal import compare_answers
from mindseye.errors import EngineError
from mindseye.readouts.outcomes import parsed_answer
from mindseye.reasoners.spans import positions

pytestmark = pytest.mark.model

LEVELS = ("embedding", "kv", "span")
CELLS = {"00": (0, 0), "01": (0, 1), "10": (1, 0), "11": (1, 1)}


@pytest.fixture(scope="module")
def mediator(organism):
    return organism("mediator")


@pytest.fixture(scope="module")
def pairs():
    return me.task("digits").pairs(2, seed=4)


@pytest.fixture(scope="module")
def found(mediator, pairs):
    return me.mediate(mediator, pairs, outcome=("logit_difference", "parsed_answer"), pins={})


@pytest.fixture(scope="module")
def said(mediator, pairs):
    """Every pair's runs, the reference's first."""
    return {
        pair.id: [mediator.run(sample) for sample in (pair.reference, pair.clean)] for pair in pairs
    }


def by_hand(recipient, donor, level):
    """The recipient's run decoded again with the donor's mediator in it."""
    ours = recipient.reasoner
    if level == "embedding":
        edits = [me.Edit("hook_embed", recipient.latent_positions, donor.fed_latents)]
    else:
        where = positions(recipient.labels, "latents" if level == "kv" else "segment")
        hooks = [f"blocks.{i}.attn.hook_{which}" for i in range(4) for which in "kv"]
        held = ours.replay(donor, record=hooks).activations
        edits = [me.Edit(hook, where, held[hook][0, where]) for hook in hooks]
    (again,) = ours.replay(recipient, [edits], mode="closed_loop")
    return again


@pytest.mark.parametrize("level", LEVELS)
def test_a_cell_says_what_its_run_says_when_it_decodes_again(found, said, pairs, level):
    rows = found.rows[(found.rows["level"] == level) & (found.rows["outcome"] == "parsed answer")]
    for pair, row in zip(pairs, rows.to_dict("records"), strict=True):
        for cell, (x, z) in CELLS.items():
            run = by_hand(said[pair.id][x], said[pair.id][z], level)
            assert row[f"answer_{cell}"] == run.answer
            assert row[f"y{cell}"] == float(run.answer == pair.clean.answer)


def test_an_answer_of_one_token_is_the_most_likely_one(found, mediator):
    rows = found.rows.set_index(["outcome", "pair", "level"])
    tokens, answers = rows.loc["logit difference"], rows.loc["parsed answer"]
    for cell in CELLS:
        spoken = [mediator.read([int(index)]) for index in tokens[f"said_{cell}"]]
        assert answers[f"answer_{cell}"].tolist() == spoken


def test_answers_follow_the_latents_of_a_mediator(found, pairs):
    """At kv all of its answer comes through them, so cells of one z say the same."""
    held = found.rows[(found.rows["outcome"] == "parsed answer") & (found.rows["level"] == "kv")]
    assert (held["answer_01"] == held["answer_11"]).all()
    assert (held["answer_10"] == held["answer_00"]).all()
    assert held["answer_11"].tolist() == [pair.clean.answer for pair in pairs]
    assert held[["pie", "tie", "te"]].to_numpy().min() == 1


def test_answers_are_compared_between_the_cells_of_every_effect(found):
    frame = found.answers.set_index(["level", "effect"])
    assert len(frame) == 3 * 5
    gold = found.runs[found.runs["side"] == "clean"]["gold"].tolist()
    held = found.rows[found.rows["outcome"] == "parsed answer"]
    for level in LEVELS:
        mine = held[held["level"] == level]
        wanted = compare_answers(mine["answer_00"].tolist(), mine["answer_01"].tolist(), gold)
        row = frame.loc[(level, "pie")]
        assert row["only_second"] == wanted.only_second
        assert (row["flip_rate"], row["low"]) == (wanted.flip_rate.mean, wanted.flip_rate.low)


def test_flips_of_an_outcome_of_runs_are_of_answers(found):
    effects = found.effects.set_index(["outcome", "level", "effect"])
    for level in LEVELS:
        for effect in ("te", "pie", "tie"):
            flips = [effects.loc[(name, level, effect), "flip_rate"]
                     for name in ("parsed answer", "logit difference")]  # fmt: skip
            assert flips[0] == flips[1]


def test_an_answer_can_be_the_only_outcome(mediator, pairs, found):
    alone = me.mediate(mediator, pairs, levels=("kv",), outcome="parsed_answer")
    assert alone.outcome == "parsed answer"
    held = found.rows[(found.rows["outcome"] == "parsed answer") & (found.rows["level"] == "kv")]
    assert alone.rows["pie"].tolist() == held["pie"].tolist()
    assert alone.verdicts["kv"].word == "mediates"
    assert alone.guards["edits_missed_max_abs"] == 0


def test_a_run_that_says_nothing_to_parse_is_wrong(said, pairs):
    _, run = said[pairs[0].id]
    assert parsed_answer(run, pairs[0]) == 1
    assert parsed_answer(replace(run, parsed=False), pairs[0]) == 0
    assert parsed_answer(replace(run, answer="no"), pairs[0]) == 0


def test_two_routes_to_an_answer_cannot_decode_on(organism, pairs):
    with pytest.raises(EngineError, match="answers from two routes"):
        me.mediate(organism("dial"), pairs[:1], outcome="parsed_answer")
