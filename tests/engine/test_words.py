"""Words as the mediator, against plain forwards of the stock model on the same ids."""

from dataclasses import replace

import pytest
import torch

import mindseye as me
from mindseye.engine import contrast
from mindseye.engine.words import WORDS, runs_saying, with_words, word_cells
from mindseye.errors import EditError, SampleError
from mindseye.readouts import logit_difference
from mindseye.tasks.digits import Digits
from tests.speaking import EXACT, MARK, hasty, ids_of, own_words, reader, speaker, stock, twins_of

pytestmark = pytest.mark.model

TIGHT = {"abs": 1e-9, "rel": 1e-9}
CELLS = ("y00", "y01", "y10", "y11")


def lopsided(sample):
    """The reference side has more to say, so that no two runs of a pair are equally long."""
    return f"Well. {own_words(sample)}" if "/minimal" in sample.id else own_words(sample)


@pytest.fixture(scope="module")
def plain(folder):
    return hasty(reader(folder))


@pytest.fixture(scope="module")
def even(plain):
    return speaker(plain)


@pytest.fixture(scope="module")
def uneven(plain):
    return speaker(plain, lopsided)


@pytest.fixture(scope="module")
def blind(folder):
    """Answers from its words alone; they differ in length, too."""
    return speaker(hasty(reader(folder, answers_from="words")), lopsided)


@pytest.fixture(scope="module")
def pairs():
    """Two that look closely and two that turn the picture."""
    kinds = (("zoom", 1), ("transform", 2))
    return [p for kind, seed in kinds for p in Digits(kinds=(kind,)).pairs(2, seed=seed)]


def value(ours, pair, sample, text, parting=None):
    """The outcome after a sample and a text, mark included, by a stock forward."""
    parting = parting or contrast(ours, pair)
    logits = stock(ours, sample, [*ids_of(ours, text), *parting.forced])[-1]
    return logit_difference(logits, parting).item()


def by_hand(ours, pair, script):
    """The four cells, input first: every text said to either picture."""
    sides = (pair.reference, pair.clean)
    return [value(ours, pair, x, script(z)) for x in sides for z in sides]


# The cells ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [own_words, lopsided])
def test_cells_are_plain_forwards_of_either_text_on_either_picture(plain, pairs, script):
    ours = speaker(plain, script)
    for pair in pairs:
        both = twins_of(ours, pair)
        cells = word_cells(both)
        found = logit_difference(cells.crossed[:, :, 0], both.parting).flatten().tolist()
        assert found == pytest.approx(by_hand(plain, pair, script), **TIGHT)
        assert both.comparable == (script is own_words)
        assert both.imagined


def test_own_words_put_back_are_the_unedited_run(uneven, pairs):
    cells = word_cells(twins_of(uneven, pairs[0]))
    diagonal = torch.stack([cells.crossed[0, 0], cells.crossed[1, 1]])
    torch.testing.assert_close(cells.unedited, diagonal, **EXACT)
    assert (cells.crossed[0, 1] - cells.crossed[0, 0]).abs().max() > 1e-3
    assert (cells.moved, cells.missed, cells.edits) == (1, 0, ([], []))


def test_the_same_words_on_both_sides_move_nothing(plain, pairs):
    cells = word_cells(twins_of(speaker(plain, lambda sample: f"It is red.{MARK}"), pairs[0]))
    assert cells.moved == 0
    assert torch.equal(cells.crossed[:, 0], cells.crossed[:, 1])
    assert (cells.crossed[0] - cells.crossed[1]).abs().max() > 1e-3


def test_several_places_are_read_along_what_is_fed(uneven, pairs):
    both, fed = twins_of(uneven, pairs[0]), (20, 30)
    clean, reference = (run.until_answer(fed) for run in both.said)
    both = replace(both, clean=clean, reference=reference)
    cells = word_cells(both, read=range(-3, 0))
    said = ids_of(uneven, lopsided(pairs[0].reference))
    wanted = stock(uneven, pairs[0].clean, [*said, *fed])[-3:]
    torch.testing.assert_close(cells.crossed[1, 0], wanted, **EXACT)
    alone = with_words(clean, both.reference.words, [-1])
    torch.testing.assert_close(alone, wanted[-1:], **EXACT)


def test_a_run_that_says_other_words_ends_them_by_its_own_mark(uneven, pairs):
    clean, other = twins_of(uneven, pairs[0]).said
    (run,) = runs_saying(clean, other.words)
    assert run.words == other.words
    assert run.sample is clean.sample
    said = ids_of(uneven, lopsided(pairs[0].reference))
    assert run.token_ids[: len(said)].tolist() == said
    wanted = stock(uneven, pairs[0].clean, run.token_ids[:-1].tolist())
    torch.testing.assert_close(run.logits, wanted, **EXACT)
    (itself,) = runs_saying(clean, clean.words)
    assert torch.equal(itself.token_ids, clean.token_ids)


