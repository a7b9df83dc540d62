"""The paper's argument in miniature: rules that can come out either way, and a whole small run."""

import functools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import mindseye as me
from mindseye.causal import Interval
from mindseye.errors import SampleError, UnknownNameError
from mindseye.organisms import weights_of
from mindseye.reasoners import LatentProtocol
from mindseye.studies import reproduce
from mindseye.studies.reproduction import MODELS, Rule, check_paper
from mindseye.studies.reproduction.accuracy import change, of_items
from mindseye.studies.reproduction.claims import ROWS, Part
from mindseye.studies.reproduction.costs import cost_claims
from mindseye.studies.reproduction.derived import questions
from mindseye.studies.reproduction.interventions import IDENTITY, LATENT_ARMS, Edited, edit
from mindseye.studies.reproduction.models import Model, Models, load_models
from mindseye.studies.reproduction.similarity import similarity_claims
from mindseye.studies.reproduction.tracking import untracked
from tests.report.reproductions import claim
from tests.speaking import own_words, speaker

N_PAIRS = 8
INSIDE, OUTSIDE, ACROSS = Interval(0.8, 0.75, 0.9), Interval(0.4, 0.2, 0.6), Interval(0.7, 0.6, 0.8)


@functools.cache
def models():
    """One of each way; words are put into the mouth of a model that answers at once."""
    base = weights_of("base")
    direct = LatentProtocol(name="direct", source="token_embedding", visible="sampled")
    words = me.protocol("text", answers=("whole",))
    return {
        "natural": [me.load("organism:natural", device="cpu")],
        "capimagine": [speaker(me.load(base, protocol=words, device="cpu"), own_words)],
        "direct": [me.load(base, protocol=direct, device="cpu")],
    }


@pytest.mark.parametrize(
    ("found", "word"), [(INSIDE, "agrees"), (OUTSIDE, "disagrees"), (ACROSS, "undecided")]
)
def test_a_rule_comes_out_either_way(found, word):
    assert Rule(low=0.7).word(found) == word
    turned = Interval(-found.mean, -found.high, -found.low)
    assert Rule(high=-0.7).word(turned) == word


def test_a_range_is_left_on_both_sides():
    within = Rule(-0.05, 0.05)
    for mean in (-0.2, 0.2):
        assert within.word(Interval(mean, mean - 0.1, mean + 0.1)) == "disagrees"
    assert within.word(Interval(0.0, -0.05, 0.05)) == "agrees"


def test_what_is_no_number_decides_nothing():
    assert Rule(low=0.7).word(Interval(np.nan, np.nan, np.nan)) == "undecided"


@pytest.mark.parametrize("word", ["agrees", "disagrees", "undecided"])
def test_seeds_have_to_say_the_same(word):
    assert claim(word).word == word


def test_one_seed_that_straddles_leaves_a_claim_undecided():
    mixed = replace(claim("agrees"), found=(INSIDE, INSIDE, ACROSS))
    assert mixed.words == ("agrees", "agrees", "undecided")
    assert mixed.word == "undecided"


def test_a_claim_has_a_row_per_seed():
    rows = pd.DataFrame(claim("undecided").rows())
    assert rows["says"].tolist() == ["agrees", "disagrees"]
    assert set(rows["word"]) == {"undecided"}


def test_a_change_is_paired_by_item():
    before = np.array([True] * 30 + [False] * 10)
    after = np.array([True] * 20 + [False] * 20)
    found = change(before, after, range(40), seed=0)
    assert found.mean == -0.25
    assert found.low < -0.25 < found.high < 0


@pytest.mark.parametrize("n", [10, 100])
def test_no_change_at_all_is_known_as_well_as_so_many_items_allow(n):
    right = np.ones(n, dtype=bool)
    found = change(right, right, range(n), seed=0)
    assert found.mean == 0
    assert found.high == -found.low == pytest.approx(1 - 0.025 ** (1 / n))
    # Items of one image count once.
    assert change(right, right, [i // 2 for i in range(n)], seed=0).high > found.high


def test_a_change_stays_within_what_is_possible():
    assert of_items(np.full(9, -1.0), range(9), seed=0).low == -1
    nearly = np.array([-1.0] * 8 + [0.0])
    assert of_items(nearly, range(9), seed=0).low == -1
    assert of_items(2 * nearly, range(9), seed=0, most=2.0).low == -2


@pytest.mark.parametrize("kinds", [("zoom", "digit_at"), ("transform", "zoom")])
def test_derived_questions_are_about_the_same_pictures(kinds):
    original, other = questions(kinds, 6, seed=5)
    for one, two in zip(original, other, strict=True):
        assert one.image_key == two.image_key
        assert one.question != two.question
    assert {sample.kind for sample in other} == {kinds[1]}


def test_the_same_cell_is_asked_for_by_colour_and_by_place_and_another_one_by_turning():
    same = zip(*questions(("zoom", "digit_at"), 12, seed=5), strict=True)
    assert all(one.answer == two.answer for one, two in same)
    other = zip(*questions(("transform", "zoom"), 12, seed=5), strict=True)
    assert not any(one.answer == two.answer for one, two in other)


@pytest.mark.parametrize("paper", ["2602.22766", "2602.22766v2", "arXiv:2602.22766"])
def test_the_paper_is_known_by_its_number(paper):
    check_paper(paper)


def test_other_papers_and_ways_are_refused():
    with pytest.raises(UnknownNameError, match="there is one of"):
        check_paper("2605.18445")
    with pytest.raises(UnknownNameError, match="natural, capimagine, direct"):
        load_models({"natural": ["x"], "latent": ["y"]})
    with pytest.raises(SampleError, match="2 natural, 1 capimagine, 1 direct"):
        load_models({"natural": ["x", "y"], "capimagine": ["x"], "direct": ["x"]})
    with pytest.raises(SampleError, match="got 3 pairs"):
        reproduce(n_pairs=3)


def test_shipped_models_are_three_of_each():
    assert {way: len(names) for way, names in MODELS.items()} == {
        "natural": 3,
        "capimagine": 3,
        "direct": 3,
    }


@pytest.mark.model
def test_edits_are_scored_by_the_answers_they_leave(organism):
    pairs = me.task("digits").pairs(4)
    found = edit(
        Model("feedback", organism("feedback")), pairs, ["twin", "zero"], seed=0, track=untracked
    )
    ids = [pair.id for pair in pairs]
    assert found.right(IDENTITY, ids).all()
    # Nothing but what is fed leads to its answer: the twin's latents bring the twin's.
    assert found.answers("twin").loc[ids].tolist() == [pair.reference.answer for pair in pairs]
    assert found.change("twin", seed=0).mean == -1
    assert found.held("twin") == ids


@pytest.mark.model
def test_an_answer_that_cannot_be_parsed_counts_as_wrong(organism):
    pairs = me.task("digits").pairs(2)
    said = {"pair": [p.id for p in pairs], "answer": [p.clean.answer for p in pairs]}
    rows = pd.DataFrame({"arm": IDENTITY, "parsed": [True, False], **said})
    edited = Edited(Model("x", organism("feedback")), rows, {pair.id: pair for pair in pairs})
    assert edited.right(IDENTITY, said["pair"]).tolist() == [True, False]


@pytest.mark.model
def test_latents_that_never_differ_are_alike_and_those_that_do_are_not(organism):
    world = me.task("digits")
    pairs, placebo = world.pairs(8), world.pairs(8, kind="placebo")
    said = {}
    for name in ("soft-prompt", "bypass"):
        held = Models((Model(name, organism(name)),), (_words(),), ())
        part, curves = similarity_claims(held, pairs, placebo, seed=0, track=untracked)
        said[name] = {each.key: each for each in part.claims}
        assert set(curves["kind"]) == {"latents", "words"}
    assert said["soft-prompt"]["latents-alike"].word == "agrees"
    alike = [said[name]["latents-alike"].found[0].mean for name in said]
    assert alike[0] == pytest.approx(1, abs=1e-4)
    assert alike[1] < 0.99


@pytest.mark.model
def test_costs_count_tokens_and_passes(organism):
    held = load_models(models())
    samples = me.task("digits", kinds=("zoom",)).samples(3)
    part = cost_claims(held, samples, seed=0, track=untracked)
    counts = part.rows.pivot_table(index="arm", columns="measure", values="value", aggfunc="median")
    # Marker, four latents, marker, digit, end of turn; the last token is never fed.
    assert counts.loc["natural", ["tokens", "passes"]].tolist() == [8, 8]
    assert counts.loc["direct", ["tokens", "passes"]].tolist() == [2, 2]
    assert counts.loc["capimagine", "tokens"] > 10
    assert (part.rows[part.rows["measure"] == "seconds"]["value"] > 0).all()
    assert isinstance(part, Part)


@pytest.fixture(scope="module")
def found():
    return reproduce(models(), n_pairs=N_PAIRS, seed=3)


@pytest.mark.slow
@pytest.mark.model
def test_the_whole_argument_has_every_part_rule_and_item(found):
    frame = found.to_frame()
    assert frame["claim"].is_unique
    assert len(found.claims) == len(frame) == 21
    assert set(frame["part"].str.split(":").str[0]) == {
        "Finding 1", "Finding 2", "Finding 3", "Accuracy", "Words", "Cost",
    }  # fmt: skip
    assert (frame["low"] <= frame["value"]).all()
    assert (frame["value"] <= frame["high"]).all()
    for each in found.claims:
        assert each.published.figures
        assert each.rule.why
        assert each.unseen
        assert np.isfinite([each.rule.low, each.rule.high]).any()
    assert tuple(found.rows.columns) == ROWS
    assert found.rows.groupby("part")["item"].nunique()["accuracy"] == 3 * N_PAIRS


@pytest.mark.slow
@pytest.mark.model
def test_unedited_items_are_right_as_often_as_they_were_asked(found):
    rows = found.rows[(found.rows["part"] == "do(Z)") & (found.rows["arm"] == IDENTITY)]
    plain = found.rows[(found.rows["part"] == "accuracy") & (found.rows["arm"] == "natural")]
    shared = plain[plain["item"].isin(rows["item"].str.removesuffix("/minimal"))]
    assert rows["value"].mean() == shared["value"].mean()
    assert set(LATENT_ARMS) <= set(found.rows["arm"])


@pytest.mark.slow
@pytest.mark.model
def test_a_summary_is_strict_json(found):
    said = json.loads(json.dumps(found.summary(), allow_nan=False))
    assert sum(said["counts"].values()) == 21
    assert len(said["edits"]) == len(found.edits)


@pytest.mark.slow
@pytest.mark.model
def test_all_but_seconds_comes_out_the_same_again(found):
    again = reproduce(models(), n_pairs=N_PAIRS, seed=3)
    one, two = (
        each.to_frame().query("part != 'Cost'").reset_index(drop=True) for each in (found, again)
    )
    pd.testing.assert_frame_equal(one, two)
    kept = [each.rows[each.rows["measure"] != "seconds"] for each in (found, again)]
    pd.testing.assert_frame_equal(*(rows.reset_index(drop=True) for rows in kept))


def _words():
    return Model("words", models()["capimagine"][0])