def test_an_answer_is_read_after_what_opens_it(plain, pairs):
    """Where no mark was said, as in models that do not imagine."""
    opened = replace(plain, protocol=replace(plain.protocol, answer_opening="\\boxed{"))
    parting = contrast(opened, pairs[0])
    assert list(parting.forced) == ids_of(plain, "\\boxed{")
    assert contrast(plain, pairs[0]).forced == ()
    answers = [parting.clean, parting.reference]
    assert [plain.read([id]) for id in answers] == list(pairs[0].answers)
    assert list(parting.answer[:-1]) == ids_of(plain, f"\\boxed{{{pairs[0].answers[0]}")


# Mediation ----------------------------------------------------------------------------------------


def test_where_runs_are_equally_long_words_are_the_level_embedding(even, pairs):
    rows = me.mediate(even, pairs, levels=("embedding", WORDS), pins={}).rows
    one, other = (rows[rows["level"] == level].set_index("pair") for level in ("embedding", WORDS))
    assert len(one) == len(other) == len(pairs)
    for name in (*CELLS, "te", "pde", "tde", "pie", "tie", "int"):
        assert one[name].tolist() == pytest.approx(other[name].tolist(), **TIGHT)
    assert (other["tie"].abs() > 1e-3).all()


def test_a_mediation_by_words_takes_pairs_of_unequal_lengths(plain, uneven, pairs):
    found = me.mediate(uneven, pairs, levels=(WORDS,), pins={})
    rows = found.rows.set_index("pair")
    for pair in pairs:
        wanted = by_hand(plain, pair, lopsided)
        assert rows.loc[pair.id, list(CELLS)].tolist() == pytest.approx(wanted, **TIGHT)
    assert found.guards["pairs_left_out"] == 0
    assert found.guards["identity_max_abs"] < 1e-9
    assert found.guards["edits_missed_max_abs"] == 0
    assert found.guards["latents_moved_min"] == 1
    n_latents = found.runs.set_index(["pair", "side"])["n_latents"]
    assert all(n_latents[pair.id, "clean"] < n_latents[pair.id, "reference"] for pair in pairs)


def test_a_pair_of_unequal_lengths_is_left_out_at_the_other_levels(plain, pairs):
    mixed = speaker(plain, lambda s: (own_words if s.kind == "zoom" else lopsided)(s))
    rows = me.mediate(mixed, pairs, levels=("kv", WORDS), pins={}).rows
    assert set(rows[rows["level"] == WORDS]["pair"]) == {pair.id for pair in pairs}
    assert set(rows[rows["level"] == "kv"]["pair"]) == {pair.id for pair in pairs[:2]}


def test_words_that_are_the_same_whatever_is_seen_mediate_nothing(plain, pairs):
    silent = speaker(plain, lambda sample: f"I look closely.{MARK}")
    found = me.mediate(silent, pairs, levels=(WORDS,))
    assert (found.rows[["pie", "tie", "int"]] == 0).all(axis=None)
    assert (found.rows["te"].abs() > 1e-3).all()
    assert found.guards["latents_moved_min"] == 0
    assert found.verdicts[WORDS].word == "inconclusive"


def test_where_answers_are_given_from_words_alone_all_of_the_effect_is_theirs(blind, pairs):
    """Exactly: the picture is nowhere in what is computed."""
    rows = me.mediate(blind, pairs, levels=(WORDS,), pins=["adversarial"]).rows
    assert (rows[["pde", "tde"]] == 0).all(axis=None)
    assert rows["int"].abs().max() < 1e-14  # a sum of four numbers
    assert (rows["te"] == rows["pie"]).all()
    assert (rows["te"] == rows["tie"]).all()
    assert (rows["te"].abs() > 1e-3).all()


@pytest.mark.parametrize("pin", ["adversarial", "twin", "filler", "shuffle"])
def test_both_inputs_under_words_that_are_pinned_are_plain_forwards(plain, uneven, pairs, pin):
    found = me.mediate(uneven, pairs[:2], levels=(WORDS,), pins=[pin], seed=3)
    assert list(found.pinned["level"].unique()) == [WORDS]
    for pair in pairs[:2]:
        (row,) = found.pinned[found.pinned["pair"] == pair.id].to_dict("records")
        both = twins_of(uneven, pair)
        vectors, words = me.engine.mediators_of(me.engine.find_arms([pin], seed=3), both)
        assert (vectors, set(words)) == ({}, {pin})
        text = f"{plain.read(words[pin])}{MARK}"
        wanted = [value(plain, pair, sample, text) for sample in (pair.reference, pair.clean)]
        assert [row["y0"], row["y1"]] == pytest.approx(wanted, **TIGHT)
        assert row["cde"] == pytest.approx(wanted[1] - wanted[0], **TIGHT)


def test_a_twins_words_as_a_pin_lose_what_is_mediated_in_total(uneven, pairs):
    found = me.mediate(uneven, pairs, levels=(WORDS,), pins=["twin"])
    assert found.pinned["nec"].tolist() == pytest.approx(found.rows["tie"].tolist(), **TIGHT)


def test_pins_that_feed_vectors_have_rows_where_vectors_are_fed(even, pairs):
    found = me.mediate(even, pairs[:2], levels=("embedding", WORDS), pins=["zero", "twin"])
    rows = found.pinned.groupby("level")["pin"].agg(set)
    assert rows["embedding"] == {"zero", "cut"}
    assert rows[WORDS] == {"twin"}


def test_outcomes_along_the_whole_answer_and_of_runs_are_measured_too(uneven, pairs):
    outcomes = ("logit_difference", "answer_log_probability", "parsed_answer")
    found = me.mediate(uneven, pairs[:2], levels=(WORDS,), outcome=outcomes, pins={})
    rows = found.rows.set_index(["pair", "outcome"])
    for pair in pairs[:2]:
        parting = contrast(uneven, pair)
        said = ids_of(uneven, lopsided(pair.reference))
        logits = stock(uneven, pair.clean, [*said, *parting.answer[:-1]])[len(said) :]
        wanted = logits.log_softmax(-1)[range(len(parting.answer)), list(parting.answer)]
        along = rows.xs(pair.id).filter(like="log", axis=0)
        assert len(along) >= 1
        (found_along,) = [
            row["y10"] for name, row in rows.xs(pair.id).iterrows() if "answer log" in name
        ]
        assert found_along in (
            pytest.approx(wanted.sum().item(), **TIGHT),
            pytest.approx(wanted.mean().item(), **TIGHT),
        )
        both = twins_of(uneven, pair)
        run = rows.loc[(pair.id, "parsed answer")]
        (crossed,) = runs_saying(both.said[0], both.said[1].words)
        assert run["answer_10"] == crossed.answer
        assert run["answer_11"] == both.said[0].answer


def test_latents_have_no_words_to_exchange(reasoner, pairs):
    with pytest.raises(EditError, match=r"imagines in latents. Use 'embedding', or load"):
        me.mediate(reasoner, pairs, levels=(WORDS,))


def test_words_can_be_held_at_their_own_level_only(even, pairs):
    with pytest.raises(EditError, match=r"'twin' holds the mediator.*Add that level"):
        me.mediate(even, pairs[:1], levels=("embedding",), pins=["twin"])


def test_what_changes_the_make_up_of_a_run_is_no_pin(even, pairs):
    with pytest.raises(EditError, match="leaves no mediator to hold"):
        me.mediate(even, pairs[:1], levels=(WORDS,), pins=["removal"])


def test_runs_that_never_come_to_an_answer_have_no_words(folder, pairs):
    endless = speaker(reader(folder), lambda sample: sample.imagination)
    with pytest.raises(SampleError, match="imagined in 0 of 2 runs"):
        me.mediate(endless, pairs[:1], levels=(WORDS,))


# The battery --------------------------------------------------------------------------------------

ARMS = ["identity", "twin", "shuffle", "filler", "adversarial", "markers_only"]


@pytest.fixture(scope="module")
def opened(even, pairs):
    return me.battery(even, pairs, ARMS, levels=["embedding"])


def test_words_are_rows_of_a_level_of_their_own(opened, pairs):
    levels = opened.groupby("arm")["level"].agg(set)
    assert levels["markers_only"] == {"structure"}
    for name in ("identity", "twin", "shuffle", "filler", "adversarial"):
        assert levels[name] == {WORDS}
    words = opened[opened["level"] == WORDS]
    assert (words["loop"] == "open").all()
    assert words[["moved", "norm_percentile", "mahalanobis", "nearest"]].isna().all(axis=None)
    assert len(opened) == len(pairs) * len(ARMS)
    assert opened[opened["arm"] == "identity"]["effect"].abs().max() < 1e-9


def test_every_arm_in_words_is_a_plain_forward(plain, even, opened, pairs):
    for pair in pairs:
        rows = opened[opened["pair"] == pair.id].set_index("arm")
        own = value(plain, pair, pair.clean, own_words(pair.clean))
        assert rows["clean"].tolist() == pytest.approx([own] * len(rows), **TIGHT)
        chosen = me.engine.find_arms(ARMS[1:5])
        _, words = me.engine.mediators_of(chosen, twins_of(even, pair))
        for name, ids in words.items():
            wanted = value(plain, pair, pair.clean, f"{plain.read(ids)}{MARK}")
            assert rows.loc[name, "value"] == pytest.approx(wanted, **TIGHT)
            assert rows.loc[name, "effect"] == pytest.approx(wanted - own, **TIGHT)
        said = f"{pair.reference.imagination}{MARK}"
        wanted = value(plain, pair, pair.clean, said)
        assert rows.loc["twin", "value"] == pytest.approx(wanted, **TIGHT)
        nothing = value(plain, pair, pair.clean, MARK)
        assert rows.loc["markers_only", "value"] == pytest.approx(nothing, **TIGHT)


@pytest.mark.parametrize("script", [own_words, lopsided])
def test_the_twins_words_undo_what_is_mediated_in_total(plain, pairs, script):
    pairs = pairs[1:3]
    ours = speaker(plain, script)
    tie = me.mediate(ours, pairs, levels=(WORDS,), pins={}).rows.set_index("pair")["tie"]
    rows = me.battery(ours, pairs, ["twin"], levels=["embedding"]).set_index("pair")
    assert rows["effect"].tolist() == pytest.approx((-tie[rows.index]).tolist(), **TIGHT)


def test_a_pair_of_unequal_lengths_has_rows_of_words_alone(plain, pairs):
    mixed = speaker(plain, lambda s: (lopsided if s.kind == "zoom" else own_words)(s))
    rows = me.battery(mixed, pairs, ["zero", "twin"], levels=["embedding"])
    arms = rows.groupby("pair")["arm"].agg(set)
    assert [arms[pair.id] for pair in pairs] == [{"twin"}] * 2 + [{"zero", "twin"}] * 2


def test_closed_loop_the_sample_is_answered_from_other_words(uneven, pairs):
    pairs = pairs[1:3]
    rows = me.battery(uneven, pairs, ["twin", "identity", "filler"], loop="closed")
    rows = rows.set_index(["pair", "arm"])
    assert (rows["loop"] == "closed").all()
    for pair in pairs:
        clean, other = twins_of(uneven, pair).said
        (run,) = runs_saying(clean, other.words)
        row = rows.loc[(pair.id, "twin")]
        assert (row["level"], row["answer"], row["parsed"]) == (WORDS, run.answer, run.parsed)
        assert row["emitted"]
        wanted = value(uneven, pair, pair.clean, lopsided(pair.reference))
        assert row["value"] == pytest.approx(wanted, **TIGHT)
        own = rows.loc[(pair.id, "identity")]
        assert own["level"] == WORDS
        assert own["effect"] == pytest.approx(0, abs=1e-9)
        assert own["answer"] == clean.answer


def test_closed_loop_is_open_loop_where_the_answer_begins(uneven, pairs):
    pairs = pairs[1:3]
    arms = ["twin", "shuffle", "filler"]
    opened, closed = (
        me.battery(uneven, pairs, arms, levels=["embedding"], loop=loop).set_index(["pair", "arm"])
        for loop in ("open", "closed")
    )
    assert opened["value"].tolist() == pytest.approx(
        closed.loc[opened.index, "value"].tolist(), **TIGHT
    )


def test_whoever_answers_from_words_is_replaced_in_both_loops(blind, pairs):
    pairs = pairs[1:3]
    te = me.mediate(blind, pairs, levels=(WORDS,), pins={}).rows.set_index("pair")["te"]
    for loop in ("open", "closed"):
        rows = me.battery(blind, pairs, ["twin"], levels=["embedding"], loop=loop)
        assert rows["effect"].tolist() == pytest.approx((-te[rows["pair"]]).tolist(), **TIGHT)


def test_donors_are_runs_of_other_samples_however_long(uneven, pairs):
    rows = me.battery(uneven, pairs, ["donor"], levels=["embedding"], seed=1)
    texts = [lopsided(sample) for pair in pairs for sample in (pair.clean, pair.reference)]
    for pair in pairs:
        (found,) = rows[rows["pair"] == pair.id]["value"]
        possible = [value(uneven, pair, pair.clean, text) for text in texts]
        assert min(abs(found - each) for each in possible) < 1e-9
        assert abs(found - value(uneven, pair, pair.clean, lopsided(pair.clean))) > 1e-6
